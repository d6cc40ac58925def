//! Moves delays, unique windows, rates and recurring jobs along when somebody
//! sets the wall clock.
//!
//! Times in the tables are wall times, so that a person can read them and they
//! stay valid when the machine restarts. A delay, though, means time that
//! passes. So the difference between the wall clock and the monotonic one is
//! kept; whoever finds it changed moves every delay by the change, once for all
//! processes, in the transaction that notes the new difference. Times that were
//! given as wall times stay.

use rusqlite::{Connection, OptionalExtension, params};

use super::cron_expression::next_tick;
use super::now::{CLOCK_STEP_MS, Now};
use super::queue::{parse_starts, write_starts};
use super::row;
use crate::Result;

/// Notes the difference between the clocks, and moves delays if the wall clock
/// was set. Call it before a delay or a rate is written or acted upon.
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
        move_rates(conn, now, step_ms)?;
        move_recurring(conn, step_ms)?;
    } else {
        // The machine was restarted: by how much the clock was set meanwhile is
        // not known.
        move_rates(conn, now, 0)?;
    }
    conn.prepare_cached(
        "INSERT INTO _monolite_job_clock VALUES (1, ?1, ?2)
         ON CONFLICT DO UPDATE SET boot = excluded.boot, ahead_ms = excluded.ahead_ms",
    )?
    .execute(params![&*now.boot, ahead_ms])?;
    Ok(())
}

/// Moves the noted starts of rates. None is left in the future, where it would
/// hold the queue back.
fn move_rates(conn: &Connection, now: &Now, step_ms: i64) -> Result<()> {
    let rated: Vec<(String, String)> = conn
        .prepare_cached(
            "SELECT name, rate_starts FROM _monolite_job_queue WHERE rate_starts <> '[]'",
        )?
        .query_map([], |row| Ok((row::text(row, 0)?, row::text(row, 1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    for (queue, starts) in rated {
        let mut starts = parse_starts(&starts);
        for (at, _) in &mut starts {
            *at = at.saturating_add(step_ms).min(now.wall_ms);
        }
        write_starts(conn, &queue, &starts)?;
    }
    Ok(())
}

/// Moves the next tick of recurring jobs whose period is shorter than the step
/// back: they would be silent for the whole step. A tick of a longer period
/// that was fired is not fired again.
fn move_recurring(conn: &Connection, step_ms: i64) -> Result<()> {
    if step_ms > 0 {
        return Ok(()); // What is due now is fired, once.
    }
    let rows: Vec<(String, String, String, i64)> = conn
        .prepare_cached("SELECT name, schedule, zone, next_at FROM _monolite_job_cron")?
        .query_map([], |row| {
            Ok((
                row::text(row, 0)?,
                row::text(row, 1)?,
                row::text(row, 2)?,
                row.get(3)?,
            ))
        })?
        .collect::<rusqlite::Result<_>>()?;
    for (name, schedule, zone, next_at) in rows {
        // As far off as it was.
        let Ok(next) = next_tick(&schedule, &zone, next_at.saturating_add(step_ms - 1)) else {
            continue; // Edited by hand; it must not stop the rest.
        };
        let Ok(second) = next_tick(&schedule, &zone, next) else {
            continue;
        };
        if next < next_at && second - next < -step_ms {
            conn.execute(
                "UPDATE _monolite_job_cron SET next_at = ?2 WHERE name = ?1",
                params![name, next],
            )?;
        }
    }
    Ok(())
}
