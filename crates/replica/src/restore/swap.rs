//! Replacing a database by a restored file.
//!
//! A database is its file together with its WAL, which holds the last commits,
//! and its journal, which holds what has to be rolled back. Renaming replaces
//! one file at a time, and the new file with the old WAL would be neither. So
//! SQLite is first made to apply the old file's WAL and journal, then they are
//! removed, then the new file is renamed over the old: whenever the machine
//! dies, there is either the old database, whole, or the new one.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use monolite_platform::durable::{self, IfExists, Temporary};
use monolite_platform::path::directory;
use monolite_sqlite_format::{SUFFIXES, sibling_path};
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::error::RestoreError;
use monolite_platform::failpoint;

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
    temporary.has_been_renamed();
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
        recover(out)?;
    }
    failpoint::reached("restore.recovered");
    if remove_companions(out)? {
        // The removal must not come after the renaming on the disk.
        let dir = directory(out);
        durable::sync_directory(dir).map_err(|error| RestoreError::file("write", dir, error))?;
    }
    failpoint::reached("restore.cleared");
    rename(copy, out, overwrite)?;
    failpoint::reached("restore.renamed");
    Ok(())
}

/// Has SQLite apply a database's WAL and journal, which also finds out whether
/// another process has it open.
pub(super) fn recover(old: &Path) -> Result<(), RestoreError> {
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
fn remove_companions(out: &Path) -> Result<bool, RestoreError> {
    let mut removed = false;
    for suffix in SUFFIXES {
        let path = sibling_path(out, suffix);
        match fs::remove_file(&path) {
            Ok(()) => removed = true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(RestoreError::file("remove", &path, error)),
        }
    }
    Ok(removed)
}

fn rename(from: &Path, out: &Path, overwrite: bool) -> Result<(), RestoreError> {
    let if_exists = match overwrite {
        true => IfExists::Replace,
        false => IfExists::Fail,
    };
    durable::rename(from, out, if_exists).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => RestoreError::Exists { path: out.into() },
        _ => RestoreError::file("write", out, error),
    })
}
