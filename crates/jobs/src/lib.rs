//! Durable background jobs in the app's own SQLite file.

mod backoff;
#[cfg(feature = "handle")]
pub mod engine;
mod error;
#[cfg(feature = "handle")]
mod event;
#[cfg(feature = "handle")]
mod jobs;
mod new_job;
pub mod ops;
#[cfg(feature = "handle")]
mod sqlite;
mod state;
#[cfg(feature = "handle")]
mod worker;

pub use crate::backoff::Backoff;
pub use crate::error::{Error, Result};
#[cfg(feature = "handle")]
pub use crate::event::{Event, Subject};
#[cfg(feature = "handle")]
pub use crate::jobs::Jobs;
pub use crate::new_job::{Job, JobId, NAME_MAX, NewJob, OnConflict, PAYLOAD_MAX, Unique};
pub use crate::state::State;
#[cfg(feature = "handle")]
pub use crate::worker::{Context, Failure, Worker, WorkerBuilder};
