//! What a worker reports. `docs/jobs.md` tabulates the events.

use std::time::Duration;

use crate::{JobId, State};

/// Which job an event is about.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Subject {
    /// Its number.
    pub id: JobId,
    /// Its kind.
    pub kind: String,
    /// Its queue.
    pub queue: String,
    /// The attempt; the first is 1.
    pub attempt: u32,
}

/// Something a worker did.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// Jobs were taken from a queue.
    Claimed {
        /// The queue.
        queue: String,
        /// How many.
        count: usize,
    },
    /// A job is about to run.
    Started {
        /// The job.
        job: Subject,
        /// Since it was enqueued, by the wall clock.
        waited: Duration,
    },
    /// A run of a job ended, and that is recorded.
    Ended {
        /// The job.
        job: Subject,
        /// The state it is in now: done; scheduled to be tried again or
        /// because it snoozed; dead; cancelled; ready, if it was handed back.
        state: State,
        /// How long it ran.
        ran: Duration,
        /// What went wrong, if something did.
        error: Option<String>,
    },
    /// A run ended after its lease had expired, and the job has gone to another
    /// worker. What it returned is not recorded.
    Stale {
        /// The job.
        job: Subject,
        /// How long it ran.
        ran: Duration,
    },
    /// A job of a dead worker was found.
    Recovered {
        /// The job.
        id: JobId,
        /// Ready; cancelled; or dead, if too many workers died with it.
        state: State,
    },
    /// A recurring job was enqueued.
    Fired {
        /// Its name.
        name: String,
        /// The job.
        id: JobId,
    },
    /// The worker had not renewed its lease in time. What it ran is stopped
    /// and goes to other workers; it continues under a new number.
    Lost {
        /// Jobs it was running or about to run.
        jobs: usize,
    },
    /// The database refused a tick (busy, full). Nothing is lost; it is tried
    /// again.
    TickFailed {
        /// The error.
        error: String,
        /// The pause before the next try.
        retry_in: Duration,
    },
    /// The worker has stopped.
    Stopped {
        /// Jobs handed back that had not started.
        handed_back: usize,
        /// Jobs stopped at the deadline, and handed back.
        interrupted: usize,
    },
}
