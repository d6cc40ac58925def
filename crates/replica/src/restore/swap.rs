//! Replacing a database by a restored file.
//!
//! A database is its file together with its WAL, which holds the last commits,
//! and its journal, which holds what has to be rolled back. Renaming replaces
//! one file at a time, and the new file with the old WAL would be neither. So
//! SQLite is first made to apply the old file's WAL and journal, then they are
//! removed, then the new file is renamed over the old: whenever the machine
//! dies, there is either the old database, whole, or the new one.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::error::RestoreError;
use super::place::{folder, sync};
use super::temporary::Temporary;
use crate::steps;

/// How long to wait for another process's lock on the old database.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(2);

/// Looks whether a database may be restored to `out`.
pub(super) fn check(out: &Path, overwrite: bool) -> Result<Option<fs::Metadata>, RestoreError> {
    match fs::metadata(out) {
        Ok(old) if !old.is_file() => Err(RestoreError::NotAFile { path: out.into() }),
        Ok(_) if !overwrite => Err(RestoreError::Exists { path: out.into() }),
        Ok(old) => Ok(Some(old)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(RestoreError::file("look at", out, error)),
    }
}

/// Makes `temporary` the database `out`. Its content is on the disk already.
pub(super) fn swap(temporary: Temporary, out: &Path, overwrite: bool) -> Result<(), RestoreError> {
    replace_database(temporary.path(), out, overwrite)?;
    temporary.has_become();
    Ok(())
}

/// Makes the file `copy`, which is in the same folder and on the disk already,
/// the database `out`: whenever the machine dies, there is the old one, whole,
/// or the new one. The old one's WAL and journal go with it.
///
/// # Errors
/// Another process has the old one open; it is there, and is not to be
/// overwritten; or the system refuses.
pub fn replace_database(copy: &Path, out: &Path, overwrite: bool) -> Result<(), RestoreError> {
    let old = check(out, overwrite)?;
    if old.is_some_and(|old| old.len() > 0) {
        take_in(out)?;
    }
    steps::reached("restore.taken-in");
    if remove_beside(out)? {
        // The removal must not come after the renaming on the disk.
        sync(folder(out))?;
    }
    steps::reached("restore.cleared");
    rename(copy, out, overwrite)?;
    steps::reached("restore.renamed");
    sync(folder(out))?;
    steps::reached("restore.done");
    Ok(())
}

/// Has SQLite apply a database's WAL and journal, which also finds out whether
/// another process has it open.
fn take_in(old: &Path) -> Result<(), RestoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let taken = Connection::open_with_flags(old, flags).and_then(|conn| {
        conn.busy_timeout(LOCK_WAIT_MAX)?;
        let _: String = conn.query_row("PRAGMA locking_mode = EXCLUSIVE", (), |row| row.get(0))?;
        // The lock is taken with this, and a journal rolled back.
        conn.execute_batch("BEGIN EXCLUSIVE; COMMIT")?;
        let () = conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(()))?;
        conn.close().map_err(|(_, error)| error)
    });
    let path = || old.to_owned();
    match taken {
        Ok(()) => Ok(()),
        Err(error) => match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                Err(RestoreError::InUse { path: path() })
            }
            // What no SQLite can read has nothing that could be kept.
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => Ok(()),
            _ => Err(RestoreError::Replace {
                path: path(),
                source: error,
            }),
        },
    }
}

/// Removes the WAL, its index and a journal; says whether there was one.
fn remove_beside(out: &Path) -> Result<bool, RestoreError> {
    let mut removed = false;
    for suffix in ["-wal", "-shm", "-journal"] {
        let path = beside(out, suffix);
        match fs::remove_file(&path) {
            Ok(()) => removed = true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(RestoreError::file("remove", &path, error)),
        }
    }
    Ok(removed)
}

fn beside(out: &Path, suffix: &str) -> PathBuf {
    let mut name: OsString = out.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn rename(from: &Path, out: &Path, overwrite: bool) -> Result<(), RestoreError> {
    let failed = |error| RestoreError::file("write", out, error);
    if overwrite {
        return fs::rename(from, out).map_err(failed);
    }
    match renameat_with(CWD, from, CWD, out, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::EXIST) => Err(RestoreError::Exists { path: out.into() }),
        // Not every filesystem can; it was looked at a moment ago.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
            fs::rename(from, out).map_err(failed)
        }
        Err(error) => Err(failed(error.into())),
    }
}
