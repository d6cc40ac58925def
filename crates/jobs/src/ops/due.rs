//! Scheduled jobs whose time has come.

use rusqlite::{Connection, OptionalExtension, params};

use super::enqueue::make_ready;
use super::{Now, clock, limit, row};
use crate::state::code;
use crate::{JobId, Result};

/// Most jobs made ready by one transaction.
const PROMOTE_MAX: usize = 500;

/// Makes jobs ready that are due; true if there may be more.
///
/// # Errors
/// SQLite's own.
pub fn promote_due(conn: &Connection, now: &Now) -> Result<bool> {
    clock::follow(conn, now)?;
    let due: Vec<JobId> = conn
        .prepare_cached(
            "SELECT id FROM _monolite_job INDEXED BY _monolite_job_due
             WHERE state = 3 AND due_at <= ?1 ORDER BY due_at LIMIT ?2",
        )?
        .query_map(params![now.wall_ms, PROMOTE_MAX as i64], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    for id in &due {
        promote(conn, now, *id)?;
    }
    Ok(due.len() == PROMOTE_MAX)
}

/// Makes one scheduled job ready, or blocked if its key has no room.
pub(super) fn promote(conn: &Connection, now: &Now, id: JobId) -> Result<()> {
    type Row = (String, i64, bool, Option<String>, Option<u32>);
    let row: Option<Row> = conn
        .prepare_cached(
            "SELECT queue, priority, crashes > 0, limit_key, limit_max
             FROM _monolite_job WHERE id = ?1 AND state = 3",
        )?
        .query_row([id], |row| {
            Ok((
                row::text(row, 0)?,
                row.get(1)?,
                row.get(2)?,
                row::optional_text(row, 3)?,
                row::count(row, 4)?,
            ))
        })
        .optional()?;
    let Some((queue, priority, suspect, limit_key, limit_max)) = row else {
        return Ok(());
    };
    let state = match (limit_key, limit_max) {
        (Some(key), Some(max)) if !limit::has_room(conn, &key, max)? => code::BLOCKED,
        _ => code::PENDING,
    };
    conn.prepare_cached(
        "UPDATE _monolite_job SET state = ?2, due_at = NULL, delayed = NULL, changed_at = ?3
         WHERE id = ?1",
    )?
    .execute(params![id, state, now.wall_ms])?;
    if state == code::PENDING {
        make_ready(conn, &queue, suspect, priority, id)?;
    }
    Ok(())
}
