//! Durable background jobs in the app's own SQLite file.
//!
//! A job is a row that commits with the app's own rows. Workers, in as many
//! processes as there are, claim jobs in batches, run them on the caller's
//! runtime, and record their ends in the next transaction. Idle workers sleep
//! until a commit wakes them, by whichever process; they do not poll.
//!
//! ```
//! use monolite_jobs::{Job, Jobs};
//! use monolite_store::{Options, Store};
//! use serde::{Deserialize, Serialize};
//! use std::time::Duration;
//!
//! #[derive(Serialize, Deserialize)]
//! struct Greet { name: String }
//!
//! impl Job for Greet {
//!     const KIND: &'static str = "greet";
//! }
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! let store = Store::open(dir.path().join("app.sqlite3"), Options::default())?;
//! let jobs = Jobs::open(&store).await?;
//!
//! let worker = jobs
//!     .worker()
//!     .queue("default", 10)
//!     .on(|greet: Greet, _context| async move { Ok(format!("hello {}", greet.name)) })
//!     .start()
//!     .await?;
//!
//! let id = jobs.enqueue(Greet { name: "you".into() }).await?;
//! let job = jobs.wait(id, Duration::from_secs(10)).await?;
//! assert_eq!(job.result.as_deref(), Some(r#""hello you""#));
//! worker.shutdown(Duration::from_secs(5)).await;
//! # Ok(()) }
//! ```
//!
//! Inside the app's own transaction, [`ops::enqueue`] takes its connection:
//! the job is there with the commit, or not at all.
//!
//! # What is promised
//! - An enqueue that returned `Ok` is committed, and the job runs **at least
//!   once**.
//! - A job runs again if its worker dies: its lease (20 s by default) is
//!   renewed by a thread of its own and measured by the monotonic clock. A job
//!   whose worker died with it three times is a dead letter.
//! - What a worker reports after its lease has expired changes nothing.
//! - A recurring job is fired once per tick, whatever the number of processes.
//!
//! `docs/jobs.md` draws the states of a job and tabulates every event.

#[cfg(feature = "handle")]
mod backoff;
#[cfg(feature = "handle")]
mod engine;
mod error;
#[cfg(feature = "handle")]
mod event;
mod id;
#[cfg(feature = "handle")]
mod jobs;
mod new_job;
pub mod ops;
#[cfg(feature = "handle")]
mod sqlite;
mod state;
#[cfg(feature = "handle")]
mod worker;

/// The version of jiff whose types appear in this crate's functions.
pub use jiff;
/// Clocks: the machine's, and one for tests.
pub use monolite_platform::clock;

#[cfg(feature = "handle")]
pub use crate::backoff::Backoff;
pub use crate::error::{Error, Result};
#[cfg(feature = "handle")]
pub use crate::event::{Event, Subject};
pub use crate::id::{BatchId, JobId};
#[cfg(feature = "handle")]
pub use crate::jobs::Jobs;
pub use crate::new_job::{IntoNewJob, Job, NAME_MAX, NewJob, OnConflict, PAYLOAD_MAX, Unique};
pub use crate::state::State;
#[cfg(feature = "handle")]
pub use crate::worker::{Context, Failure, Worker, WorkerBuilder};
