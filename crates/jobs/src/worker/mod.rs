//! Runs jobs.
//!
//! One task, the dispatcher (`dispatcher.rs`), exchanges jobs with the database:
//! each tick is one transaction that records what has ended and claims what is
//! to run next. During a tick jobs run and end; the next one records all of
//! these together. It sleeps until a commit, until something is due, or until a
//! job ends, and asks nothing while none of these comes.
//!
//! Jobs run as tasks of the caller's runtime (`executor.rs`). The lease is
//! renewed by a thread of its own (`lease.rs`), so that handlers that keep the
//! runtime busy do not make the worker look dead.

mod builder;
mod context;
mod dispatcher;
mod executor;
mod failure;
mod handle;
mod lease;
mod queue_slots;
mod settings;

pub use self::builder::WorkerBuilder;
pub(crate) use self::builder::run_due;
pub use self::context::Context;
pub use self::failure::Failure;
pub use self::handle::Worker;
pub(crate) use self::handle::Workers;
pub(crate) use self::settings::Settings;
