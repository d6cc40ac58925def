//! A read transaction that keeps frames of the log where they are.

use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::error::{Error, Result};

/// A connection to a database that is somebody else's: it changes nothing,
/// checkpoints nothing by itself, and deletes nothing when it goes.
pub(crate) fn connect(path: &Path) -> Result<Connection> {
    let at = |error| Error::database(path, error);
    // Not created: the name may be gone by now.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags).map_err(at)?;
    // SQLite falls back to reading, and then its locks do not keep the log.
    if conn.is_readonly("main").map_err(at)? {
        return Err(Error::ReadOnly { path: path.into() });
    }
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
        .map_err(at)?;
    conn.execute_batch(
        "PRAGMA busy_timeout = 1000; PRAGMA wal_autocheckpoint = 0; PRAGMA cache_size = -64;
         PRAGMA query_only = ON; PRAGMA mmap_size = 0; PRAGMA temp_store = MEMORY",
    )
    .map_err(at)?;
    Ok(conn)
}

/// One such connection, with a read transaction or without.
#[derive(Debug)]
pub(crate) struct ReadLock {
    conn: Connection,
    path: PathBuf,
}

impl ReadLock {
    pub(crate) fn new(path: &Path) -> Result<Self> {
        Ok(Self {
            conn: connect(path)?,
            path: path.into(),
        })
    }

    /// Begins a read transaction: from here on, what was committed by now stays
    /// readable, and the log is reset at most once.
    pub(crate) fn begin(&self) -> Result<()> {
        // BEGIN alone takes no lock; the read of the schema does.
        self.run("BEGIN; SELECT 1 FROM sqlite_schema LIMIT 1")
            .inspect_err(|_| self.end())
    }

    /// Ends it, if there is one.
    pub(crate) fn end(&self) {
        if !self.conn.is_autocommit() {
            // A read transaction's end cannot fail in a way that keeps locks.
            let _ = self.conn.execute_batch("COMMIT");
        }
    }

    fn run(&self, sql: &str) -> Result<()> {
        self.conn
            .execute_batch(sql)
            .map_err(|error| Error::database(&self.path, error))
    }
}
