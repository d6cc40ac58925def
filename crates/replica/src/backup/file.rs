//! A copy to a file.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use super::check::{Check, check, check_compressed};
use super::compression::Compression;
use super::copy::{Copy, LOCK_WAIT_MAX};
use super::direct::DirectFile;
use super::error::{Error, Result};
use super::free_space;
use super::pump::{Backup, pump};
use super::temporary::{create, publish};
use crate::Progress;
use monolite_platform::cancel::Cancel;
use monolite_platform::durable::Temporary;
use monolite_platform::failpoint;
use monolite_platform::path::directory;
use monolite_sqlite_format::sibling_path;

/// How [`to_file`] works.
#[derive(Debug, Clone)]
pub struct BackupOptions {
    /// By the name of the file if there is none.
    pub compression: Option<Compression>,
    /// Replace what is there.
    pub overwrite: bool,
    /// Look at the copy before it gets its name. One that is compressed is
    /// unpacked next to it for that.
    pub check: Check,
    /// How long to wait for a database that another process locks.
    pub patience: Duration,
    /// Ends it from another thread.
    pub cancel: Cancel,
}

impl Default for BackupOptions {
    fn default() -> Self {
        Self {
            compression: None,
            overwrite: false,
            check: Check::None,
            patience: LOCK_WAIT_MAX,
            cancel: Cancel::default(),
        }
    }
}

/// Copies the database at `db` to the file `out`, with the permissions of the
/// database.
///
/// The file appears under its name when it is whole and on disk, and not
/// before; whatever ends this earlier leaves nothing under that name. What a
/// killed process leaves under another name is removed by the next copy into the
/// same directory.
///
/// # Errors
/// There is no database, it cannot be read, `out` exists and may not be
/// replaced, or it cannot be written.
///
/// ```
/// use monolite_replica::backup::{self, BackupOptions};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// # let db = dir.path().join("app.sqlite3");
/// # rusqlite::Connection::open(&db)?.execute_batch("CREATE TABLE t (x)")?;
/// let out = dir.path().join("monday.sqlite3.zst");
/// let made = backup::to_file(&db, &out, &BackupOptions::default(), &())?;
/// assert!(made.written < made.bytes());
/// # Ok(())
/// # }
/// ```
pub fn to_file(
    db: &Path,
    out: &Path,
    options: &BackupOptions,
    progress: &dyn Progress,
) -> Result<Backup> {
    let compression = options
        .compression
        .unwrap_or_else(|| Compression::of_name(out));
    may_be_written(db, out, options.overwrite)?;
    let copy = Copy::open_within(db, options.patience)?;
    let db = copy.source().path().to_owned();
    if compression == Compression::None {
        free_space::require(directory(out), copy.bytes(), |_| 0)?;
    }
    let temporary = create(out, mode_of(&db))?;
    failpoint::reached("backup.created");
    let backup = fill(copy, &temporary, compression, progress, &options.cancel)?;
    failpoint::reached("backup.synced");
    match (options.check, compression) {
        (Check::None, _) => {}
        (how, Compression::None) => {
            check(&db, &temporary, how, progress, &options.cancel)?;
        }
        (how, _) => {
            let (bytes, cancel) = (backup.bytes(), &options.cancel);
            check_compressed(&db, &temporary, compression, bytes, how, progress, cancel)?;
        }
    }
    options.cancel.check()?;
    publish(temporary, options.overwrite)?;
    Ok(backup)
}

/// Copies the database at `db` into a temporary file, and has the disk keep it. Its
/// name is up to the caller.
///
/// # Errors
/// There is no database, it cannot be read, or the file cannot be written.
pub fn to_temporary(
    db: &Path,
    temporary: &Temporary,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<Backup> {
    let copy = Copy::open(db)?;
    free_space::require(directory(temporary.path()), copy.bytes(), |_| 0)?;
    let backup = fill(copy, temporary, Compression::None, progress, cancel)?;
    cancel.check()?;
    Ok(backup)
}

/// Writes all of `copy` to a file, and has the disk keep it.
pub(super) fn fill(
    copy: Copy,
    temporary: &Temporary,
    compression: Compression,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<Backup> {
    let (page_size, pages) = (copy.page_size(), copy.pages());
    let refused = |error: io::Error| Error::file("write", temporary.target(), error);
    let out = DirectFile::new(temporary.file());
    let out = pump(copy, out, compression, progress, cancel, refused)?;
    let written = out.finish().map_err(refused)?;
    Ok(Backup {
        page_size,
        pages,
        written,
    })
}

/// The permissions of the database, for its copy; without those to execute.
pub(super) fn mode_of(db: &Path) -> u32 {
    db.metadata()
        .map_or(0o600, |metadata| metadata.mode() & 0o666)
}

fn may_be_written(db: &Path, out: &Path, overwrite: bool) -> Result<()> {
    let path = || out.to_owned();
    if out.file_name().is_none() {
        return Err(Error::NotAFile { path: path() });
    }
    match out.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(Error::file("write", out, error)),
        Ok(_) if is_same(db, out) => return Err(Error::Itself { path: path() }),
        Ok(there) if !there.is_file() => return Err(Error::NotAFile { path: path() }),
        Ok(_) if !overwrite => return Err(Error::Exists { path: path() }),
        Ok(_) => {}
    }
    let dir = directory(out);
    if let Err(error) = dir.metadata() {
        return Err(Error::file("write in the directory", dir, error));
    }
    for path in ["-wal", "-journal"].map(|suffix| sibling_path(out, suffix)) {
        if path.metadata().is_ok_and(|metadata| metadata.len() > 0) {
            return Err(Error::LeftoverJournal { path });
        }
    }
    Ok(())
}

fn is_same(one: &Path, other: &Path) -> bool {
    let id = |path: &Path| path.metadata().map(|of| (of.dev(), of.ino()));
    matches!((id(one), id(other)), (Ok(one), Ok(other)) if one == other)
}
