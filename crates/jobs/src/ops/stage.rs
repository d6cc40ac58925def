//! Jobs become ready to run: at once, when their time has come, or when their
//! limit key admits one more. And the ready table, in which workers look.

use rusqlite::{Connection, OptionalExtension, params};

use super::{Now, clock, row};
use crate::state::code;
use crate::{JobId, Result};

/// Most scheduled jobs that one transaction makes ready.
const DUE_JOBS_MAX: usize = 500;

/// Adds a pending job to the ready table.
pub(super) fn make_ready(
    conn: &Connection,
    queue: &str,
    suspect: bool,
    priority: i64,
    id: JobId,
) -> Result<()> {
    conn.prepare_cached("INSERT OR IGNORE INTO _monolite_job_ready VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![queue, suspect, priority, id])?;
    Ok(())
}

/// Removes a job that waits, in whatever state, from the ready table; false if
/// it is running.
pub(super) fn take_back(conn: &Connection, id: JobId) -> Result<bool> {
    let row: Option<(i64, String, i64, bool)> = conn
        .prepare_cached(
            "SELECT state, queue, priority, crashes > 0 FROM _monolite_job WHERE id = ?1",
        )?
        .query_row([id], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })
        .optional()?;
    let Some((state, queue, priority, suspect)) = row else {
        return Ok(false);
    };
    if state != code::PENDING {
        return Ok(true);
    }
    let taken = conn
        .prepare_cached(
            "DELETE FROM _monolite_job_ready
             WHERE queue = ?1 AND suspect = ?2 AND priority = ?3 AND id = ?4",
        )?
        .execute(params![queue, suspect, priority, id])?;
    Ok(taken == 1)
}

/// Makes the scheduled jobs ready that are due; true if there may be more.
///
/// # Errors
/// SQLite's own.
pub fn stage_due(conn: &Connection, now: &Now) -> Result<bool> {
    clock::follow(conn, now)?;
    let due: Vec<JobId> = conn
        .prepare_cached(
            "SELECT id FROM _monolite_job INDEXED BY _monolite_job_due
             WHERE state = 3 AND due_at <= ?1 ORDER BY due_at LIMIT ?2",
        )?
        .query_map(params![now.wall_ms, DUE_JOBS_MAX as i64], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    for id in &due {
        stage(conn, now, *id)?;
    }
    Ok(due.len() == DUE_JOBS_MAX)
}

/// Makes one scheduled job ready, or blocked if its key is used up.
pub(super) fn stage(conn: &Connection, now: &Now, id: JobId) -> Result<()> {
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
        (Some(key), Some(max)) if !limit_admits(conn, &key, max)? => code::BLOCKED,
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

/// True if one more job with this limit key may become pending.
pub(super) fn limit_admits(conn: &Connection, key: &str, max: u32) -> Result<bool> {
    // Counts no further than the limit, however many there are.
    let pending: u32 = conn
        .prepare_cached(
            "SELECT count(*) FROM (
                 SELECT 1 FROM _monolite_job WHERE limit_key = ?1 AND state = 2 LIMIT ?2)",
        )?
        .query_row(params![key, max], |row| row.get(0))?;
    Ok(pending < max)
}

/// A job with this limit key has left: makes the next ones ready.
pub(super) fn unblock(conn: &Connection, now: &Now, key: &str) -> Result<()> {
    // More than one may follow: a job's own limit may be above the last one's.
    loop {
        let next: Option<(JobId, String, i64, u32, bool)> = conn
            .prepare_cached(
                "SELECT id, queue, priority, limit_max, crashes > 0 FROM _monolite_job
                 WHERE limit_key = ?1 AND state = 4 ORDER BY priority, id LIMIT 1",
            )?
            .query_row([key], |row| {
                Ok((
                    row.get(0)?,
                    row::text(row, 1)?,
                    row.get(2)?,
                    row::count(row, 3)?.unwrap_or(1),
                    row.get(4)?,
                ))
            })
            .optional()?;
        let Some((id, queue, priority, max, suspect)) = next else {
            return Ok(());
        };
        if !limit_admits(conn, key, max)? {
            return Ok(());
        }
        conn.prepare_cached("UPDATE _monolite_job SET state = 2, changed_at = ?2 WHERE id = ?1")?
            .execute(params![id, now.wall_ms])?;
        make_ready(conn, &queue, suspect, priority, id)?;
    }
}
