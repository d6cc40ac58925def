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
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::SignedDuration;
use monolite_platform::durable::{self, IfExists, Temporary};
use monolite_platform::path::directory;
use monolite_sqlite_format::{SUFFIXES, sibling_path};
use monolite_volume::layout;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::error::RestoreError;
use monolite_platform::failpoint;

/// How long to wait for another process's lock on the old database.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(2);

/// Looks whether a database may be restored to `out`.
pub(super) fn check(out: &Path, existing: Existing) -> Result<Option<fs::Metadata>, RestoreError> {
    match fs::metadata(out) {
        Ok(old) if !old.is_file() => Err(RestoreError::NotAFile { path: out.into() }),
        Ok(_) if !existing.is_replaced() => Err(RestoreError::Exists { path: out.into() }),
        Ok(old) => Ok(Some(old)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(RestoreError::file("look at", out, error)),
    }
}

/// What happens to a database that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Existing {
    /// It stays, and that is an error.
    #[default]
    Refuse,
    /// It is replaced.
    Replace,
    /// It is replaced, and kept next to the new one, as
    /// `app.sqlite3.before-20261130T154200Z`. That takes no space but its own.
    Keep,
}

impl Existing {
    fn is_replaced(self) -> bool {
        self != Self::Refuse
    }
}

/// Makes `temporary` the database `out`. Its content is on the disk already.
pub(super) fn swap(
    temporary: Temporary,
    out: &Path,
    existing: Existing,
) -> Result<Option<PathBuf>, RestoreError> {
    let kept = replace_database(temporary.path(), out, existing)?;
    temporary.has_been_renamed();
    Ok(kept)
}

/// Makes the file `copy`, which is in the same folder and on the disk already,
/// the database `out`: whenever the machine dies, there is the old one, whole,
/// or the new one. The old one's WAL and journal go with it. Returns the path of the
/// old one, if it is kept.
///
/// # Errors
/// Another process has the old one open; it is there, and is not to be
/// overwritten; or the system refuses.
pub fn replace_database(
    copy: &Path,
    out: &Path,
    existing: Existing,
) -> Result<Option<PathBuf>, RestoreError> {
    let old = check(out, existing)?;
    let recovered = match old.is_some_and(|old| old.len() > 0) {
        true => Some(recover(out)?),
        false => None,
    };
    failpoint::reached("restore.recovered");
    let kept = match recovered {
        Some(is_recovered) if existing == Existing::Keep => Some(keep(out, is_recovered)?),
        _ => None,
    };
    failpoint::reached("restore.kept");
    if remove_companions(out)? {
        // The removal must not come after the renaming on the disk.
        let dir = directory(out);
        durable::sync_directory(dir).map_err(|error| RestoreError::file("write", dir, error))?;
    }
    failpoint::reached("restore.cleared");
    rename(copy, out, existing)?;
    failpoint::reached("restore.renamed");
    Ok(kept)
}

/// Gives the old database a second name, and so its log and journal where SQLite could
/// not apply them. Whenever the machine dies, it has the first name still.
fn keep(out: &Path, is_recovered: bool) -> Result<PathBuf, RestoreError> {
    let mut now = jiff::Timestamp::now();
    loop {
        let kept = layout::replaced(out, &now.strftime("%Y%m%dT%H%M%SZ").to_string());
        match fs::hard_link(out, &kept) {
            Ok(()) => {}
            // Of a restore in this same second.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                now += SignedDuration::from_secs(1);
                continue;
            }
            // A file system without links.
            Err(error)
                if [io::ErrorKind::PermissionDenied, io::ErrorKind::Unsupported]
                    .contains(&error.kind()) =>
            {
                let renamed = durable::rename(out, &kept, IfExists::Fail);
                renamed.map_err(|error| {
                    RestoreError::file("keep the old database as", &kept, error)
                })?;
            }
            Err(error) => return Err(RestoreError::file("keep the old database as", &kept, error)),
        }
        for suffix in SUFFIXES.iter().filter(|_| !is_recovered) {
            let (from, to) = (sibling_path(out, suffix), sibling_path(&kept, suffix));
            match fs::hard_link(&from, &to) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(RestoreError::file("keep", &from, error));
                }
                _ => {}
            }
        }
        let dir = directory(out);
        durable::sync_directory(dir).map_err(|error| RestoreError::file("write", dir, error))?;
        return Ok(kept);
    }
}

/// Has SQLite apply a database's WAL and journal, which also finds out whether
/// another process has it open.
///
/// Returns `false` if SQLite cannot read it: then nothing was applied.
pub(super) fn recover(old: &Path) -> Result<bool, RestoreError> {
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
        Ok(()) => Ok(true),
        Err(error) => match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                Err(RestoreError::InUse { path: path() })
            }
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => Ok(false),
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

fn rename(from: &Path, out: &Path, existing: Existing) -> Result<(), RestoreError> {
    let if_exists = match existing.is_replaced() {
        true => IfExists::Replace,
        false => IfExists::Fail,
    };
    durable::rename(from, out, if_exists).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => RestoreError::Exists { path: out.into() },
        _ => RestoreError::file("write", out, error),
    })
}
