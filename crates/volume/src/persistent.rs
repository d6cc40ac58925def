//! Does what is written here outlive a restart and a deploy.

use std::path::Path;

use crate::Volume;
use crate::directory::Target;
use crate::filesystem::Kind;
use crate::finding::{Check, Finding};
use crate::text::quote;
use monolite_platform::mountinfo::Mount;

const CHECK: Check = Check {
    name: "persistent",
    why: "a database that is not on a volume is lost at the next deploy or restart",
};

pub(crate) fn inspect(volume: &Volume, target: &Target, mount: Option<&Mount>) -> Finding {
    let dir = target.dir.display();
    let mount_it = format!("mount a volume at {}", quote(&target.dir));
    let Some(mount) = mount else {
        let what = format!(
            "cannot tell what {dir} is mounted from: this system has no /proc/self/mountinfo"
        );
        return CHECK.warn(what, "make sure that it is a disk that outlives a deploy");
    };
    let filesystem = &mount.filesystem;
    match Kind::of(filesystem) {
        Kind::Memory => {
            let what = format!("{dir} is on {filesystem}, which is memory, not a disk");
            return CHECK.fail(what, format!("{mount_it}, or name a directory on a disk"));
        }
        Kind::Layer => {
            let what = format!("{dir} is on {filesystem}: the container's own layer, not a volume");
            return CHECK.fail(
                what,
                format!(
                    "{mount_it}, for example: docker run -v data:{}",
                    quote(&target.dir)
                ),
            );
        }
        Kind::Remote | Kind::Disk | Kind::Unknown => {}
    }
    if mount.point == Path::new("/") {
        if let Some(platform) = &volume.ephemeral_platform {
            let what =
                format!("{dir} is on the root disk, which {platform} replaces at each deploy");
            return CHECK.fail(
                what,
                format!(
                    "add a persistent disk or volume to this app on {platform}, mounted at {}",
                    quote(&target.dir)
                ),
            );
        }
        if let Some(container) = &volume.container {
            let what = format!(
                "{dir} is on this container's own root disk, not on a mounted volume (container: {container})"
            );
            return match volume.named {
                true => CHECK.warn(
                    what,
                    format!("make sure it survives a deploy, or {mount_it}"),
                ),
                false => CHECK.fail(
                    what,
                    format!(
                        "{mount_it}, or name the directory yourself if this disk survives a deploy"
                    ),
                ),
            };
        }
    }
    CHECK.pass(format!(
        "{dir} is on {filesystem}, mounted at {}",
        mount.point.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Level;

    fn judge(volume: &Volume, filesystem: &str, point: &str) -> Finding {
        let target = Target {
            dir: volume.dir.clone(),
            existing: volume.dir.clone(),
        };
        let mount = Mount {
            id: 1,
            point: point.into(),
            filesystem: filesystem.into(),
            source: "/dev/vda".into(),
        };
        inspect(volume, &target, Some(&mount))
    }

    #[test]
    fn memory_and_layers_fail_wherever_they_are_mounted() {
        let volume = Volume::new("/data");
        for filesystem in [
            "tmpfs",
            "ramfs",
            "devtmpfs",
            "overlay",
            "aufs",
            "fuse.fuse-overlayfs",
        ] {
            for point in ["/", "/data"] {
                let finding = judge(&volume, filesystem, point);
                assert_eq!(finding.level, Level::Fail, "{finding:?}");
                assert!(finding.what.contains(filesystem));
            }
        }
    }

    #[test]
    fn the_root_disk_depends_on_who_owns_it() {
        let mut volume = Volume::new("/data");
        assert_eq!(judge(&volume, "ext4", "/").level, Level::Pass);
        volume.named = false;
        assert_eq!(judge(&volume, "ext4", "/").level, Level::Pass);
        volume.container = Some("/.dockerenv".into());
        assert_eq!(judge(&volume, "ext4", "/").level, Level::Fail);
        volume.named = true;
        let finding = judge(&volume, "ext4", "/");
        assert_eq!(finding.level, Level::Warn);
        assert!(finding.remedy.contains("survives a deploy"));
        volume.ephemeral_platform = Some("Fly.io".into());
        let finding = judge(&volume, "ext4", "/");
        assert_eq!(finding.level, Level::Fail);
        assert!(finding.what.contains("Fly.io"));
    }

    #[test]
    fn a_mounted_volume_passes_even_there() {
        let mut volume = Volume::new("/data");
        volume.named = false;
        volume.container = Some("/.dockerenv".into());
        volume.ephemeral_platform = Some("Render".into());
        assert_eq!(judge(&volume, "ext4", "/data").level, Level::Pass);
        assert_eq!(judge(&volume, "nfs4", "/data").level, Level::Pass);
    }

    #[test]
    fn without_a_mount_table_it_cannot_tell() {
        let volume = Volume::new("/data");
        let target = Target {
            dir: "/data".into(),
            existing: "/data".into(),
        };
        assert_eq!(inspect(&volume, &target, None).level, Level::Warn);
    }
}
