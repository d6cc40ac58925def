//! Enqueues jobs.

use std::fmt::Write;
use std::sync::LazyLock;

use rusqlite::{Connection, OptionalExtension, params};

use super::stage::{self, make_ready};
use super::{Now, clock};
use crate::new_job::When;
use crate::state::code;
use crate::{Error, JobId, NewJob, OnConflict, Result, Unique};

/// What an enqueue did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Enqueued {
    /// The new job, or the one that holds its unique key.
    pub id: JobId,
    /// False if another job holds the unique key and nothing was added.
    pub added: bool,
}

/// Enqueues a job. Inside the app's transaction it becomes visible to workers
/// with the app's commit, or not at all.
///
/// # Errors
/// [`Error::NotUnique`], [`Error::Invalid`] for names and sizes out of bounds,
/// SQLite's own.
pub fn enqueue(conn: &Connection, now: &Now, job: &NewJob) -> Result<Enqueued> {
    job.check()?;
    let added = |id| Enqueued { id, added: true };
    if job.is_plain() {
        return insert_plain(conn, now, job).map(added);
    }
    if let Some(unique) = &job.unique
        && let Some(id) = conflict(conn, now, job, unique)?
    {
        return Ok(Enqueued { id, added: false });
    }
    insert(conn, now, job, None).map(added)
}

/// As [`enqueue`] for each of them. One that is refused does not affect the
/// rest: its entry in the result says why.
///
/// # Errors
/// SQLite's own; roll back then.
pub fn enqueue_each(
    conn: &Connection,
    now: &Now,
    jobs: &[NewJob],
) -> Result<Vec<Result<Enqueued>>> {
    let mut each = Vec::with_capacity(jobs.len());
    let mut rest = jobs;
    while let Some(first) = rest.first() {
        let plain = |job: &NewJob| job.is_plain() && job.check().is_ok();
        let alike = rest.iter().take_while(|job| plain(job)).count();
        if alike == 0 {
            match enqueue(conn, now, first) {
                Err(Error::Sqlite(error)) => return Err(error.into()),
                other => each.push(other),
            }
            rest = rest.get(1..).unwrap_or_default();
        } else {
            let (run, after) = rest.split_at(alike);
            let ids = insert_run(conn, now, run)?;
            each.extend(ids.map(|id| Ok(Enqueued { id, added: true })));
            rest = after;
        }
    }
    Ok(each)
}

impl NewJob {
    /// Nothing about it needs more than two inserts.
    fn is_plain(&self) -> bool {
        self.when == When::Now
            && self.limit.is_none()
            && self.unique.is_none()
            && self.next.is_empty()
            && self.batch.is_none()
            && self.max_attempts.is_none()
            && self.timeout_ms.is_none()
    }
}

/// The hot path for one: two inserts, and no column bound that is not needed.
fn insert_plain(conn: &Connection, now: &Now, job: &NewJob) -> Result<JobId> {
    let id = JobId::from(conn.prepare_cached(&INSERT_ONE)?.insert(params![
        now.wall_ms,
        job.queue,
        job.kind,
        job.priority,
        job.payload
    ])?);
    make_ready(conn, &job.queue, false, job.priority, id)?;
    Ok(id)
}

/// The hot path for many: starting a statement costs more than a row, so
/// several rows share one. Their ids are consecutive, since nobody else
/// writes during the transaction.
fn insert_run(
    conn: &Connection,
    now: &Now,
    jobs: &[NewJob],
) -> Result<impl Iterator<Item = JobId>> {
    let mut last = 0;
    for (rows, sql) in [(ROWS, &INSERT_ROWS), (1, &INSERT_ONE)] {
        let mut insert = conn.prepare_cached(sql)?;
        let done = if rows == 1 {
            jobs.len() / ROWS * ROWS
        } else {
            0
        };
        for chunk in jobs.get(done..).unwrap_or_default().chunks_exact(rows) {
            insert.raw_bind_parameter(1, now.wall_ms)?;
            let mut parameter = 1;
            for job in chunk {
                insert.raw_bind_parameter(parameter + 1, &job.queue)?;
                insert.raw_bind_parameter(parameter + 2, &job.kind)?;
                insert.raw_bind_parameter(parameter + 3, job.priority)?;
                insert.raw_bind_parameter(parameter + 4, &job.payload)?;
                parameter += 4;
            }
            insert.raw_execute()?;
            last = conn.last_insert_rowid();
        }
    }
    let first = last - i64::try_from(jobs.len()).unwrap_or(i64::MAX) + 1;
    conn.prepare_cached(
        "INSERT OR IGNORE INTO _monolite_job_ready
         SELECT queue, 0, priority, id FROM _monolite_job WHERE id BETWEEN ?1 AND ?2",
    )?
    .execute([first, last])?;
    Ok((first..=last).map(JobId::from))
}

/// Rows that share a statement.
const ROWS: usize = 10;

static INSERT_ONE: LazyLock<String> = LazyLock::new(|| insert_rows(1));
static INSERT_ROWS: LazyLock<String> = LazyLock::new(|| insert_rows(ROWS));

fn insert_rows(rows: usize) -> String {
    let mut sql = String::from(
        "INSERT INTO _monolite_job
             (queue, kind, state, priority, enqueued_at, changed_at, payload) VALUES ",
    );
    for row in 0..rows {
        let first = 4 * row + 2;
        let (queue, kind, priority, payload) = (first, first + 1, first + 2, first + 3);
        let comma = if row == 0 { "" } else { ", " };
        // Writing to a string does not fail.
        let _ = write!(
            sql,
            "{comma}(?{queue}, ?{kind}, 2, ?{priority}, ?1, ?1, ?{payload})"
        );
    }
    sql
}

/// Inserts with every column; `input` is the result of the job before in a
/// chain, or the counts of a batch.
pub(super) fn insert(
    conn: &Connection,
    now: &Now,
    job: &NewJob,
    input: Option<&str>,
) -> Result<JobId> {
    let (due_at, delayed) = match job.when {
        When::Now => (None, None),
        When::After(ms) if ms <= 0 => (None, None),
        When::At(at) if at <= now.wall_ms => (None, None),
        When::After(ms) => {
            clock::follow(conn, now)?;
            (Some(now.wall_ms.saturating_add(ms)), Some(1))
        }
        When::At(at) => (Some(at), None),
    };
    let state = if due_at.is_some() {
        code::SCHEDULED
    } else if let Some((key, max)) = &job.limit
        && !stage::limit_admits(conn, key, *max)?
    {
        code::BLOCKED
    } else {
        code::PENDING
    };
    let unique_until = unique_until(now, job);
    if unique_until.is_some() {
        clock::follow(conn, now)?;
    }
    let next = next_json(job)?;
    let id = conn
        .prepare_cached(
            "INSERT INTO _monolite_job
                 (queue, kind, state, priority, enqueued_at, changed_at, payload,
                  due_at, delayed, max_attempts, timeout_ms, limit_key, limit_max,
                  unique_key, unique_until, batch, next, input)
             VALUES (?1, ?2, ?3, ?4, ?5, ?5, ?6,
                  ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)",
        )?
        .insert(params![
            job.queue,
            job.kind,
            state,
            job.priority,
            now.wall_ms,
            job.payload,
            due_at,
            delayed,
            job.max_attempts,
            job.timeout_ms,
            job.limit.as_ref().map(|(key, _)| key),
            job.limit.as_ref().map(|(_, max)| max),
            job.unique.as_ref().map(|unique| &unique.key),
            unique_until,
            job.batch,
            next,
            input,
        ])?;
    let id = JobId::from(id);
    if state == code::PENDING {
        make_ready(conn, &job.queue, false, job.priority, id)?;
    }
    Ok(id)
}

/// The job that keeps the unique key of the new one, which is then not added.
fn conflict(conn: &Connection, now: &Now, job: &NewJob, unique: &Unique) -> Result<Option<JobId>> {
    clock::follow(conn, now)?;
    let Some((id, state)) = holder_of(conn, now, &unique.key)? else {
        return Ok(None);
    };
    match unique.on_conflict {
        OnConflict::Keep => Ok(Some(id)),
        OnConflict::Refuse => Err(Error::NotUnique {
            key: unique.key.clone(),
            id,
        }),
        OnConflict::Replace => {
            if state >= code::DONE || !stage::take_back(conn, id)? {
                return Ok(None); // Finished or running: the new one is added.
            }
            replace(conn, now, job, id)?;
            Ok(Some(id))
        }
    }
}

/// The job that holds a unique key, and its state.
pub(super) fn holder_of(conn: &Connection, now: &Now, key: &str) -> Result<Option<(JobId, i64)>> {
    let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
    let alive = conn
        .prepare_cached(
            "SELECT id, state FROM _monolite_job
             WHERE unique_key = ?1 AND unique_key IS NOT NULL AND state < 5 LIMIT 1",
        )?
        .query_row([key], row)
        .optional()?;
    if alive.is_some() {
        return Ok(alive);
    }
    Ok(conn
        .prepare_cached(
            "SELECT id, state FROM _monolite_job
             WHERE unique_key = ?1 AND unique_until IS NOT NULL AND unique_until > ?2 LIMIT 1",
        )?
        .query_row(params![key, now.wall_ms], row)
        .optional()?)
}

/// Overwrites a job that waits with `job`; it keeps its number.
fn replace(conn: &Connection, now: &Now, job: &NewJob, id: JobId) -> Result<()> {
    let (due_at, delayed) = match job.when {
        When::Now => (now.wall_ms, None),
        When::After(ms) => (now.wall_ms.saturating_add(ms), Some(1)),
        When::At(at) => (at, None),
    };
    let old_key: Option<String> = conn
        .prepare_cached("SELECT limit_key FROM _monolite_job WHERE id = ?1")?
        .query_row([id], |row| row.get(0))?;
    // Through `scheduled`: what is due at once is made ready there, with the
    // limit of its key looked at.
    conn.prepare_cached(
        "UPDATE _monolite_job
         SET state = 3, queue = ?2, kind = ?3, payload = ?4, priority = ?5,
             due_at = ?6, delayed = ?7, changed_at = ?8, max_attempts = ?9,
             timeout_ms = ?10, limit_key = ?11, limit_max = ?12, unique_until = ?13, next = ?14
         WHERE id = ?1",
    )?
    .execute(params![
        id,
        job.queue,
        job.kind,
        job.payload,
        job.priority,
        due_at,
        delayed,
        now.wall_ms,
        job.max_attempts,
        job.timeout_ms,
        job.limit.as_ref().map(|(key, _)| key),
        job.limit.as_ref().map(|(_, max)| max),
        unique_until(now, job),
        next_json(job)?,
    ])?;
    if let Some(key) = old_key {
        // It may have counted towards the limit of that key.
        stage::unblock(conn, now, &key)?;
    }
    if due_at <= now.wall_ms {
        stage::stage(conn, now, id)?;
    }
    Ok(())
}

fn unique_until(now: &Now, job: &NewJob) -> Option<i64> {
    let window_ms = job.unique.as_ref()?.window_ms;
    (window_ms > 0).then(|| now.wall_ms.saturating_add(window_ms))
}

fn next_json(job: &NewJob) -> Result<Option<String>> {
    if job.next.is_empty() {
        return Ok(None);
    }
    let json = serde_json::to_string(&job.next).map_err(Error::json("write a chain"))?;
    Ok(Some(json))
}
