//! The peer: one rusqlite connection, set as the store sets its own.

use std::path::Path;

use monolite_store::Synchronous;
use rusqlite::{Connection, OpenFlags};

pub(crate) const NORMAL: Synchronous = Synchronous::Normal;

pub(crate) fn open(path: &Path, synchronous: Synchronous) -> anyhow::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    let level = match synchronous {
        Synchronous::Off => 0,
        Synchronous::Normal => 1,
        Synchronous::Full => 2,
    };
    let mode: String = conn.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    anyhow::ensure!(mode == "wal", "no WAL: {mode}");
    for (name, value) in [
        ("synchronous", level),
        // The defaults of the store's options.
        ("foreign_keys", 1),
        ("journal_size_limit", 64 << 20),
        ("cache_size", -(8 << 10)),
        ("mmap_size", 128 << 20),
    ] {
        conn.pragma_update(None, name, value)?;
    }
    Ok(conn)
}

/// SQLite as it comes: this workspace compiles it with blocking locks, which
/// `busy_timeout` turns on, and nearly nobody else does.
#[allow(unsafe_code)]
pub(crate) fn without_blocking_locks(conn: &Connection) {
    // SAFETY: the handle is that of an open connection nobody else uses now.
    let code = unsafe { rusqlite::ffi::sqlite3_setlk_timeout(conn.handle(), 0, 0) };
    assert_eq!(code, rusqlite::ffi::SQLITE_OK);
}
