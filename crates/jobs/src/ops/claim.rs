//! A worker claims jobs.
//!
//! A claim writes one row, whatever the number of jobs: the jobs' own rows are
//! only read. What it costs depends on the number taken alone, not on how many
//! wait or have ended.

use std::fmt::Write;

use rusqlite::{Connection, params};

use super::{Now, clock, queue, row};
use crate::{JobId, Result};

/// Most bytes of payload and input taken by one claim, beyond the first job's.
const BYTES_MAX: usize = 4 << 20;

/// What a worker asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Want {
    /// The queue.
    pub queue: String,
    /// Most jobs to take.
    pub count: usize,
    /// Whether one of them may be a suspect: one that was running when a
    /// worker died. A worker runs one of these at a time, so that a job that
    /// kills its worker does not take other jobs down with it.
    pub suspect: bool,
}

/// Jobs that were claimed together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Names the claim, to be forgotten once all of its jobs have ended.
    pub id: i64,
    /// The jobs, in the order they are to start.
    pub jobs: Vec<Claimed>,
}

/// A claimed job, as a worker gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    /// The job.
    pub id: JobId,
    /// With the id: names this claim on the job.
    pub run: i64,
    /// The number of this attempt; the first is 1.
    pub attempt: u32,
    /// True if a worker died with it before.
    pub suspect: bool,
    /// The queue it came from.
    pub queue: String,
    /// Finds the handler.
    pub kind: String,
    /// JSON text.
    pub payload: String,
    /// The result of the job before in a chain, or a batch's counts; JSON text.
    pub input: Option<String>,
    /// When it was enqueued, in milliseconds since 1970.
    pub enqueued_at_ms: i64,
    /// The job's own bound of attempts.
    pub max_attempts: Option<u32>,
    /// The job's own bound of time.
    pub timeout_ms: Option<i64>,
    /// True if something waits for its end (a chain, a batch, a limit).
    pub linked: bool,
}

/// Takes up to `want.count` ready jobs for `worker`, which holds a lease (see
/// [`take_lease`](super::take_lease)). The second value is, if the queue's rate
/// limit held jobs back, in how many milliseconds to ask again.
///
/// # Errors
/// SQLite's own.
pub fn claim(
    conn: &Connection,
    now: &Now,
    worker: i64,
    want: &Want,
) -> Result<(Option<Claim>, Option<i64>)> {
    let mut allowance = queue::allowance(conn, now, &want.queue)?;
    if allowance.is_rated() {
        clock::follow(conn, now)?;
        allowance = queue::allowance(conn, now, &want.queue)?;
    }
    let count = want.count.min(allowance.count);
    let mut jobs = Vec::new();
    if count > 0 && want.suspect {
        take(conn, &want.queue, true, 1, &mut jobs)?;
    }
    if count > jobs.len() {
        let rest = count - jobs.len();
        take(conn, &want.queue, false, rest, &mut jobs)?;
    }
    let wait_ms = queue::spend(conn, now, &want.queue, allowance, jobs.len())?;
    if jobs.is_empty() {
        return Ok((None, wait_ms));
    }
    let mut pairs = String::with_capacity(12 * jobs.len());
    for job in &jobs {
        let before = if pairs.is_empty() { '[' } else { ',' };
        // Writing to a string does not fail.
        let _ = write!(pairs, "{before}[{},{}]", job.id, job.run);
    }
    pairs.push(']');
    let id = conn
        .prepare_cached("INSERT INTO _monolite_job_claim (worker, jobs) VALUES (?1, ?2)")?
        .insert(params![worker, pairs])?;
    Ok((Some(Claim { id, jobs }), wait_ms))
}

fn take(
    conn: &Connection,
    queue: &str,
    suspect: bool,
    count: usize,
    into: &mut Vec<Claimed>,
) -> Result<()> {
    let mut statement = conn.prepare_cached(
        "SELECT r.id, r.priority, j.run, j.excused, j.kind, j.payload, j.input,
             j.enqueued_at, j.max_attempts, j.timeout_ms,
             j.limit_key IS NOT NULL OR j.batch IS NOT NULL OR j.next IS NOT NULL
         FROM _monolite_job_ready r CROSS JOIN _monolite_job j ON j.id = r.id
         WHERE r.queue = ?1 AND r.suspect = ?2
         ORDER BY r.priority, r.id LIMIT ?3",
    )?;
    let mut rows = statement.query(params![
        queue,
        suspect,
        i64::try_from(count).unwrap_or(i64::MAX)
    ])?;
    let mut last = None;
    let mut bytes = 0;
    while let Some(row) = rows.next()? {
        // Lenient: a row that cannot be read would stop the queue.
        let payload = row::text(row, 5)?;
        let input = row::optional_text(row, 6)?;
        bytes += payload.len() + input.as_ref().map_or(0, String::len);
        if last.is_some() && bytes > BYTES_MAX {
            break;
        }
        let (id, priority, run, excused): (JobId, i64, i64, i64) =
            (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
        last = Some((priority, id));
        into.push(Claimed {
            id,
            run,
            attempt: u32::try_from(run - excused + 1).unwrap_or(u32::MAX),
            suspect,
            queue: queue.into(),
            kind: row::text(row, 4)?,
            payload,
            input,
            enqueued_at_ms: row.get(7)?,
            max_attempts: row::count(row, 8)?,
            timeout_ms: row.get(9)?,
            linked: row.get(10)?,
        });
    }
    drop(rows);
    // All up to the last one: they were the first in this very order.
    if let Some((priority, id)) = last {
        conn.prepare_cached(
            "DELETE FROM _monolite_job_ready
             WHERE queue = ?1 AND suspect = ?2 AND (priority, id) <= (?3, ?4)",
        )?
        .execute(params![queue, suspect, priority, id])?;
    }
    Ok(())
}
