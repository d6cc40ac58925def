//! Cancels, retries and deletes single jobs.

use rusqlite::{Connection, params};

use super::finish::settle;
use super::{Now, batch, enqueue, inspect, stage};
use crate::{BatchId, Error, JobId, Result, State};

/// Ends a job that waits, or asks a running one to end (through its context; its
/// worker stops it a little later). Returns the state it is in now.
///
/// # Errors
/// [`Error::NotFound`]; [`Error::WrongState`] if it has ended.
pub fn cancel(conn: &Connection, now: &Now, id: JobId) -> Result<State> {
    let state = state_of(conn, id)?;
    if state.is_final() {
        let what = "cancel";
        return Err(Error::WrongState { id, state, what });
    }
    if !stage::take_back(conn, id)? {
        conn.execute("UPDATE _monolite_job SET cancel = 1 WHERE id = ?1", [id])?;
        return Ok(State::Running);
    }
    conn.execute(
        "UPDATE _monolite_job SET state = 7, run = run + 1, excused = excused + 1, changed_at = ?2
         WHERE id = ?1",
        params![id, now.wall_ms],
    )?;
    settle(conn, now, id)?;
    Ok(State::Cancelled)
}

/// Puts a dead, cancelled or scheduled job back into its queue now. One that
/// had ended gets all of its attempts again.
///
/// # Errors
/// [`Error::NotFound`]; [`Error::WrongState`] for any other state;
/// [`Error::NotUnique`] if another job has taken its unique key meanwhile.
pub fn retry(conn: &Connection, now: &Now, id: JobId) -> Result<State> {
    let state = state_of(conn, id)?;
    match state {
        State::Scheduled => {}
        State::Dead | State::Cancelled => {
            check_unique(conn, now, id)?;
            let of_batch: Option<BatchId> = conn.query_row(
                "UPDATE _monolite_job
                 SET state = 3, excused = run, crashes = 0, changed_at = ?2, due_at = ?2,
                     progress = NULL, note = NULL
                 WHERE id = ?1 RETURNING batch",
                params![id, now.wall_ms],
                |row| row.get(0),
            )?;
            if let Some(of_batch) = of_batch {
                batch::one_returned(conn, of_batch)?;
            }
        }
        _ => {
            let what = "retry";
            return Err(Error::WrongState { id, state, what });
        }
    }
    stage::stage(conn, now, id)?;
    state_of(conn, id)
}

/// Removes a job that has ended.
///
/// # Errors
/// [`Error::NotFound`]; [`Error::WrongState`] if it has not ended.
pub fn delete(conn: &Connection, id: JobId) -> Result<()> {
    let state = state_of(conn, id)?;
    if !state.is_final() {
        let what = "delete";
        return Err(Error::WrongState { id, state, what });
    }
    let deleted = conn.execute(
        "DELETE FROM _monolite_job WHERE id = ?1 AND id < (SELECT max(id) FROM _monolite_job)",
        [id],
    )?;
    if deleted == 0 {
        // The newest row keeps its number taken; it is emptied instead.
        conn.execute(
            "UPDATE _monolite_job
             SET state = 7, payload = 'null', result = NULL, error = NULL, input = NULL,
                 note = NULL, unique_key = NULL, changed_at = 0
             WHERE id = ?1",
            [id],
        )?;
    }
    Ok(())
}

fn state_of(conn: &Connection, id: JobId) -> Result<State> {
    let job = inspect::job(conn, id)?.ok_or(Error::NotFound(id))?;
    Ok(job.state)
}

/// Refuses a job whose unique key another one holds by now.
fn check_unique(conn: &Connection, now: &Now, id: JobId) -> Result<()> {
    let key: Option<String> = conn.query_row(
        "SELECT unique_key FROM _monolite_job WHERE id = ?1",
        [id],
        |row| row.get(0),
    )?;
    let Some(key) = key else { return Ok(()) };
    match enqueue::holder_of(conn, now, &key)? {
        Some((holder, _)) if holder != id => Err(Error::NotUnique { key, id: holder }),
        _ => Ok(()),
    }
}
