//! Can this user write the directory and the databases in it.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::process::{getegid, geteuid, getgid, getuid};

use crate::directory::Target;
use crate::finding::{Check, Finding};
use crate::layout::companions;
use crate::text::{command, quote};

const CHECK: Check = Check {
    name: "writable",
    why: "SQLite writes the database and creates its WAL beside it: without that every write of the app fails",
};

pub(crate) fn inspect(target: &Target, databases: &io::Result<Vec<PathBuf>>) -> Finding {
    let dir = &target.existing;
    let euid = geteuid().as_raw();
    if let Err(refused) = probe(dir) {
        let what = format!(
            "cannot {} in {}: {}",
            refused.doing,
            dir.display(),
            refused.source
        );
        return CHECK.fail(what, mend(&refused.source, dir, euid));
    }
    match databases {
        Err(source) => {
            let what = format!("cannot list {}: {source}", dir.display());
            CHECK.fail(what, mend(source, dir, euid))
        }
        Ok(databases) => judge(
            &target.dir,
            target.is_missing(),
            &refused(&target.dir, databases),
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
    let others = match refused.len() - 1 {
        0 => String::new(),
        others => format!(" (and {others} more)"),
    };
    let what = format!(
        "this user (uid {euid}) may not write {}{others}: {source}",
        path.display()
    );
    let mend = match euid {
        0 => mend(source, path, euid),
        _ => {
            let paths = || refused.iter().map(|(path, _)| path.as_path());
            let chown = command("sudo chown", &euid.to_string(), dir, paths());
            let chmod = command("sudo chmod", "u+rwX", dir, paths());
            format!("{chown} && {chmod}")
        }
    };
    CHECK.fail(what, mend)
}

fn mend(error: &io::Error, path: &Path, euid: u32) -> String {
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
    static COUNT: AtomicU64 = AtomicU64::new(0);
    // The PID alone does not tell apart two containers on one volume.
    let nanos = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_nanos();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!(".monolite-check-{}-{nanos}-{count}", std::process::id());
    let first = dir.join(&name);
    let second = dir.join(name + "-renamed");

    let mut file = File::create_new(&first).map_err(refuse("create a file"))?;
    let _cleanup = Cleanup([&first, &second]);
    file.write_all(b"written by monolite to see whether it can; safe to delete\n")
        .map_err(refuse("write a file"))?;
    file.sync_all().map_err(refuse("sync a file"))?;
    std::fs::rename(&first, &second).map_err(refuse("rename a file"))?;
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(refuse("sync the directory after renaming a file"))?;
    std::fs::remove_file(&second).map_err(refuse("remove a file"))
}

struct Cleanup<'a>([&'a Path; 2]);

impl Drop for Cleanup<'_> {
    fn drop(&mut self) {
        for path in self.0 {
            let _ = std::fs::remove_file(path);
        }
    }
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
    let own = dir.join(".monolite");
    wanted.extend([(own.join("lock"), file), (own, directory)]);
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
        let databases = crate::discover::by_name(dir.path()).map(|found| found.databases);
        let finding = inspect(&target(dir.path()), &databases);
        assert_eq!(finding.level, Level::Pass, "{finding:?}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        assert_eq!(std::fs::read(dir.path().join("a.db")).unwrap(), b"x");
    }

    #[test]
    fn a_failed_probe_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        std::fs::write(&path, b"").unwrap();
        drop(Cleanup([&path, &dir.path().join("not-there")]));
        assert!(!path.exists());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn proc_refuses_even_root() {
        let finding = inspect(&target(Path::new("/proc")), &Ok(Vec::new()));
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
            finding.mend,
            format!("sudo chown 1000 {words} && sudo chmod u+rwX {words}")
        );
        let finding = judge(Path::new("/data"), false, &refused, 0);
        assert!(finding.mend.contains("lsattr"));
    }

    #[test]
    fn the_mend_depends_on_the_error() {
        let mend = |kind: io::ErrorKind| mend(&kind.into(), Path::new("/data"), 1000);
        assert!(mend(io::ErrorKind::ReadOnlyFilesystem).contains("read-write"));
        assert!(mend(io::ErrorKind::StorageFull).contains("free some space"));
        assert!(mend(io::ErrorKind::PermissionDenied).contains("chown 1000 '/data'"));
        assert!(mend(io::ErrorKind::InvalidInput).contains("ordinary disk"));
    }

    #[test]
    fn what_is_asked_of_access() {
        let dir = tempfile::tempdir().unwrap();
        may(dir.path(), Access::WRITE_OK).unwrap();
        let error = may(&dir.path().join("no"), Access::WRITE_OK).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
