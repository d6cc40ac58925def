//! What every engine behind `Jobs` must do. Written against the handle alone:
//! a new engine gets a line in `engines`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

mod control;
mod enqueue;
mod flow;
mod limits;
mod recurring;
mod worker;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use monolite_jobs::jiff::Timestamp;
use monolite_jobs::{Failure, Job, JobId, Jobs, NewJob, State, WorkerBuilder};
use monolite_platform::clock::ManualClock;
use monolite_store::{Options, Store};
use serde::{Deserialize, Serialize};

/// 2026-03-01 12:00:00 UTC, a Sunday.
const NOON: i64 = 1_772_366_400_000;

pub(crate) fn noon() -> Timestamp {
    Timestamp::from_millisecond(NOON).unwrap()
}

/// An engine with nothing in it, and the clock it goes by.
pub(crate) struct Fixture {
    pub(crate) jobs: Jobs,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) log: Log,
    _dir: tempfile::TempDir,
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::at(NOON));
        let store = Store::open(dir.path().join("app.sqlite3"), Options::default()).unwrap();
        let jobs = Jobs::open_with_clock(&store, clock.clone()).await.unwrap();
        Self {
            jobs,
            clock,
            log: Log::default(),
            _dir: dir,
        }
    }

    /// Logs the payload of every `Note` it runs.
    pub(crate) fn worker(&self) -> WorkerBuilder {
        let log = self.log.clone();
        self.jobs.worker().on(move |note: Note, _| {
            let log = log.clone();
            async move {
                log.push(&note.text);
                Ok(())
            }
        })
    }

    /// Runs what is due, and answers with what the log got by it.
    pub(crate) async fn run_due(&self) -> Vec<String> {
        self.worker().run_due().await.unwrap();
        self.log.take()
    }

    pub(crate) async fn state(&self, id: JobId) -> State {
        self.jobs.get(id).await.unwrap().unwrap().state
    }

    pub(crate) async fn push(&self, job: NewJob) -> JobId {
        self.jobs.push(job).await.unwrap().id
    }

    pub(crate) fn advance_s(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }
}

/// What ran, in the order it ran.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    pub(crate) fn push(&self, text: &str) {
        self.0.lock().unwrap().push(text.into());
    }

    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Note {
    pub(crate) text: String,
}

impl Job for Note {
    const KIND: &'static str = "note";
}

pub(crate) fn note(text: &str) -> NewJob {
    Note { text: text.into() }.prepare().unwrap()
}

/// A failure with a text.
pub(crate) fn fail(text: &str) -> Result<(), Failure> {
    Err(Failure::retry(text))
}
