//! What a worker records of a run: its progress and its end.

use rusqlite::{Connection, OptionalExtension, params};

use super::enqueue::insert;
use super::stage::{make_ready, unblock};
use super::{Now, batch, clock};
use crate::state::code;
use crate::{BatchId, JobId, NewJob, Result, State};

/// Notes how far a running job has come: a share from 0 to 1 and a few words.
/// False if this run of the job has ended.
///
/// # Errors
/// SQLite's own.
pub fn progress(
    conn: &Connection,
    now: &Now,
    id: JobId,
    run: i64,
    share: f64,
    note: Option<&str>,
) -> Result<bool> {
    let changed = conn
        .prepare_cached(
            "UPDATE _monolite_job SET progress = ?3, note = ?4, changed_at = ?5
             WHERE id = ?1 AND run = ?2 AND state = 2",
        )?
        .execute(params![id, run, share.clamp(0.0, 1.0), note, now.wall_ms])?;
    Ok(changed == 1)
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
pub enum End {
    /// Well, with a result as JSON text if there is one worth keeping.
    Done(Option<String>),
    /// Badly. `retry_in_ms` is `None` if it is not to be tried again.
    Failed {
        /// What went wrong, for people.
        error: String,
        /// When to try again, from now.
        retry_in_ms: Option<i64>,
    },
    /// It asked to be run again later; does not count as an attempt.
    Snoozed {
        /// When, from now.
        wake_in_ms: i64,
    },
    /// It stopped because that was asked for.
    Cancelled,
    /// It never ran, or was cut short by a shutdown: back to the queue; does
    /// not count as an attempt.
    HandedBack,
}

/// The end of one run, as the worker reports it.
#[derive(Debug, Clone, PartialEq)]
pub struct Ack {
    /// The job.
    pub id: JobId,
    /// The run that [`Claimed`](super::Claimed) named.
    pub run: i64,
    /// As in [`Claimed`](super::Claimed).
    pub linked: bool,
    /// How it ended.
    pub end: End,
}

/// Records the end of a run, and starts what waited for it. `None` if the run
/// was no longer this worker's (its lease was over, the job has gone elsewhere)
/// and nothing was changed.
///
/// With `remove_done`, a job that ends well is removed at once.
///
/// # Errors
/// SQLite's own.
pub fn finish(conn: &Connection, now: &Now, ack: &Ack, remove_done: bool) -> Result<Option<State>> {
    let state = match &ack.end {
        End::Done(result) => done(conn, now, ack, result.as_deref(), remove_done)?,
        End::Failed {
            error,
            retry_in_ms: Some(ms),
        } => later(conn, now, ack, *ms, Some(error))?,
        End::Failed {
            error,
            retry_in_ms: None,
        } => stop(conn, now, ack, code::DEAD, Some(error))?,
        End::Snoozed { wake_in_ms } => later(conn, now, ack, *wake_in_ms, None)?,
        End::Cancelled => stop(conn, now, ack, code::CANCELLED, None)?,
        End::HandedBack => hand_back(conn, now, ack)?,
    };
    if state.is_some() && state != Some(State::Ready) && ack.linked {
        settle(conn, now, ack.id)?;
    }
    Ok(state)
}

/// As [`finish`] for each of them.
///
/// # Errors
/// As [`finish`].
pub fn finish_each(
    conn: &Connection,
    now: &Now,
    acks: &[Ack],
    remove_done: bool,
) -> Result<Vec<Option<State>>> {
    // Taken from the statement cache once, not for every job.
    let mut plain = None;
    let mut states = Vec::with_capacity(acks.len());
    for ack in acks {
        states.push(
            if ack.end == End::Done(None) && !ack.linked && !remove_done {
                let mark = match &mut plain {
                    Some(mark) => mark,
                    none => none.insert(conn.prepare_cached(MARK_DONE)?),
                };
                let changed = mark.execute(params![ack.id, ack.run, now.wall_ms])?;
                (changed == 1).then_some(State::Done)
            } else {
                plain = None;
                finish(conn, now, ack, remove_done)?
            },
        );
    }
    Ok(states)
}

const MARK_DONE: &str = "UPDATE _monolite_job SET state = 5, run = run + 1, changed_at = ?3
     WHERE id = ?1 AND run = ?2 AND state = 2";

/// Removes claims all of whose jobs have ended.
///
/// # Errors
/// SQLite's own.
pub fn forget_claims(conn: &Connection, claims: &[i64]) -> Result<()> {
    let mut delete = conn.prepare_cached("DELETE FROM _monolite_job_claim WHERE id = ?1")?;
    for claim in claims {
        delete.execute([claim])?;
    }
    Ok(())
}

fn done(
    conn: &Connection,
    now: &Now,
    ack: &Ack,
    result: Option<&str>,
    remove_done: bool,
) -> Result<Option<State>> {
    let (id, run) = (ack.id, ack.run);
    let changed = if remove_done && !ack.linked && result.is_none() {
        let deleted = conn
            .prepare_cached(
                "DELETE FROM _monolite_job WHERE id = ?1 AND run = ?2 AND state = 2
                     AND id < (SELECT max(id) FROM _monolite_job)",
            )?
            .execute(params![id, run])?;
        // The newest stays, so that no id is given twice.
        if deleted == 1 {
            1
        } else {
            mark_done(conn, now, id, run)?
        }
    } else if let Some(result) = result {
        conn.prepare_cached(
            "UPDATE _monolite_job SET state = 5, run = run + 1, changed_at = ?3, result = ?4
             WHERE id = ?1 AND run = ?2 AND state = 2",
        )?
        .execute(params![id, run, now.wall_ms, result])?
    } else {
        mark_done(conn, now, id, run)?
    };
    Ok((changed == 1).then_some(State::Done))
}

fn mark_done(conn: &Connection, now: &Now, id: JobId, run: i64) -> Result<usize> {
    let mut mark = conn.prepare_cached(MARK_DONE)?;
    Ok(mark.execute(params![id, run, now.wall_ms])?)
}

/// To be run again after a pause: a failed attempt, or (without an error) a
/// snooze, which is excused.
fn later(
    conn: &Connection,
    now: &Now,
    ack: &Ack,
    wait_ms: i64,
    error: Option<&str>,
) -> Result<Option<State>> {
    clock::follow(conn, now)?;
    let due_at = now.wall_ms.saturating_add(wait_ms.max(0));
    let changed = conn
        .prepare_cached(
            "UPDATE _monolite_job
             SET state = iif(cancel IS NULL, 3, 7), run = run + 1,
                 excused = excused + ?5, error = coalesce(?6, error),
                 due_at = ?4, delayed = 1, changed_at = ?3, cancel = NULL, crashes = 0
             WHERE id = ?1 AND run = ?2 AND state = 2
             RETURNING state",
        )?
        .query_row(
            params![
                ack.id,
                ack.run,
                now.wall_ms,
                due_at,
                i64::from(error.is_none()),
                error
            ],
            |row| row.get::<_, i64>(0),
        )
        .optional()?;
    Ok(changed.map(|code| State::from_code(code, false)))
}

fn stop(
    conn: &Connection,
    now: &Now,
    ack: &Ack,
    code: i64,
    error: Option<&str>,
) -> Result<Option<State>> {
    let changed = conn
        .prepare_cached(
            "UPDATE _monolite_job
             SET state = ?4, run = run + 1, error = coalesce(?5, error), changed_at = ?3,
                 cancel = NULL
             WHERE id = ?1 AND run = ?2 AND state = 2",
        )?
        .execute(params![ack.id, ack.run, now.wall_ms, code, error])?;
    Ok((changed == 1).then(|| State::from_code(code, false)))
}

fn hand_back(conn: &Connection, now: &Now, ack: &Ack) -> Result<Option<State>> {
    let row: Option<(String, i64, bool, i64)> = conn
        .prepare_cached(
            "UPDATE _monolite_job
             SET run = run + 1, excused = excused + 1, changed_at = ?3,
                 state = iif(cancel IS NULL, 2, 7), cancel = NULL
             WHERE id = ?1 AND run = ?2 AND state = 2
             RETURNING queue, priority, crashes > 0, state",
        )?
        .query_row(params![ack.id, ack.run, now.wall_ms], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })
        .optional()?;
    let Some((queue, priority, suspect, now_is)) = row else {
        return Ok(None);
    };
    if now_is == code::CANCELLED {
        return Ok(Some(State::Cancelled));
    }
    make_ready(conn, &queue, suspect, priority, ack.id)?;
    Ok(Some(State::Ready))
}

/// Starts what waited for a job that has just left `pending`: the next one of
/// its limit key in any case, its chain and batch if it is final.
pub(super) fn settle(conn: &Connection, now: &Now, id: JobId) -> Result<()> {
    type Row = (
        i64,
        Option<String>,
        Option<BatchId>,
        Option<String>,
        Option<String>,
    );
    let row: Option<Row> = conn
        .prepare_cached(
            "SELECT state, limit_key, batch, next, result FROM _monolite_job WHERE id = ?1",
        )?
        .query_row([id], |row| {
            Ok((
                row.get(0)?,
                row.get(1)?,
                row.get(2)?,
                row.get(3)?,
                row.get(4)?,
            ))
        })
        .optional()?;
    let Some((state, limit_key, batch, next, result)) = row else {
        return Ok(());
    };
    if let Some(key) = limit_key {
        unblock(conn, now, &key)?;
    }
    let mut continued = false;
    if state == code::DONE
        && let Some(next) = next
    {
        continued = start_next(conn, now, id, &next, batch, result.as_deref())?;
    }
    if let Some(batch) = batch
        && state >= code::DONE
        && !continued
    {
        batch::one_ended(conn, now, batch, state == code::DONE)?;
    }
    Ok(())
}

/// Enqueues the next link of a chain, with the rest of it. A chain in a batch counts
/// as one job, which ends with its last link. False if there is none.
fn start_next(
    conn: &Connection,
    now: &Now,
    id: JobId,
    next: &str,
    batch: Option<BatchId>,
    result: Option<&str>,
) -> Result<bool> {
    let Ok(links) = serde_json::from_str::<Vec<NewJob>>(next) else {
        // Edited by hand; it must not stop the worker.
        let error = "the chain after it cannot be read";
        conn.execute(
            "UPDATE _monolite_job SET error = ?2 WHERE id = ?1",
            params![id, error],
        )?;
        return Ok(false);
    };
    let mut links = links.into_iter();
    let first = links.next();
    let started = first.is_some();
    if let Some(mut job) = first {
        job.next.extend(links);
        job.batch = batch;
        insert(conn, now, &job, result)?;
    }
    // Started: a later retry of this job must not start it again.
    conn.prepare_cached("UPDATE _monolite_job SET next = NULL WHERE id = ?1")?
        .execute([id])?;
    Ok(started)
}
