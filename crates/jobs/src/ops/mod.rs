//! The operations: plain functions over a connection, each to be run inside
//! one write transaction (the app's own, or one made for it).
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
//! So a process that dies anywhere leaves a job as it was before the
//! transaction or after it, and what a dead worker held is found by its claims.
//!
//! Times and durations are integers of milliseconds here, as in the tables; the
//! records that are read for people ([`JobRecord`], [`CronEntry`]) have
//! [`jiff::Timestamp`]s.

mod batch;
mod claim;
mod clock;
mod control;
mod cron;
mod cron_expression;
mod enqueue;
mod finish;
mod inspect;
mod lease;
mod next_wakeup;
mod now;
mod prune;
mod queue;
mod row;
mod stage;
mod tick;

use monolite_component::Schema;

pub use self::batch::{Batch, BatchStatus, batch_status, enqueue_batch};
pub use self::claim::{Claim, Claimed, Want, claim};
pub use self::control::{cancel, delete, retry};
pub use self::cron::{CronEntry, fire_cron, remove_cron, schedules, set_cron};
pub use self::enqueue::{Enqueued, enqueue, enqueue_each};
pub use self::finish::{Ack, End, finish, finish_each, forget_claims, progress};
pub use self::inspect::{Filter, JobRecord, QueueInfo, job, list, queues};
pub use self::lease::{end_lease, recover, renew_lease, take_lease};
pub use self::next_wakeup::{NextWakeup, next_wakeup};
pub use self::now::{CLOCK_STEP_MS, Now};
pub use self::prune::{Retention, prune};
pub use self::queue::{pause, rate_limit, resume};
pub use self::stage::stage_due;
pub use self::tick::{Tick, Ticked, tick};

/// The tables of this component.
pub const SCHEMA: Schema = Schema {
    component: "jobs",
    versions: &[include_str!("../schema.sql")],
};
