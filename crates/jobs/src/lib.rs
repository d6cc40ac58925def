//! Durable background jobs in the app's own SQLite file.
//!
//! A job is a row that commits with the app's own rows. Workers, in as many
//! processes as there are, claim jobs in batches, run them on the caller's
//! runtime, and record their ends in the next transaction. They wait for
//! commits, not for a clock: idle ones ask nothing.
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
//! Inside a transaction of the app's, [`ops::enqueue`] takes its connection:
//! the job is there with the commit, or not at all.
//!
//! # What is promised
//! - An enqueue that was answered is committed, and runs **at least once**.
//! - A job runs again if its worker dies: its lease (20 s by default) is
//!   renewed by a thread of its own and measured by a clock nobody can set.
//!   Whatever took its worker down three times is a dead letter.
//! - An answer that comes after the lease was lost changes nothing.
//! - A recurring job is fired once per tick, whatever the number of processes.
//!
//! `docs/jobs.md` draws the states of a job and tabulates every event.

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

/// What time it is; brought along for those who do not name that crate.
pub use monolite_component as clock;

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
