//! Queues with settings: paused ones, and ones with a rate.
//!
//! The rate is kept as one number, the time at which the whole allowance is
//! back (the generic cell rate algorithm): there is nothing to count, to reset
//! or to forget.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};

use super::Now;
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
             rate_whole_at = 0",
        params![queue, max, period],
    )?;
    Ok(())
}

/// Longest period of a rate: ten years.
const PERIOD_MAX_MS: i64 = 10 * 366 * 86_400_000;

/// What a queue allows now.
#[derive(Clone, Copy)]
pub(super) struct Allowance {
    pub(super) count: usize,
    /// Set if the rate holds jobs back: when there will be room for one.
    pub(super) wait_ms: Option<i64>,
    rate: Option<Rate>,
}

#[derive(Clone, Copy)]
struct Rate {
    interval_us: i64,
    whole_at_us: i64,
    /// The number in the table makes no sense any more: the clock was set back.
    mend: bool,
}

impl Allowance {
    const ALL: Self = Self {
        count: usize::MAX,
        wait_ms: None,
        rate: None,
    };

    pub(super) fn is_rated(&self) -> bool {
        self.rate.is_some()
    }
}

/// Reads what a queue allows; writes nothing.
pub(super) fn allowance(conn: &Connection, now: &Now, queue: &str) -> Result<Allowance> {
    type Settings = (bool, Option<i64>, Option<i64>, i64);
    let settings: Option<Settings> = conn
        .prepare_cached(
            "SELECT paused, rate_max, rate_period_ms, rate_whole_at
             FROM _monolite_job_queue WHERE name = ?1",
        )?
        .query_row([queue], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })
        .optional()?;
    let Some((paused, max, period_ms, whole_at_us)) = settings else {
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
    let now_us = now.wall_ms.saturating_mul(1000);
    let period_us = period_ms.saturating_mul(1000);
    let interval_us = (period_us / max.max(1)).max(1);
    // Never further off than a period: a clock set back does not stop us.
    let latest_us = now_us.saturating_add(period_us);
    let mend = whole_at_us > latest_us;
    let whole_at_us = whole_at_us.clamp(now_us, latest_us);
    let room = (period_us - (whole_at_us - now_us)) / interval_us;
    let short_us = (whole_at_us - now_us) + interval_us - period_us;
    Ok(Allowance {
        count: usize::try_from(room).unwrap_or(0),
        wait_ms: (short_us > 0).then_some(short_us / 1000 + 1),
        rate: Some(Rate {
            interval_us,
            whole_at_us,
            mend,
        }),
    })
}

/// Takes what was used off the allowance; answers when to ask again if there
/// is no room left.
pub(super) fn spend(
    conn: &Connection,
    now: &Now,
    queue: &str,
    allowance: &Allowance,
    used: usize,
) -> Result<Option<i64>> {
    let Some(rate) = &allowance.rate else {
        return Ok(None);
    };
    if used == 0 && !rate.mend {
        return Ok(allowance.wait_ms);
    }
    let used = i64::try_from(used).unwrap_or(i64::MAX);
    let whole_at_us = rate
        .whole_at_us
        .saturating_add(rate.interval_us.saturating_mul(used));
    conn.prepare_cached("UPDATE _monolite_job_queue SET rate_whole_at = ?2 WHERE name = ?1")?
        .execute(params![queue, whole_at_us])?;
    Ok(self::allowance(conn, now, queue)?.wait_ms)
}
