//! The seam: what stands behind [`Jobs`](crate::Jobs). SQLite today.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::ops::{
    BatchStatus, CronEntry, Enqueued, Filter, Horizon, JobRecord, Now, QueueInfo, Turn, Turned,
};
use crate::{JobId, NewJob, Result, State};

/// The answer of an engine.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

/// A change to one job, queue or schedule.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Command {
    /// See [`ops::cancel`](crate::ops::cancel).
    Cancel(JobId),
    /// See [`ops::retry`](crate::ops::retry).
    Retry(JobId),
    /// See [`ops::delete`](crate::ops::delete).
    Delete(JobId),
    /// See [`ops::pause`](crate::ops::pause).
    Pause(String),
    /// See [`ops::resume`](crate::ops::resume).
    Resume(String),
    /// See [`ops::rate_limit`](crate::ops::rate_limit).
    RateLimit(String, Option<(u32, Duration)>),
    /// See [`ops::set_cron`](crate::ops::set_cron).
    SetCron {
        /// Its name.
        name: String,
        /// Cron expression.
        schedule: String,
        /// IANA time zone.
        zone: String,
        /// What to enqueue.
        job: Box<NewJob>,
    },
    /// See [`ops::remove_cron`](crate::ops::remove_cron).
    RemoveCron(String),
}

/// Keeps jobs. Every call is one transaction: it happens wholly, or not at all
/// and says so.
pub trait Engine: std::fmt::Debug + Send + Sync + 'static {
    /// See [`ops::enqueue`](crate::ops::enqueue).
    fn enqueue(&self, job: NewJob) -> Answer<'_, Enqueued>;
    /// All of them in one transaction.
    fn enqueue_many(&self, jobs: Vec<NewJob>) -> Answer<'_, Vec<Enqueued>>;
    /// See [`ops::enqueue_batch`](crate::ops::enqueue_batch).
    fn enqueue_batch(
        &self,
        jobs: Vec<NewJob>,
        callback: Option<NewJob>,
    ) -> Answer<'_, (i64, Vec<Enqueued>)>;
    /// See [`ops::turn`](crate::ops::turn).
    fn turn(&self, turn: Arc<Turn>) -> Answer<'_, Turned>;
    /// See [`ops::renew`](crate::ops::renew). Polled from a plain thread.
    fn renew(&self, worker: i64, lease_ms: i64) -> Answer<'_, bool>;
    /// See [`ops::horizon`](crate::ops::horizon).
    fn horizon(&self, worker: i64, queues: Arc<[String]>, suspect: bool) -> Answer<'_, Horizon>;
    /// See [`ops::progress`](crate::ops::progress).
    fn progress(&self, id: JobId, run: i64, share: f64, note: Option<String>) -> Answer<'_, bool>;
    /// The state of the job it was about, if it was about one.
    fn command(&self, command: Command) -> Answer<'_, Option<State>>;
    /// See [`ops::job`](crate::ops::job).
    fn job(&self, id: JobId) -> Answer<'_, Option<JobRecord>>;
    /// See [`ops::list`](crate::ops::list).
    fn list(&self, filter: Filter, limit: u32) -> Answer<'_, Vec<JobRecord>>;
    /// See [`ops::queues`](crate::ops::queues).
    fn queues(&self) -> Answer<'_, Vec<QueueInfo>>;
    /// See [`ops::schedules`](crate::ops::schedules).
    fn schedules(&self) -> Answer<'_, Vec<CronEntry>>;
    /// See [`ops::batch_status`](crate::ops::batch_status).
    fn batch_status(&self, batch: i64) -> Answer<'_, Option<BatchStatus>>;
    /// Wakes whoever waits for changes by any process.
    ///
    /// # Errors
    /// What is needed for it cannot be had.
    fn changes(&self) -> Result<Box<dyn Changes>>;
    /// How often this process has asked for something to be run, so that a
    /// worker beside it need not look whether there is something.
    fn hints(&self) -> u64;
    /// The time as the engine sees it.
    fn now(&self) -> Now;
}

/// Wakes whoever waits for changes.
pub trait Changes: Send {
    /// Waits for a change since the last call. An error means that there will
    /// be none any more. May be dropped while it waits.
    fn changed(&mut self) -> Answer<'_, ()>;
}
