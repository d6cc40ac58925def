//! Recurring jobs: each tick enqueues one, once whatever the number of
//! processes, since firing and moving on to the next tick are one transaction.
//!
//! Ticks that were missed (nobody was running) are made up for by one job.
//! When the clock is set back by less than a schedule's period, a tick that
//! was fired is not fired again; a schedule that is due more often than that
//! goes on from the new time, so that it is never silent for the whole step.

use std::str::FromStr;

use croner::Cron;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use rusqlite::{Connection, params};

use super::enqueue::enqueue;
use super::{Now, clock, row};
use crate::{Error, JobId, NewJob, Result};

/// A recurring job.
#[derive(Debug, Clone, PartialEq)]
pub struct CronEntry {
    /// Its name; setting the same name again changes it.
    pub name: String,
    /// Cron expression: five fields, or six with seconds first, or `@daily`
    /// and the like.
    pub schedule: String,
    /// IANA time zone, such as `Europe/Berlin`; `UTC` if in doubt.
    pub zone: String,
    /// What to enqueue at each tick.
    pub job: NewJob,
    /// The next tick, in milliseconds since 1970.
    pub next_at_ms: i64,
    /// The tick fired last, in milliseconds since 1970.
    pub last_at_ms: Option<i64>,
}

/// Sets up a recurring job, or changes it. One that is there with the same
/// schedule and zone keeps its next tick.
///
/// # Errors
/// [`Error::Invalid`] for a schedule or zone that is none.
pub fn set_cron(
    conn: &Connection,
    now: &Now,
    name: &str,
    schedule: &str,
    zone: &str,
    job: &NewJob,
) -> Result<()> {
    job.check()?;
    let next_at = after(schedule, zone, now.wall_ms)?;
    let job = serde_json::to_string(job).map_err(Error::json("write a recurring job"))?;
    clock::follow(conn, now)?;
    conn.execute(
        "INSERT INTO _monolite_job_cron (name, schedule, zone, job, next_at)
         VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT DO UPDATE SET
             next_at = iif(schedule = excluded.schedule AND zone = excluded.zone,
                           min(next_at, excluded.next_at), excluded.next_at),
             schedule = excluded.schedule, zone = excluded.zone, job = excluded.job",
        params![name, schedule, zone, job, next_at],
    )?;
    Ok(())
}

/// Takes a recurring job away; false if there was none of that name. Jobs
/// enqueued before stay.
///
/// # Errors
/// SQLite's own.
pub fn remove_cron(conn: &Connection, name: &str) -> Result<bool> {
    Ok(conn.execute("DELETE FROM _monolite_job_cron WHERE name = ?1", [name])? == 1)
}

/// How long a schedule that cannot be read is put off, in milliseconds.
const PUT_OFF_MS: i64 = 3_600_000;

/// All recurring jobs.
///
/// # Errors
/// SQLite's own; [`Error::Json`] for a row that is damaged.
pub fn schedules(conn: &Connection) -> Result<Vec<CronEntry>> {
    let mut statement = conn.prepare_cached(
        "SELECT name, schedule, zone, job, next_at, last_at FROM _monolite_job_cron ORDER BY name",
    )?;
    let mut rows = statement.query([])?;
    let mut entries = Vec::new();
    while let Some(row) = rows.next()? {
        let job = row::text(row, 3)?;
        entries.push(CronEntry {
            name: row::text(row, 0)?,
            schedule: row::text(row, 1)?,
            zone: row::text(row, 2)?,
            job: serde_json::from_str(&job).map_err(Error::json("read a recurring job"))?,
            next_at_ms: row.get(4)?,
            last_at_ms: row.get(5)?,
        });
    }
    Ok(entries)
}

/// Fires what is due. Answers with each tick, as its name and job.
///
/// # Errors
/// SQLite's own.
pub fn fire_cron(conn: &Connection, now: &Now) -> Result<Vec<(String, JobId)>> {
    clock::follow(conn, now)?;
    let due: Vec<(String, String, String, String, i64)> = conn
        .prepare_cached(
            "SELECT name, schedule, zone, job, next_at FROM _monolite_job_cron WHERE next_at <= ?1",
        )?
        .query_map([now.wall_ms], |row| {
            Ok((
                row::text(row, 0)?,
                row::text(row, 1)?,
                row::text(row, 2)?,
                row::text(row, 3)?,
                row.get(4)?,
            ))
        })?
        .collect::<rusqlite::Result<_>>()?;
    let mut fired = Vec::new();
    for (name, schedule, zone, job, tick) in due {
        // A row that somebody damaged must not stop the others.
        let job: std::result::Result<NewJob, _> = serde_json::from_str(&job);
        let next_at = after(&schedule, &zone, now.wall_ms).unwrap_or(now.wall_ms + PUT_OFF_MS);
        if let Ok(job) = job {
            match enqueue(conn, now, &job) {
                Ok(enqueued) => fired.push((name.clone(), enqueued.id)),
                // The one before is not done yet, and asked for this.
                Err(Error::NotUnique { .. } | Error::Invalid { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        conn.prepare_cached(
            "UPDATE _monolite_job_cron SET next_at = ?2, last_at = ?3 WHERE name = ?1",
        )?
        .execute(params![name, next_at, tick])?;
    }
    Ok(fired)
}

/// The wall clock was set by `step_ms`.
pub(super) fn follow_step(conn: &Connection, step_ms: i64) -> Result<()> {
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
        let Ok(next) = after(&schedule, &zone, next_at.saturating_add(step_ms - 1)) else {
            continue; // Damaged by a hand: it must not stop the others.
        };
        let Ok(second) = after(&schedule, &zone, next) else {
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

/// The first tick after a moment.
fn after(schedule: &str, zone: &str, wall_ms: i64) -> Result<i64> {
    let bad = |why: String| Error::invalid("recurring job", why);
    let cron = Cron::from_str(schedule)
        .map_err(|error| bad(format!("{schedule:?} is not a cron expression: {error}")))?;
    let zone = TimeZone::get(zone).map_err(|_| {
        bad(format!(
            "{zone:?} is not a time zone; try \"UTC\" or \"Europe/Berlin\""
        ))
    })?;
    let moment = Timestamp::from_millisecond(wall_ms).map_err(|error| bad(error.to_string()))?;
    let next: Zoned = cron
        .find_next_occurrence(&moment.to_zoned(zone), false)
        .map_err(|error| bad(format!("{schedule:?} never comes: {error}")))?;
    Ok(next.timestamp().as_millisecond())
}
