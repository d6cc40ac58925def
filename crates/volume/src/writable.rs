//! Can this user write the directory and the databases in it.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use monolite_platform::durable::{self, Options, Scratch};
use monolite_platform::path::with_suffix;
use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::process::{getegid, geteuid, getgid, getuid};

use crate::directory::Target;
use crate::discover::Found;
use crate::finding::{Check, Finding};
use crate::layout::{self, companions};
use crate::text::{command, quote};

const CHECK: Check = Check {
    name: "writable",
    why: "SQLite writes the database and creates its WAL next to it: without that every write of the app fails",
};

pub(crate) fn inspect(target: &Target, found: &io::Result<Found>) -> Finding {
    let dir = &target.existing;
    let euid = geteuid().as_raw();
    if let Err(refused) = probe(dir) {
        let what = format!(
            "cannot {} in {}: {}",
            refused.doing,
            dir.display(),
            refused.source
        );
        return CHECK.fail(what, remedy(&refused.source, dir, euid));
    }
    match found {
        Err(source) => {
            let what = format!("cannot list {}: {source}", dir.display());
            CHECK.fail(what, remedy(source, dir, euid))
        }
        Ok(found) => judge(
            &target.dir,
            target.is_missing(),
            &refused(&target.dir, &found.databases),
            euid,
        ),
    }
}

fn judge(dir: &Path, is_missing: bool, refused: &[(PathBuf, io::Error)], euid: u32) -> Finding {
    let Some((path, source)) = refused.first() else {
        return CHECK.pass(match is_missing {
            true => format!("the directory above {} can be written", dir.display()),
            false => format!("{} and the databases in it can be written", dir.display()),
        });
    };
    let more = match refused.len() - 1 {
        0 => String::new(),
        more => format!(" (and {more} more)"),
    };
    let what = format!(
        "this user (uid {euid}) may not write {}{more}: {source}",
        path.display()
    );
    let remedy = match euid {
        0 => remedy(source, path, euid),
        _ => {
            let paths = || refused.iter().map(|(path, _)| path.as_path());
            let chown = command("sudo chown", &euid.to_string(), dir, paths());
            let chmod = command("sudo chmod", "u+rwX", dir, paths());
            format!("{chown} && {chmod}")
        }
    };
    CHECK.fail(what, remedy)
}

fn remedy(error: &io::Error, path: &Path, euid: u32) -> String {
    let quoted = quote(path);
    match error.kind() {
        io::ErrorKind::ReadOnlyFilesystem => {
            format!(
                "mount the volume that holds {quoted} read-write; if it was, its disk may have failed (dmesg)"
            )
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "free some space, or grow the volume".to_owned()
        }
        io::ErrorKind::PermissionDenied if euid != 0 => {
            format!("sudo chown {euid} {quoted} && sudo chmod u+rwX {quoted}")
        }
        io::ErrorKind::PermissionDenied => {
            format!(
                "even root is refused: look for an immutable flag (lsattr -d {quoted}), or name another directory"
            )
        }
        _ => "name a directory on an ordinary disk; if it is one, look for disk errors (dmesg)"
            .to_owned(),
    }
}

/// A step of the probe that did not work.
struct Refused {
    doing: &'static str,
    source: io::Error,
}

fn refuse(doing: &'static str) -> impl FnOnce(io::Error) -> Refused {
    move |source| Refused { doing, source }
}

/// Does to a small file what is done to every file we write.
fn probe(dir: &Path) -> Result<(), Refused> {
    const PROBE: Options = Options::new("checking").companions(&["-renamed"]);
    const TEXT: &[u8] = b"written by monolite to see whether it can; safe to delete\n";
    let probe = Scratch::create(dir, &PROBE).map_err(refuse("create a file"))?;
    let renamed = with_suffix(probe.path(), "-renamed");
    let mut file = probe.file();
    file.write_all(TEXT).map_err(refuse("write a file"))?;
    file.sync_all().map_err(refuse("sync a file"))?;
    std::fs::rename(probe.path(), &renamed).map_err(refuse("rename a file"))?;
    durable::sync_directory(dir).map_err(refuse("sync the directory after renaming a file"))?;
    std::fs::remove_file(&renamed).map_err(refuse("remove a file"))
}

/// The files and directories that writing needs and this user may not write.
fn refused(dir: &Path, databases: &[PathBuf]) -> Vec<(PathBuf, io::Error)> {
    let file = Access::READ_OK | Access::WRITE_OK;
    let directory = Access::WRITE_OK | Access::EXEC_OK;
    let mut wanted = Vec::new();
    let mut last_parent = dir;
    for database in databases {
        // The list is sorted: files of one directory follow each other.
        if let Some(parent) = database.parent().filter(|parent| *parent != last_parent) {
            wanted.push((parent.to_owned(), directory));
            last_parent = parent;
        }
        wanted.push((database.clone(), file));
        wanted.extend(companions(database).map(|companion| (companion, file)));
    }
    wanted.extend([(layout::lock(dir), file), (layout::state(dir), directory)]);
    let refusal = |(path, access): (PathBuf, Access)| {
        let error = may(&path, access).err()?;
        // Most have not every companion, and some vanish meanwhile.
        (error.kind() != io::ErrorKind::NotFound).then_some((path, error))
    };
    wanted.into_iter().filter_map(refusal).collect()
}

/// Whether the effective user may; the file is not opened.
pub(crate) fn may(path: &Path, access: Access) -> io::Result<()> {
    // The call with flags is newer (Linux 5.8) and refused with EPERM by old
    // container sandboxes; without set-uid both say the same.
    let is_plain = getuid() == geteuid() && getgid() == getegid();
    let flags = if is_plain {
        AtFlags::empty()
    } else {
        AtFlags::EACCESS
    };
    Ok(accessat(CWD, path, access, flags)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Level;

    fn target(dir: &Path) -> Target {
        Target {
            dir: dir.to_owned(),
            existing: dir.to_owned(),
        }
    }

    #[test]
    fn a_plain_directory_passes_and_stays_clean() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.db"), b"x").unwrap();
        let databases = crate::discover::by_name(dir.path());
        let finding = inspect(&target(dir.path()), &databases);
        assert_eq!(finding.level, Level::Pass, "{finding:?}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        assert_eq!(std::fs::read(dir.path().join("a.db")).unwrap(), b"x");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn proc_refuses_even_root() {
        let finding = inspect(&target(Path::new("/proc")), &Ok(Found::default()));
        assert_eq!(finding.level, Level::Fail);
        assert!(
            finding.what.contains("cannot create a file in /proc"),
            "{finding:?}"
        );
    }

    #[test]
    fn a_directory_that_cannot_be_listed_fails() {
        let dir = tempfile::tempdir().unwrap();
        let databases = Err(io::Error::from(io::ErrorKind::PermissionDenied));
        let finding = inspect(&target(dir.path()), &databases);
        assert_eq!(finding.level, Level::Fail);
        assert!(finding.what.contains("cannot list"));
    }

    #[test]
    fn refused_files_are_named_with_a_command() {
        let denied = || io::Error::from(io::ErrorKind::PermissionDenied);
        let refused = [
            (PathBuf::from("/data/it's.db"), denied()),
            (PathBuf::from("/data/b.db"), denied()),
        ];
        let finding = judge(Path::new("/data"), false, &refused, 1000);
        assert_eq!(finding.level, Level::Fail);
        assert!(finding.what.contains("uid 1000") && finding.what.contains("and 1 more"));
        let words = r"'/data/it'\''s.db' '/data/b.db'";
        assert_eq!(
            finding.remedy,
            format!("sudo chown 1000 {words} && sudo chmod u+rwX {words}")
        );
        let finding = judge(Path::new("/data"), false, &refused, 0);
        assert!(finding.remedy.contains("lsattr"));
    }

    #[test]
    fn the_remedy_depends_on_the_error() {
        let remedy = |kind: io::ErrorKind| remedy(&kind.into(), Path::new("/data"), 1000);
        assert!(remedy(io::ErrorKind::ReadOnlyFilesystem).contains("read-write"));
        assert!(remedy(io::ErrorKind::StorageFull).contains("free some space"));
        assert!(remedy(io::ErrorKind::PermissionDenied).contains("chown 1000 '/data'"));
        assert!(remedy(io::ErrorKind::InvalidInput).contains("ordinary disk"));
    }

    #[test]
    fn what_is_asked_of_access() {
        let dir = tempfile::tempdir().unwrap();
        may(dir.path(), Access::WRITE_OK).unwrap();
        let error = may(&dir.path().join("no"), Access::WRITE_OK).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
