//! Leases of workers, and what happens to the jobs of one that died.
//!
//! A worker that holds claims has a row with the time, on the monotonic clock,
//! until which it counts as alive; it moves that time ahead while it lives.
//! Whoever finds that a lease has expired gives the worker's jobs back. A worker
//! that was only slow finds its row gone at the next renewal, and its answers,
//! under an old `run`, change nothing.

use rusqlite::{Connection, OptionalExtension, params};

use super::finish::settle;
use super::stage::make_ready;
use super::{Now, row};
use crate::{JobId, Result, State};

/// Gives a worker that is about to claim a lease that has at least half of its
/// length left. False if it holds claims (`holds`) and they were given away.
///
/// # Errors
/// SQLite's own.
pub fn take_lease(
    conn: &Connection,
    now: &Now,
    worker: i64,
    name: &str,
    lease_ms: i64,
    holds: bool,
) -> Result<bool> {
    let lease: Option<(i64, bool)> = conn
        .prepare_cached("SELECT lease_until, boot = ?2 FROM _monolite_job_worker WHERE id = ?1")?
        .query_row(params![worker, &*now.boot], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()?;
    match lease {
        Some((until, true)) if until - now.steady_ms >= lease_ms / 2 => Ok(true),
        None if holds => Ok(false),
        _ => {
            conn.prepare_cached(
                "INSERT INTO _monolite_job_worker VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT DO UPDATE
                 SET boot = excluded.boot, lease_until = excluded.lease_until",
            )?
            .execute(params![
                worker,
                name,
                &*now.boot,
                now.steady_ms.saturating_add(lease_ms)
            ])?;
            Ok(true)
        }
    }
}

/// Moves a lease ahead; false if it has expired and its claims were given away.
///
/// # Errors
/// SQLite's own.
pub fn renew_lease(conn: &Connection, now: &Now, worker: i64, lease_ms: i64) -> Result<bool> {
    let renewed = conn
        .prepare_cached(
            "UPDATE _monolite_job_worker SET lease_until = ?2, boot = ?3 WHERE id = ?1",
        )?
        .execute(params![
            worker,
            now.steady_ms.saturating_add(lease_ms),
            &*now.boot
        ])?;
    Ok(renewed == 1)
}

/// Removes the row of a worker that holds no claims any more.
///
/// # Errors
/// SQLite's own.
pub fn end_lease(conn: &Connection, worker: i64) -> Result<()> {
    // A claim is found only through its worker's row: while there is one, the
    // row stays until its lease expires.
    conn.prepare_cached(
        "DELETE FROM _monolite_job_worker WHERE id = ?1
             AND NOT EXISTS (SELECT 1 FROM _monolite_job_claim WHERE worker = ?1)",
    )?
    .execute([worker])?;
    Ok(())
}

/// Gives back the jobs of workers whose lease has expired, other than `finder`,
/// which is alive since it asks; returns the state each job is in now. A restart
/// of the machine does not count as a crash of any job. A job whose worker died
/// with it `max_crashes` times is dead; attempts do not count here, since it is
/// not known whether this one had begun.
///
/// # Errors
/// SQLite's own.
pub fn recover(
    conn: &Connection,
    now: &Now,
    finder: i64,
    max_crashes: u32,
) -> Result<Vec<(JobId, State)>> {
    let lost: Vec<(i64, String, bool)> = conn
        .prepare_cached(
            "SELECT id, name, boot <> ?1 FROM _monolite_job_worker
             WHERE id <> ?3 AND (boot <> ?1 OR lease_until < ?2)",
        )?
        .query_map(params![&*now.boot, now.steady_ms, finder], |row| {
            Ok((row.get(0)?, row::text(row, 1)?, row.get(2)?))
        })?
        .collect::<rusqlite::Result<_>>()?;
    let mut returned = Vec::new();
    for (worker, name, restarted) in lost {
        // Pairs of [id, run], whatever else somebody may have put there.
        let pairs: Vec<(JobId, i64)> = conn
            .prepare_cached(
                "SELECT json_extract(pair.value, '$[0]'), json_extract(pair.value, '$[1]')
                 FROM _monolite_job_claim claim, json_each(claim.jobs) pair
                 WHERE claim.worker = ?1 AND json_valid(claim.jobs)
                     AND json_type(pair.value, '$[0]') = 'integer'
                     AND json_type(pair.value, '$[1]') = 'integer'",
            )?
            .query_map([worker], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<rusqlite::Result<_>>()?;
        for (id, run) in pairs {
            let back = give_back(conn, now, (id, run), &name, !restarted, max_crashes)?;
            returned.extend(back.map(|state| (id, state)));
        }
        conn.execute(
            "DELETE FROM _monolite_job_claim WHERE worker = ?1",
            [worker],
        )?;
        end_lease(conn, worker)?;
    }
    Ok(returned)
}

fn give_back(
    conn: &Connection,
    now: &Now,
    (id, run): (JobId, i64),
    worker: &str,
    blamed: bool,
    max_crashes: u32,
) -> Result<Option<State>> {
    let error = format!("its worker {worker} died or stopped answering");
    let row: Option<(i64, String, i64, bool, bool)> = conn
        .prepare_cached(
            "UPDATE _monolite_job
             SET run = run + 1, crashes = crashes + ?6, changed_at = ?3, error = ?4,
                 state = CASE
                     WHEN cancel IS NOT NULL THEN 7
                     WHEN crashes + ?6 >= ?5 THEN 6
                     ELSE 2 END,
                 cancel = NULL
             WHERE id = ?1 AND run = ?2 AND state = 2
             RETURNING state, queue, priority, crashes > 0,
                 limit_key IS NOT NULL OR batch IS NOT NULL OR next IS NOT NULL",
        )?
        .query_row(
            params![id, run, now.wall_ms, error, max_crashes, blamed],
            |row| {
                Ok((
                    row.get(0)?,
                    row::text(row, 1)?,
                    row.get(2)?,
                    row.get(3)?,
                    row.get(4)?,
                ))
            },
        )
        .optional()?;
    let Some((code, queue, priority, suspect, linked)) = row else {
        return Ok(None); // It had ended.
    };
    let state = State::from_code(code, true);
    if state == State::Ready {
        make_ready(conn, &queue, suspect, priority, id)?;
    } else if linked {
        settle(conn, now, id)?;
    }
    Ok(Some(state))
}
