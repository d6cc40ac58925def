//! One tick of a worker: all it does with the tables at one time, in one
//! transaction.

use rusqlite::Connection;

use super::Now;
use super::claim::{Claim, Want, claim};
use super::cron::fire_cron;
use super::finish::{Ack, finish_each, forget_claims};
use super::lease::{end_lease, recover, take_lease};
use super::prune::{Retention, prune};
use super::stage::stage_due;
use crate::{JobId, Result, State};

/// What a worker brings and asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct Tick {
    /// Its number, drawn at random.
    pub worker: i64,
    /// What people call it.
    pub name: String,
    /// How long it counts as alive after this tick.
    pub lease_ms: i64,
    /// True if it holds claims.
    pub holds: bool,
    /// Runs that have ended.
    pub acks: Vec<Ack>,
    /// Claims all of whose jobs have ended with these.
    pub forget: Vec<i64>,
    /// Jobs it can run.
    pub wants: Vec<Want>,
    /// Stage due jobs, fire recurring ones, recover those of dead workers.
    pub maintain: bool,
    /// Look for old jobs to remove, from this number on.
    pub prune: Option<i64>,
    /// The worker ends, and holds nothing any more.
    pub leave: bool,
    /// How long ended jobs are kept.
    pub retention: Retention,
    /// Workers a job may take down before it is dead.
    pub max_crashes: u32,
}

/// Rows read by one step of pruning.
const PRUNE_ROWS: u32 = 2000;

/// What came of a tick.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Ticked {
    /// The lease had expired: what it held was given away, nothing was claimed.
    pub lost: bool,
    /// For each ack the state the job is in now; `None` if the job was not the
    /// worker's any more.
    pub ended: Vec<Option<State>>,
    /// For each want, what was claimed.
    pub claims: Vec<Option<Claim>>,
    /// If a rate held jobs back: in how many milliseconds to ask again.
    pub wait_ms: Option<i64>,
    /// Recurring jobs that were fired.
    pub fired: Vec<(String, JobId)>,
    /// Jobs of dead workers, and the state each is in now.
    pub recovered: Vec<(JobId, State)>,
    /// More is due than one tick stages.
    pub more: bool,
    /// Where the next tick continues to look for old jobs.
    pub cursor: i64,
}

/// Does one tick. To be run in a write transaction.
///
/// # Errors
/// SQLite's own; nothing of the tick is kept then, and it may be done again.
pub fn tick(conn: &Connection, now: &Now, tick: &Tick) -> Result<Ticked> {
    let mut ticked = Ticked::default();
    let remove_done = tick.retention.done_ms == 0;
    ticked.ended = finish_each(conn, now, &tick.acks, remove_done)?;
    forget_claims(conn, &tick.forget)?;
    if tick.maintain {
        ticked.recovered = recover(conn, now, tick.worker, tick.max_crashes)?;
        ticked.fired = fire_cron(conn, now)?;
        ticked.more = stage_due(conn, now)?;
    }
    if let Some(cursor) = tick.prune {
        ticked.cursor = prune(conn, now, tick.retention, cursor, PRUNE_ROWS)?;
    }
    if tick.leave {
        end_lease(conn, tick.worker)?;
    } else if !tick.wants.is_empty() {
        ticked.lost = !take_lease(
            conn,
            now,
            tick.worker,
            &tick.name,
            tick.lease_ms,
            tick.holds,
        )?;
        // One suspect at a time, from whichever queue has one.
        let mut suspect = true;
        for want in &tick.wants {
            if ticked.lost {
                break;
            }
            let want = Want {
                suspect: want.suspect && suspect,
                ..want.clone()
            };
            let (claim, wait_ms) = claim(conn, now, tick.worker, &want)?;
            suspect &= !claim
                .iter()
                .flat_map(|claim| &claim.jobs)
                .any(|job| job.suspect);
            ticked.claims.push(claim);
            ticked.wait_ms = ticked.wait_ms.into_iter().chain(wait_ms).min();
        }
    }
    Ok(ticked)
}
