//! At most so many at once of one key.

use rusqlite::{Connection, OptionalExtension, params};

use super::enqueue::make_ready;
use super::{Now, row};
use crate::{JobId, Result};

/// True if one more job with this key may become pending.
pub(super) fn has_room(conn: &Connection, key: &str, max: u32) -> Result<bool> {
    // Counts no further than the limit, however many there are.
    let pending: u32 = conn
        .prepare_cached(
            "SELECT count(*) FROM (
                 SELECT 1 FROM _monolite_job WHERE limit_key = ?1 AND state = 2 LIMIT ?2)",
        )?
        .query_row(params![key, max], |row| row.get(0))?;
    Ok(pending < max)
}

/// A job with this key has left: the next one may come.
pub(super) fn unblock(conn: &Connection, now: &Now, key: &str) -> Result<()> {
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
        // More than one may come: a job's own limit may be above the last's.
        if !has_room(conn, key, max)? {
            return Ok(());
        }
        conn.prepare_cached("UPDATE _monolite_job SET state = 2, changed_at = ?2 WHERE id = ?1")?
            .execute(params![id, now.wall_ms])?;
        make_ready(conn, &queue, suspect, priority, id)?;
    }
}
