//! Do the databases belong to the user that runs them.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::Access;

use crate::finding::{Check, Finding};
use crate::layout::companions;
use crate::text::command;
use crate::writable::may;

const CHECK: Check = Check {
    name: "owner",
    why: "a file one user creates (SQLite's WAL, too) another may be unable to write: the app then fails at some later start",
};

/// A database, or a file of SQLite's next to it.
struct Owned {
    path: PathBuf,
    uid: u32,
    is_writable: bool,
}

pub(crate) fn inspect(dir: &Path, databases: &[PathBuf]) -> Finding {
    let mut files = Vec::new();
    for database in databases {
        for path in std::iter::once(database.clone()).chain(companions(database)) {
            // Not there, or no longer.
            let Ok(metadata) = std::fs::symlink_metadata(&path) else {
                continue;
            };
            files.push(Owned {
                uid: metadata.uid(),
                is_writable: may(&path, Access::READ_OK | Access::WRITE_OK).is_ok(),
                path,
            });
        }
    }
    judge(dir, &files, rustix::process::geteuid().as_raw())
}

fn judge(dir: &Path, files: &[Owned], euid: u32) -> Finding {
    if files.is_empty() {
        return CHECK.pass(format!("no database in {} yet", dir.display()));
    }
    let foreign: Vec<&Owned> = files.iter().filter(|file| file.uid != euid).collect();
    let Some(first) = foreign.first() else {
        return CHECK.pass(format!("the databases belong to this user (uid {euid})"));
    };
    let owners: BTreeSet<u32> = files.iter().map(|file| file.uid).collect();
    let owners: Vec<String> = owners.iter().map(u32::to_string).collect();
    let whose = match owners.as_slice() {
        [owner] => format!("uid {owner}"),
        _ => format!("different users (uid {})", owners.join(", ")),
    };
    let which = match files.len() {
        1 => format!("{} belongs", first.path.display()),
        count => format!("{count} database files in {} belong", dir.display()),
    };
    let chown = command(
        "chown",
        &euid.to_string(),
        dir,
        foreign.iter().map(|file| file.path.as_path()),
    );
    if euid == 0 {
        let what =
            format!("{which} to {whose}, but this is root: what it creates {whose} cannot write");
        let owner = first.uid;
        return CHECK.warn(
            what,
            format!("run as that user (uid {owner}), or give the files to root: {chown}"),
        );
    }
    let remedy = format!("sudo {chown}");
    let what = format!("{which} to {whose}, but this is uid {euid}");
    match foreign.iter().find(|file| !file.is_writable) {
        Some(file) => CHECK.fail(
            format!("{what}, which may not write {}", file.path.display()),
            remedy,
        ),
        None => CHECK.warn(what, remedy),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Level;

    fn owned(path: &str, uid: u32, is_writable: bool) -> Owned {
        Owned {
            path: path.into(),
            uid,
            is_writable,
        }
    }

    fn finding(files: &[Owned], euid: u32) -> Finding {
        judge(Path::new("/data"), files, euid)
    }

    #[test]
    fn ones_own_files_pass() {
        assert_eq!(finding(&[], 1000).level, Level::Pass);
        assert_eq!(
            finding(&[owned("/data/a.db", 1000, true)], 1000).level,
            Level::Pass
        );
        assert_eq!(
            finding(&[owned("/data/a.db", 0, true)], 0).level,
            Level::Pass
        );
    }

    #[test]
    fn root_is_warned() {
        let found = finding(&[owned("/data/a.db", 1000, true)], 0);
        assert_eq!(found.level, Level::Warn);
        assert!(found.what.contains("uid 1000") && found.what.contains("root"));
        assert!(found.remedy.contains("chown 0 '/data/a.db'"), "{found:?}");
    }

    #[test]
    fn another_user_fails_only_if_it_cannot_write() {
        let found = finding(&[owned("/data/a b.db", 33, true)], 1000);
        assert_eq!(found.level, Level::Warn);
        assert_eq!(found.remedy, "sudo chown 1000 '/data/a b.db'");
        let found = finding(&[owned("/data/a b.db", 33, false)], 1000);
        assert_eq!(found.level, Level::Fail);
        assert!(found.what.contains("may not write /data/a b.db"));
    }

    #[test]
    fn mixed_owners_are_named_and_only_foreign_files_given_away() {
        let files = [
            owned("/data/a.db", 1000, true),
            owned("/data/a.db-wal", 0, false),
        ];
        let found = finding(&files, 1000);
        assert_eq!(found.level, Level::Fail);
        assert!(
            found.what.contains("different users (uid 0, 1000)"),
            "{found:?}"
        );
        assert_eq!(found.remedy, "sudo chown 1000 '/data/a.db-wal'");
    }

    #[test]
    fn the_real_owner_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let database = dir.path().join("a.db");
        let wal = dir.path().join("a.db-wal");
        std::fs::write(&database, b"").unwrap();
        std::fs::write(&wal, b"").unwrap();
        let databases = [database];
        assert_eq!(inspect(dir.path(), &databases).level, Level::Pass);
        // Only root may give a file away.
        if std::os::unix::fs::chown(&wal, Some(12345), None).is_ok() {
            let found = inspect(dir.path(), &databases);
            assert_eq!(found.level, Level::Warn);
            assert!(found.what.contains("12345"), "{found:?}");
        }
    }
}
