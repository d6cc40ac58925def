//! A snapshot that shares its blocks with the database.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::kept;
use super::reflink::clone_file;
use crate::Progress;
use crate::backup::error::{Error, Result};
use crate::backup::free_space;
use crate::backup::source::Source;
use monolite_platform::durable::Temporary;
use monolite_platform::failpoint;
use monolite_platform::path::directory;
use monolite_sqlite_format::wal_path;

/// Has the snapshot share the blocks of the database's file, and puts the WAL
/// beside it, where it is one. Says no where that cannot be done.
///
/// The read transaction of `source` makes the two one state: while it lasts, no
/// checkpoint takes into the file what is not in the WAL that is copied after
/// it, and if the WAL begins anew, all that it held was in the file before.
/// What is written meanwhile may be in the copied WAL, up to some commit.
pub(super) fn share(
    source: &Source,
    temporary: &Temporary,
    progress: &dyn Progress,
) -> Result<bool> {
    progress.begin("cloning", None);
    let wal = source.is_wal().then(|| wal_path(source.path()));
    let wal_bytes = wal
        .as_deref()
        .and_then(|wal| wal.metadata().ok())
        .map_or(0, |metadata| metadata.len());
    // Once as it is, and once for the pages in their places.
    free_space::require(directory(temporary.target()), 2 * wal_bytes, kept)?;
    match clone_file(source.path(), source.id(), temporary.path()) {
        Ok(()) => {}
        Err(error) => match error.kind() {
            io::ErrorKind::StaleNetworkFileHandle => return Err(source.changed()),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                return Err(Error::file("write", temporary.target(), error));
            }
            // Not here, or not in this container.
            _ => return Ok(false),
        },
    }
    failpoint::reached("snapshot.cloned");
    if let Some(wal) = wal {
        copy_wal(&wal, &wal_path(temporary.path()))?;
        source.is_in_place()?;
    }
    failpoint::reached("snapshot.wal-copied");
    Ok(true)
}

/// SQLite holds no lock on a WAL, so this may be opened and closed.
fn copy_wal(wal: &Path, to: &Path) -> Result<()> {
    let from = match File::open(wal) {
        // Everything is in the file.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(|error| Error::file("read", wal, error))?,
    };
    let copy = || {
        // It may grow faster than it is copied.
        let bytes = from.metadata()?.len();
        let mut options = OpenOptions::new();
        let mut to = options.write(true).create_new(true).mode(0o600).open(to)?;
        io::copy(&mut from.take(bytes), &mut to)
    };
    copy().map_err(|error| Error::file("write", to, error))?;
    Ok(())
}

/// Has SQLite bring the pages in the WAL to their places in the file.
pub(super) fn absorb_wal(temporary: &Temporary) -> Result<()> {
    let path = temporary.path();
    let at = |error: rusqlite::Error| match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => Error::DiskFull {
            path: temporary.target().into(),
        },
        _ => Error::reading(path, error, 0),
    };
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags).map_err(at)?;
    // Alone, it needs no `-shm`.
    conn.execute_batch("PRAGMA locking_mode = EXCLUSIVE; PRAGMA synchronous = FULL")
        .map_err(at)?;
    let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
    let busy = conn.query_row(checkpoint, [], |row| row.get::<_, bool>(0));
    if busy.map_err(at)? {
        return Err(Error::Busy {
            path: path.into(),
            waited_ms: 0,
        });
    }
    // The last to close removes the WAL.
    conn.close().map_err(|(_, error)| at(error))?;
    failpoint::reached("snapshot.absorbed");
    Ok(())
}
