//! All that a worker does with the tables at one time, in one transaction.

use rusqlite::Connection;

use super::{Ack, Claim, Now, Retention, Want, claim, finish_each, forget_claims, hold, leave};
use super::{fire_cron, promote_due, prune, recover};
use crate::{JobId, Result, State};

/// What a worker brings and asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct Turn {
    /// Its number, drawn at random.
    pub worker: i64,
    /// What people call it.
    pub name: String,
    /// How long it is believed to live without a word.
    pub lease_ms: i64,
    /// True if it holds claims.
    pub holds: bool,
    /// Runs that have ended.
    pub acks: Vec<Ack>,
    /// Claims all of whose jobs have ended with these.
    pub forget: Vec<i64>,
    /// Jobs it would run.
    pub wants: Vec<Want>,
    /// Look after what is due, recurring, or left by dead workers.
    pub chores: bool,
    /// Look for old jobs to remove, from this one on.
    pub prune: Option<JobId>,
    /// It goes, and holds nothing any more.
    pub leave: bool,
    /// How long ended jobs are kept.
    pub retention: Retention,
    /// Workers a job may take down before it is dead.
    pub max_crashes: u32,
}

/// Rows looked at by one step of pruning.
const PRUNE_ROWS: u32 = 2000;

/// What came of a turn.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Turned {
    /// The lease was over: what it holds was given away, nothing was claimed.
    pub lost: bool,
    /// For each ack the state the job is in now; `None` if it was not the
    /// worker's any more.
    pub ended: Vec<Option<State>>,
    /// For each want, what was claimed.
    pub claims: Vec<Option<Claim>>,
    /// If a rate held jobs back: when to ask again, from now.
    pub wait_ms: Option<i64>,
    /// Recurring jobs that were fired.
    pub fired: Vec<(String, JobId)>,
    /// Jobs of dead workers, and what became of them.
    pub recovered: Vec<(JobId, State)>,
    /// More is due than one turn does.
    pub more: bool,
    /// Where to go on removing old jobs.
    pub cursor: JobId,
}

/// Takes a turn. To be run in a write transaction.
///
/// # Errors
/// SQLite's own; nothing of the turn is kept then, and it may be taken again.
pub fn turn(conn: &Connection, now: &Now, turn: &Turn) -> Result<Turned> {
    let mut turned = Turned::default();
    let remove_done = turn.retention.done_ms == 0;
    turned.ended = finish_each(conn, now, &turn.acks, remove_done)?;
    forget_claims(conn, &turn.forget)?;
    if turn.chores {
        turned.recovered = recover(conn, now, turn.worker, turn.max_crashes)?;
        turned.fired = fire_cron(conn, now)?;
        turned.more = promote_due(conn, now)?;
    }
    if let Some(cursor) = turn.prune {
        turned.cursor = prune(conn, now, turn.retention, cursor, PRUNE_ROWS)?;
    }
    if turn.leave {
        leave(conn, turn.worker)?;
    } else if !turn.wants.is_empty() {
        turned.lost = !hold(
            conn,
            now,
            turn.worker,
            &turn.name,
            turn.lease_ms,
            turn.holds,
        )?;
        // One suspect at a time, from whichever queue has one.
        let mut suspect = true;
        for want in &turn.wants {
            if turned.lost {
                break;
            }
            let want = Want {
                suspect: want.suspect && suspect,
                ..want.clone()
            };
            let (claim, wait_ms) = claim(conn, now, turn.worker, &want)?;
            suspect &= !claim
                .iter()
                .flat_map(|claim| &claim.jobs)
                .any(|job| job.suspect);
            turned.claims.push(claim);
            turned.wait_ms = turned.wait_ms.into_iter().chain(wait_ms).min();
        }
    }
    Ok(turned)
}
