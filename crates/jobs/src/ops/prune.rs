//! Removes jobs that ended long enough ago.
//!
//! No index over the time of their end is kept, which every job would pay for:
//! a cursor walks through the table instead, a bounded number of rows at a time.

use rusqlite::{Connection, params};

use super::Now;
use crate::Result;
use crate::state::code;

/// How long jobs are kept after their end, at least; they are removed while
/// later ones end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Done and cancelled ones, in milliseconds; 0 removes done ones at once.
    pub done_ms: i64,
    /// Dead ones, in milliseconds.
    pub dead_ms: i64,
}

/// Reads up to `rows` jobs after `cursor`, removes those that were kept long
/// enough, and returns the cursor for the next call; 0 at the end of the table.
///
/// # Errors
/// SQLite's own.
pub fn prune(conn: &Connection, now: &Now, keep: Retention, cursor: i64, rows: u32) -> Result<i64> {
    let mut delete = conn.prepare_cached("DELETE FROM _monolite_job WHERE id = ?1")?;
    let newest: i64 = conn
        .prepare_cached("SELECT coalesce(max(id), 0) FROM _monolite_job")?
        .query_row([], |row| row.get(0))?;
    let page: Vec<(i64, i64, i64)> = conn
        .prepare_cached(
            "SELECT id, state, max(changed_at, coalesce(unique_until, 0))
             FROM _monolite_job WHERE id > ?1 ORDER BY id LIMIT ?2",
        )?
        .query_map(params![cursor, rows], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?
        .collect::<rusqlite::Result<_>>()?;
    for (id, state, since_ms) in &page {
        let kept_ms = match *state {
            code::DONE | code::CANCELLED => keep.done_ms,
            code::DEAD => keep.dead_ms,
            _ => continue,
        };
        // The newest row stays, so that its number is not used again.
        if since_ms.saturating_add(kept_ms) < now.wall_ms && *id != newest {
            delete.execute([id])?;
        }
    }
    if cursor == 0 {
        // Once per walk; there are few.
        conn.execute(
            "DELETE FROM _monolite_job_batch WHERE finished_at < ?1",
            [now.wall_ms.saturating_sub(keep.dead_ms)],
        )?;
    }
    let full = page.len() >= usize::try_from(rows).unwrap_or(usize::MAX);
    Ok(match page.last() {
        Some((last, ..)) if full => *last,
        _ => 0,
    })
}
