//! A connection set up to migrate, and put back as it was.

use std::time::Duration;

use rusqlite::Connection;

/// SQLite's own wait for a lock; how long in all is counted outside.
const SLICE: Duration = Duration::from_millis(200);

/// The settings of `conn` as they were; set again when this is dropped.
pub(super) struct Session<'c> {
    conn: &'c Connection,
    settings: Vec<(&'static str, i64)>,
}

impl<'c> Session<'c> {
    /// `conn` is in no transaction.
    pub(super) fn begin(conn: &'c Connection) -> rusqlite::Result<Self> {
        let mut settings = Vec::new();
        for name in ["busy_timeout", "foreign_keys", "legacy_alter_table"] {
            let value = conn.query_row(&format!("PRAGMA {name}"), [], |row| row.get(0))?;
            settings.push((name, value));
        }
        let session = Self { conn, settings };
        conn.busy_timeout(SLICE)?;
        conn.pragma_update(None, "legacy_alter_table", 0)?;
        Ok(session)
    }

    /// Has foreign keys enforced, or not, in the transaction to come.
    pub(super) fn foreign_keys(&self, on: bool) -> rusqlite::Result<()> {
        self.conn.pragma_update(None, "foreign_keys", on)
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        for (name, value) in &self.settings {
            // They were read from it: they can be set.
            let _ = self.conn.pragma_update(None, name, value);
        }
    }
}
