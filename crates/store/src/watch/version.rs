//! `PRAGMA data_version`, which changes with every commit of another connection.

use rusqlite::Connection;

use crate::Result;

/// Reads the version of the file, as other connections have left it.
pub(super) struct Version {
    conn: Connection,
    last: i64,
}

impl Version {
    pub(super) fn new(conn: Connection) -> Result<Self> {
        let last = Self::read(&conn)?;
        Ok(Self { conn, last })
    }

    fn read(conn: &Connection) -> Result<i64> {
        let mut statement = conn.prepare_cached("PRAGMA data_version")?;
        Ok(statement.query_row([], |row| row.get(0))?)
    }

    /// True if another connection has committed since the last call.
    pub(super) fn moved(&mut self) -> bool {
        match Self::read(&self.conn) {
            Ok(version) => version != std::mem::replace(&mut self.last, version),
            // One wake-up too many is better than one lost.
            Err(_) => true,
        }
    }
}
