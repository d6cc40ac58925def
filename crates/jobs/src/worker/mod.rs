//! Runs jobs.
//!
//! One task, the dispatcher (`dispatch.rs`), takes turns with the database:
//! each turn is one transaction that records what has ended and claims what is
//! to run next. While a turn is under way jobs run and end; the next one takes
//! all of that along. It waits for commits, for times that are due and for
//! jobs to end, and asks nothing while none of these comes.
//!
//! Jobs run as tasks of the caller's runtime (`run.rs`). The lease is renewed
//! by a thread of its own (`lease.rs`), so that handlers that keep the runtime
//! busy do not make the worker look dead.

mod builder;
mod context;
mod dispatch;
mod exchange;
mod failure;
mod floor;
mod lane;
mod lease;
mod run;
mod workers;

pub(crate) use self::builder::{Settings, run_due};
pub use self::builder::{Worker, WorkerBuilder};
pub use self::context::Context;
pub use self::failure::Failure;
pub(crate) use self::workers::Workers;
