//! Until when a worker may sleep: one cheap read, without the write lock.

use rusqlite::{Connection, OptionalExtension, params};

use super::{Now, queue};
use crate::{JobId, Result};

/// What there is to do, and when there will be something.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NextWakeup {
    /// Some queue has a job that may be claimed now.
    pub ready: bool,
    /// A rate holds ready jobs back: milliseconds from now until it admits one.
    pub rate_wait_ms: Option<i64>,
    /// When the next scheduled job or tick is due, in milliseconds since 1970.
    pub due_at_ms: Option<i64>,
    /// When the lease of another worker ends, on the steady clock; 0 for one
    /// from before the machine was started.
    pub lease_ends_ms: Option<i64>,
    /// Running jobs that somebody asked to end, whoever runs them.
    pub cancelled: Vec<JobId>,
}

/// Most cancelled jobs in one answer.
const CANCELLED_MAX: i64 = 1000;

/// Reads `queues` for `worker`; suspects count as ready if it may claim one
/// now (`suspect`).
///
/// # Errors
/// SQLite's own.
pub fn next_wakeup(
    conn: &Connection,
    now: &Now,
    worker: i64,
    queues: &[String],
    suspect: bool,
) -> Result<NextWakeup> {
    // Exactly what a claim would find: a worker that asks in vain would be
    // woken by its own transaction, and ask again.
    let mut waits = conn.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM _monolite_job_ready WHERE queue = ?1 AND suspect = 0)
             OR (?2 AND EXISTS (
                 SELECT 1 FROM _monolite_job_ready WHERE queue = ?1 AND suspect = 1))",
    )?;
    let mut ready = false;
    let mut rate_wait_ms: Option<i64> = None;
    for name in queues {
        if waits.query_row(params![name, suspect], |row| row.get(0))? {
            let allowance = queue::allowance(conn, now, name)?;
            ready = ready || allowance.count > 0;
            rate_wait_ms = rate_wait_ms.into_iter().chain(allowance.wait_ms).min();
        }
    }
    let next_due: Option<i64> = conn
        .prepare_cached(
            "SELECT due_at FROM _monolite_job INDEXED BY _monolite_job_due
             WHERE state = 3 ORDER BY due_at LIMIT 1",
        )?
        .query_row([], |row| row.get(0))
        .optional()?;
    let next_tick: Option<i64> = conn
        .prepare_cached("SELECT min(next_at) FROM _monolite_job_cron")?
        .query_row([], |row| row.get(0))?;
    let lease_ends_ms: Option<i64> = conn
        .prepare_cached(
            "SELECT min(iif(boot = ?1, lease_until, 0)) FROM _monolite_job_worker WHERE id <> ?2",
        )?
        .query_row(params![&*now.boot, worker], |row| row.get(0))?;
    let cancelled = conn
        .prepare_cached(
            "SELECT id FROM _monolite_job INDEXED BY _monolite_job_cancel
             WHERE cancel IS NOT NULL AND state = 2 LIMIT ?1",
        )?
        .query_map([CANCELLED_MAX], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    Ok(NextWakeup {
        ready,
        rate_wait_ms,
        due_at_ms: next_due.into_iter().chain(next_tick).min(),
        lease_ends_ms,
        cancelled,
    })
}
