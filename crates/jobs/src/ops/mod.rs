//! The operations: plain functions over a connection, each to be run inside
//! one write transaction (that of the app, or one made for it).
//!
//! Invariants, kept by every function here within its transaction:
//! - a pending job is either in the ready table once, or in the claim of one
//!   worker under its current `run`, and never in both;
//! - `run` grows whenever a claim on the job ends, in whatever way: a late
//!   answer, or the recovery of an old claim, finds another number and does
//!   nothing;
//! - of the jobs with one `limit_key`, no more are pending than the limit
//!   allowed when they became so;
//! - a job that becomes final starts what waits for it (chain, batch callback,
//!   the next blocked one) in the same transaction.
//!
//! So dying anywhere leaves a job as it was before the transaction or after
//! it, and what a dead worker held is found by its claims.

mod batch;
mod claim;
mod clock;
mod control;
mod cron;
mod due;
mod enqueue;
mod finish;
mod horizon;
mod inspect;
mod limit;
mod prune;
mod queue;
mod recover;
mod row;
mod turn;

use std::sync::Arc;

use monolite_component::{Clock, Schema};

pub use self::batch::{BatchStatus, batch_status, enqueue_batch};
pub use self::claim::{Claim, Claimed, Want, claim};
pub use self::clock::CLOCK_STEP_MS;
pub use self::control::{cancel, delete, retry};
pub use self::cron::{CronEntry, fire_cron, remove_cron, schedules, set_cron};
pub use self::due::promote_due;
pub use self::enqueue::{Enqueued, enqueue, enqueue_each};
pub use self::finish::{Ack, End, finish, finish_each, forget_claims};
pub use self::horizon::{Horizon, horizon};
pub use self::inspect::{Filter, JobRecord, QueueInfo, job, list, queues};
pub use self::prune::{Retention, prune};
pub use self::queue::{pause, rate_limit, resume};
pub use self::recover::{hold, leave, recover, renew};
pub use self::row::progress;
pub use self::turn::{Turn, Turned, turn};

/// The tables of this component.
pub const SCHEMA: Schema = Schema {
    component: "jobs",
    versions: &[include_str!("../schema.sql")],
};

/// The moment an operation happens at; read once per transaction.
#[derive(Debug, Clone)]
pub struct Now {
    /// Milliseconds since 1970.
    pub wall_ms: i64,
    /// Milliseconds of the clock that only goes forward.
    pub steady_ms: i64,
    /// Which start of the machine `steady_ms` belongs to.
    pub boot: Arc<str>,
}

impl Now {
    /// Reads a clock.
    pub fn of(clock: &dyn Clock) -> Self {
        Self {
            wall_ms: clock.now_ms(),
            steady_ms: clock.monotonic_ms(),
            boot: clock.boot_id().into(),
        }
    }
}
