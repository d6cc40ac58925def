//! Batches: jobs that belong together, and the one to run after all of them.

use rusqlite::{Connection, OptionalExtension, params};

use super::Now;
use super::enqueue::{enqueue, insert};
use crate::{BatchId, Error, JobId, NewJob, Result};

/// A batch that was enqueued.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Batch {
    /// Its number.
    pub id: BatchId,
    /// Its jobs, in the order they were given.
    pub jobs: Vec<JobId>,
}

/// How far a batch has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct BatchStatus {
    /// Jobs in it; a chain counts as one.
    pub total: u32,
    /// Not ended yet.
    pub unfinished: u32,
    /// Ended dead or cancelled.
    pub failed: u32,
}

/// Enqueues jobs as one batch. Once all have ended, in whatever way,
/// `callback` is enqueued, in the same commit as the last one's end; its input
/// is `{"batch": …, "total": …, "failed": …}`.
///
/// # Errors
/// As [`enqueue`]; a job that is unique and there already is refused.
pub fn enqueue_batch(
    conn: &Connection,
    now: &Now,
    jobs: &[NewJob],
    callback: Option<&NewJob>,
) -> Result<Batch> {
    callback.map_or(Ok(()), NewJob::check_follower)?;
    let callback_json = callback
        .map(serde_json::to_string)
        .transpose()
        .map_err(Error::json("write a callback"))?;
    let count = jobs.len();
    let id = conn
        .prepare_cached(
            "INSERT INTO _monolite_job_batch (total, unfinished, callback, enqueued_at)
             VALUES (?1, ?1, ?2, ?3)",
        )?
        .insert(params![count as i64, callback_json, now.wall_ms])?;
    let id = BatchId::from(id);
    let mut added = Vec::with_capacity(count);
    for job in jobs {
        let job = NewJob {
            batch: Some(id),
            ..job.clone()
        };
        let enqueued = enqueue(conn, now, &job)?;
        if !enqueued.added {
            let key = job.unique.map(|unique| unique.key).unwrap_or_default();
            let id = enqueued.id;
            return Err(Error::NotUnique { key, id });
        }
        added.push(enqueued.id);
    }
    if count == 0 {
        complete(conn, now, id)?;
    }
    Ok(Batch { id, jobs: added })
}

/// How far a batch has come; `None` if there is none of this number.
///
/// # Errors
/// SQLite's own.
pub fn batch_status(conn: &Connection, batch: BatchId) -> Result<Option<BatchStatus>> {
    Ok(conn
        .prepare_cached("SELECT total, unfinished, failed FROM _monolite_job_batch WHERE id = ?1")?
        .query_row([batch], |row| {
            Ok(BatchStatus {
                total: row.get(0)?,
                unfinished: row.get(1)?,
                failed: row.get(2)?,
            })
        })
        .optional()?)
}

pub(super) fn one_ended(conn: &Connection, now: &Now, batch: BatchId, well: bool) -> Result<()> {
    let unfinished: Option<i64> = conn
        .prepare_cached(
            "UPDATE _monolite_job_batch
             SET unfinished = unfinished - 1, failed = failed + ?2
             WHERE id = ?1 AND finished_at IS NULL RETURNING unfinished",
        )?
        .query_row(params![batch, i64::from(!well)], |row| row.get(0))
        .optional()?;
    match unfinished {
        Some(0) => complete(conn, now, batch),
        _ => Ok(()),
    }
}

/// A dead or cancelled job of the batch is to be run again.
pub(super) fn one_returned(conn: &Connection, batch: BatchId) -> Result<()> {
    conn.execute(
        "UPDATE _monolite_job_batch SET unfinished = unfinished + 1, failed = failed - 1
         WHERE id = ?1 AND finished_at IS NULL",
        [batch],
    )?;
    Ok(())
}

fn complete(conn: &Connection, now: &Now, batch: BatchId) -> Result<()> {
    let (callback, total, failed): (Option<String>, i64, i64) = conn
        .prepare_cached(
            "UPDATE _monolite_job_batch SET finished_at = ?2 WHERE id = ?1
             RETURNING callback, total, failed",
        )?
        .query_row(params![batch, now.wall_ms], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?;
    let Some(callback) = callback else {
        return Ok(());
    };
    let Ok(callback) = serde_json::from_str::<NewJob>(&callback) else {
        return Ok(()); // Edited by hand; it must not stop the worker.
    };
    let input = serde_json::json!({ "batch": batch, "total": total, "failed": failed });
    insert(conn, now, &callback, Some(&input.to_string()))?;
    Ok(())
}
