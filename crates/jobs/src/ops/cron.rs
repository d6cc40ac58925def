//! Recurring jobs: each tick enqueues one, once whatever the number of
//! processes, since firing and moving to the next tick are one transaction.
//!
//! Ticks that were missed while no worker ran are made up for by one job. What
//! happens when the clock is set is in `clock.rs`.

use jiff::Timestamp;
use rusqlite::{Connection, params};

use super::cron_expression::next_tick;
use super::enqueue::enqueue;
use super::{Now, clock, row};
use crate::{Error, JobId, NewJob, Result};

/// A recurring job.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
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
    /// The next tick.
    pub next_at: Timestamp,
    /// The tick fired last.
    pub last_at: Option<Timestamp>,
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
    let next_at = next_tick(schedule, zone, now.wall_ms)?;
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

/// Removes a recurring job; false if there was none of that name. Jobs that
/// were enqueued stay.
///
/// # Errors
/// SQLite's own.
pub fn remove_cron(conn: &Connection, name: &str) -> Result<bool> {
    Ok(conn.execute("DELETE FROM _monolite_job_cron WHERE name = ?1", [name])? == 1)
}

/// When a schedule that cannot be read is tried again, in milliseconds.
const UNREADABLE_RETRY_MS: i64 = 3_600_000;

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
            next_at: row::timestamp(row, 4)?,
            last_at: row::optional_timestamp(row, 5)?,
        });
    }
    Ok(entries)
}

/// Fires what is due. Returns each tick, as the recurring job's name and the
/// job that was enqueued.
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
        // A damaged row must not stop the rest.
        let job: std::result::Result<NewJob, _> = serde_json::from_str(&job);
        let next_at =
            next_tick(&schedule, &zone, now.wall_ms).unwrap_or(now.wall_ms + UNREADABLE_RETRY_MS);
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
