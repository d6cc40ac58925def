//! Columns of rows that anybody may have written, and small writes to them.

use rusqlite::{Connection, Row, params};

use super::Now;
use crate::{JobId, Result};

/// Text, with what is not UTF-8 replaced.
pub(super) fn text(row: &Row<'_>, column: usize) -> rusqlite::Result<String> {
    Ok(match row.get_ref(column)?.as_bytes_or_null() {
        Ok(Some(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
        _ => row.get(column)?,
    })
}

/// As [`text`], where there may be none.
pub(super) fn optional_text(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<String>> {
    let bytes = row.get_ref(column)?.as_bytes_or_null().ok().flatten();
    Ok(bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned()))
}

/// A number of things, kept within what a `u32` holds.
pub(super) fn count(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<u32>> {
    let value: Option<i64> = row.get(column)?;
    Ok(value.map(|value| u32::try_from(value.max(0)).unwrap_or(u32::MAX)))
}

/// Notes how far a running job has come: a share from 0 to 1 and a few words.
/// False if this run of the job has ended.
///
/// # Errors
/// SQLite's own.
pub fn progress(
    conn: &Connection,
    now: &Now,
    id: JobId,
    run: i64,
    share: f64,
    note: Option<&str>,
) -> Result<bool> {
    let changed = conn
        .prepare_cached(
            "UPDATE _monolite_job SET progress = ?3, note = ?4, changed_at = ?5
             WHERE id = ?1 AND run = ?2 AND state = 2",
        )?
        .execute(params![id, run, share.clamp(0.0, 1.0), note, now.wall_ms])?;
    Ok(changed == 1)
}
