//! The table `_monolite_migration`, with a record for each applied file.

use rusqlite::{Connection, OptionalExtension};
use serde::Serialize;

use super::error::{Error, Result};
use super::file::File;

/// The table's name.
pub const TABLE: &str = "_monolite_migration";

/// A file that was applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Applied {
    /// Its number.
    pub version: u32,
    /// Its name without `.sql`.
    pub name: String,
    /// SHA-256 of its text, in hexadecimal digits.
    pub checksum: String,
    /// When it was applied, in milliseconds since 1970.
    pub applied_at_ms: i64,
    /// How long it took, in milliseconds; `None` for one of a baseline, which never ran here.
    pub took_ms: Option<i64>,
}

/// The records in order of numbers; empty if the table does not exist.
///
/// # Errors
/// The database cannot be read.
pub fn applied(conn: &Connection) -> Result<Vec<Applied>> {
    let read = || {
        let there = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1";
        let there = conn.query_row(there, [TABLE], |_| Ok(())).optional()?;
        if there.is_none() {
            return Ok(Vec::new());
        }
        let mut all = conn.prepare(
            "SELECT version, name, checksum, applied_at_ms, took_ms
             FROM main._monolite_migration ORDER BY version",
        )?;
        let all = all.query_map([], |row| {
            Ok(Applied {
                version: row.get(0)?,
                name: row.get(1)?,
                checksum: row.get(2)?,
                applied_at_ms: row.get(3)?,
                took_ms: row.get(4)?,
            })
        })?;
        all.collect()
    };
    read().map_err(Error::sqlite("read what was applied"))
}

/// Records `file` within the open transaction.
pub(super) fn record(
    conn: &Connection,
    file: &File,
    applied_at_ms: i64,
    took_ms: Option<i64>,
) -> Result<Applied> {
    let write = || {
        conn.execute_batch(
            "CREATE TABLE IF NOT EXISTS main._monolite_migration (
                 version INTEGER PRIMARY KEY,
                 name TEXT NOT NULL,
                 checksum TEXT NOT NULL,
                 applied_at_ms INTEGER NOT NULL,
                 took_ms INTEGER
             ) STRICT",
        )?;
        conn.execute(
            "INSERT INTO main._monolite_migration VALUES (?1, ?2, ?3, ?4, ?5)",
            (
                file.version(),
                file.name(),
                file.checksum(),
                applied_at_ms,
                took_ms,
            ),
        )
    };
    write().map_err(Error::sqlite("record what was applied"))?;
    Ok(Applied {
        version: file.version(),
        name: file.name().into(),
        checksum: file.checksum().into(),
        applied_at_ms,
        took_ms,
    })
}
