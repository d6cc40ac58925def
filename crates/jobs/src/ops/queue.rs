//! Settings of queues: paused or not, and a rate.
//!
//! A rate holds strictly: in no period, wherever it begins, do more jobs start
//! than allowed. So the starts of the last period are kept, as a JSON array of
//! `[time, count]`; when there are too many, the oldest are put together under
//! the later time, which can only make fewer start.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};

use super::{Now, row};
use crate::new_job::millis;
use crate::{Error, Result};

/// Stops claims from a queue until [`resume`]. Jobs that run go on.
///
/// # Errors
/// SQLite's own.
pub fn pause(conn: &Connection, queue: &str) -> Result<()> {
    set_paused(conn, queue, true)
}

/// Ends [`pause`].
///
/// # Errors
/// SQLite's own.
pub fn resume(conn: &Connection, queue: &str) -> Result<()> {
    set_paused(conn, queue, false)
}

fn set_paused(conn: &Connection, queue: &str, paused: bool) -> Result<()> {
    conn.execute(
        "INSERT INTO _monolite_job_queue (name, paused) VALUES (?1, ?2)
         ON CONFLICT DO UPDATE SET paused = excluded.paused",
        params![queue, paused],
    )?;
    Ok(())
}

/// Lets at most `max` jobs of a queue start in any `period`, over all
/// processes; `None` takes the limit away.
///
/// # Errors
/// [`Error::Invalid`] for a limit of zero; SQLite's own.
pub fn rate_limit(conn: &Connection, queue: &str, rate: Option<(u32, Duration)>) -> Result<()> {
    if rate.is_some_and(|(max, period)| max == 0 || millis(period) == 0) {
        let why = "needs at least one job in at least one millisecond; pause the queue instead";
        return Err(Error::invalid("rate limit", why));
    }
    let (max, period) = rate
        .map(|(max, period)| (max, millis(period).min(PERIOD_MAX_MS)))
        .unzip();
    conn.execute(
        "INSERT INTO _monolite_job_queue (name, rate_max, rate_period_ms) VALUES (?1, ?2, ?3)
         ON CONFLICT DO UPDATE
         SET rate_max = excluded.rate_max, rate_period_ms = excluded.rate_period_ms,
             rate_starts = '[]'",
        params![queue, max, period],
    )?;
    Ok(())
}

/// Longest period of a rate: ten years.
const PERIOD_MAX_MS: i64 = 10 * 366 * 86_400_000;

/// Most entries kept in a queue's list of starts.
const STARTS_MAX: usize = 32;

/// How many jobs started when: milliseconds since 1970, and a count.
pub(super) type Starts = Vec<(i64, i64)>;

/// What a queue allows now.
pub(super) struct Allowance {
    pub(super) count: usize,
    /// Set if the rate holds jobs back: milliseconds until it admits one.
    pub(super) wait_ms: Option<i64>,
    /// The starts of the last period, where there is a rate.
    starts: Option<Starts>,
}

impl Allowance {
    const ALL: Self = Self {
        count: usize::MAX,
        wait_ms: None,
        starts: None,
    };

    pub(super) fn is_rated(&self) -> bool {
        self.starts.is_some()
    }
}

/// Reads what a queue allows; writes nothing.
pub(super) fn allowance(conn: &Connection, now: &Now, queue: &str) -> Result<Allowance> {
    type Settings = (bool, Option<i64>, Option<i64>, String);
    let settings: Option<Settings> = conn
        .prepare_cached(
            "SELECT paused, rate_max, rate_period_ms, rate_starts
             FROM _monolite_job_queue WHERE name = ?1",
        )?
        .query_row([queue], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row::text(row, 3)?))
        })
        .optional()?;
    let Some((paused, max, period_ms, starts)) = settings else {
        return Ok(Allowance::ALL);
    };
    if paused {
        return Ok(Allowance {
            count: 0,
            ..Allowance::ALL
        });
    }
    let (Some(max), Some(period_ms)) = (max, period_ms) else {
        return Ok(Allowance::ALL);
    };
    let mut starts = parse_starts(&starts);
    starts.retain(|(at, _)| at.saturating_add(period_ms) > now.wall_ms);
    let started: i64 = starts.iter().map(|(_, count)| *count).sum();
    let left = max.saturating_sub(started).max(0);
    let oldest = starts.first().map_or(now.wall_ms, |(at, _)| *at);
    let wait_ms = oldest.saturating_add(period_ms) - now.wall_ms;
    Ok(Allowance {
        count: usize::try_from(left).unwrap_or(usize::MAX),
        wait_ms: (left == 0).then_some(wait_ms.max(1)),
        starts: Some(starts),
    })
}

/// Notes that this many start now. Returns, if the rate is used up, in how many
/// milliseconds to ask again.
pub(super) fn spend(
    conn: &Connection,
    now: &Now,
    queue: &str,
    allowance: Allowance,
    used: usize,
) -> Result<Option<i64>> {
    let Some(mut starts) = allowance.starts else {
        return Ok(None);
    };
    if used == 0 {
        return Ok(allowance.wait_ms);
    }
    starts.push((now.wall_ms, i64::try_from(used).unwrap_or(i64::MAX)));
    if starts.len() > STARTS_MAX {
        let (_, first) = starts.remove(0);
        if let Some((_, second)) = starts.first_mut() {
            *second += first;
        }
    }
    write_starts(conn, queue, &starts)?;
    Ok(self::allowance(conn, now, queue)?.wait_ms)
}

/// What cannot be read counts as no starts.
pub(super) fn parse_starts(starts: &str) -> Starts {
    serde_json::from_str(starts).unwrap_or_default()
}

pub(super) fn write_starts(conn: &Connection, queue: &str, starts: &Starts) -> Result<()> {
    let json = serde_json::to_string(starts).map_err(Error::json("write a rate"))?;
    conn.prepare_cached("UPDATE _monolite_job_queue SET rate_starts = ?2 WHERE name = ?1")?
        .execute(params![queue, json])?;
    Ok(())
}
