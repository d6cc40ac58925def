//! Are the files this machine's own.

use crate::directory::Target;
use crate::filesystem::{Kind, is_fuse};
use crate::finding::{Check, Finding};
use monolite_platform::mountinfo::Mount;

const CHECK: Check = Check {
    name: "local",
    why: "file locks and shared memory of other filesystems do not work as SQLite needs: databases on them get corrupted",
};

pub(crate) fn inspect(target: &Target, mount: Option<&Mount>) -> Finding {
    let dir = target.dir.display();
    let Some(mount) = mount else {
        let what = format!(
            "cannot tell what filesystem {dir} is on: this system has no /proc/self/mountinfo"
        );
        return CHECK.warn(
            what,
            "make sure that it is a local disk, not a network or shared folder",
        );
    };
    let filesystem = &mount.filesystem;
    let kind = Kind::of(filesystem);
    if kind == Kind::Remote || is_fuse(filesystem) {
        let what = format!(
            "{dir} is on {filesystem} ({}), which is not a local disk",
            mount.source
        );
        return CHECK.fail(
            what,
            "put the databases on a local disk or block volume (ext4, xfs, btrfs, zfs)",
        );
    }
    if kind == Kind::Unknown {
        let what = format!("{dir} is on {filesystem}, a filesystem not known to be fit or unfit");
        return CHECK.warn(what, "make sure that it is a local disk with POSIX locks and shared memory maps, or use ext4 or xfs");
    }
    CHECK.pass(format!("{dir} is on {filesystem}, which is local"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Level;

    fn judge(filesystem: Option<&str>) -> Finding {
        let target = Target {
            dir: "/data".into(),
            existing: "/data".into(),
        };
        let mount = filesystem.map(|filesystem| Mount {
            id: 1,
            point: "/data".into(),
            filesystem: filesystem.into(),
            source: "server:/export".into(),
        });
        inspect(&target, mount.as_ref())
    }

    #[test]
    fn levels() {
        for filesystem in ["ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay"] {
            assert_eq!(judge(Some(filesystem)).level, Level::Pass, "{filesystem}");
        }
        for filesystem in [
            "nfs",
            "nfs4",
            "cifs",
            "smb3",
            "9p",
            "virtiofs",
            "fuse.s3fs",
            "fuseblk",
            "fuse.fuse-overlayfs",
        ] {
            let finding = judge(Some(filesystem));
            assert_eq!(finding.level, Level::Fail, "{filesystem}");
            assert!(finding.what.contains(filesystem) && finding.what.contains("server:/export"));
        }
        let finding = judge(Some("newfs9000"));
        assert_eq!(finding.level, Level::Warn);
        assert!(finding.what.contains("newfs9000"));
        let finding = judge(None);
        assert_eq!(finding.level, Level::Warn);
        assert!(finding.what.contains("cannot tell"));
    }
}
