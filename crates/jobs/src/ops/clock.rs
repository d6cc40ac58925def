//! What happens when somebody sets the wall clock.
//!
//! Times in the tables are wall times, so that a person can read them and a
//! machine started anew can go on. A delay, though, means time that passes. So
//! the distance between the wall clock and the steady one is kept; whoever
//! finds it changed moves every delay by the difference, once for all
//! processes, since it is done in one transaction with noting the new
//! distance. Times that were given as wall times stay.

use rusqlite::{Connection, OptionalExtension, params};

use super::{Now, cron, queue};
use crate::Result;

/// A change of the wall clock that is followed, in milliseconds. Smaller ones
/// are the gentle corrections of a time server; they add up
/// and are followed once they come to this.
pub const CLOCK_STEP_MS: i64 = 1000;

/// Notes how far the wall clock is ahead, and moves delays if it was set.
/// To be called before a delay or a rate is written or acted upon.
pub(super) fn follow(conn: &Connection, now: &Now) -> Result<()> {
    let ahead_ms = now.wall_ms - now.steady_ms;
    let noted: Option<(String, i64)> = conn
        .prepare_cached("SELECT boot, ahead_ms FROM _monolite_job_clock WHERE one = 1")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    if let Some((boot, noted_ms)) = noted
        && *boot == *now.boot
    {
        let step_ms = ahead_ms - noted_ms;
        if step_ms.abs() < CLOCK_STEP_MS {
            return Ok(());
        }
        conn.execute(
            "UPDATE _monolite_job SET due_at = min(due_at, 1 << 60) + ?1 WHERE state = 3 AND delayed = 1",
            [step_ms],
        )?;
        conn.execute(
            "UPDATE _monolite_job SET unique_until = min(unique_until, 1 << 60) + ?1
             WHERE unique_until > ?2",
            [step_ms, now.wall_ms - step_ms],
        )?;
        queue::follow_step(conn, now, step_ms)?;
        cron::follow_step(conn, step_ms)?;
    } else {
        // Another start of the machine tells of no step.
        queue::follow_step(conn, now, 0)?;
    }
    conn.prepare_cached(
        "INSERT INTO _monolite_job_clock VALUES (1, ?1, ?2)
         ON CONFLICT DO UPDATE SET boot = excluded.boot, ahead_ms = excluded.ahead_ms",
    )?
    .execute(params![&*now.boot, ahead_ms])?;
    Ok(())
}
