//! What stands behind [`Jobs`](crate::Jobs): SQLite today; another database
//! implements [`Engine`] and passes the tests in `tests/conformance`.
//!
//! Every call is one transaction: it happens wholly, or not at all and returns
//! an error. What each does is documented with the operation of its name in
//! [`ops`](crate::ops).

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::ops::{
    Batch, BatchStatus, CronEntry, Enqueued, Filter, JobRecord, NextWakeup, Now, QueueInfo, Tick,
    Ticked,
};
use crate::{BatchId, JobId, NewJob, Result, State};

/// What an engine returns.
pub(crate) type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

/// Keeps jobs.
pub(crate) trait Engine: std::fmt::Debug + Send + Sync + 'static {
    fn enqueue(&self, job: NewJob) -> Answer<'_, Enqueued>;
    /// All of them, or none.
    fn enqueue_many(&self, jobs: Vec<NewJob>) -> Answer<'_, Vec<Enqueued>>;
    fn enqueue_batch(&self, jobs: Vec<NewJob>, callback: Option<NewJob>) -> Answer<'_, Batch>;

    fn tick(&self, tick: Arc<Tick>) -> Answer<'_, Ticked>;
    /// Polled from a plain thread.
    fn renew_lease(&self, worker: i64, lease_ms: i64) -> Answer<'_, bool>;
    fn next_wakeup(
        &self,
        worker: i64,
        queues: Arc<[String]>,
        suspect: bool,
    ) -> Answer<'_, NextWakeup>;
    fn progress(&self, id: JobId, run: i64, share: f64, note: String) -> Answer<'_, bool>;

    fn cancel(&self, id: JobId) -> Answer<'_, State>;
    fn retry(&self, id: JobId) -> Answer<'_, State>;
    fn delete(&self, id: JobId) -> Answer<'_, ()>;
    fn pause(&self, queue: String) -> Answer<'_, ()>;
    fn resume(&self, queue: String) -> Answer<'_, ()>;
    fn rate_limit(&self, queue: String, rate: Option<(u32, Duration)>) -> Answer<'_, ()>;
    fn set_cron(&self, name: String, schedule: String, zone: String, job: NewJob)
    -> Answer<'_, ()>;
    fn remove_cron(&self, name: String) -> Answer<'_, bool>;

    fn job(&self, id: JobId) -> Answer<'_, Option<JobRecord>>;
    fn list(&self, filter: Filter, limit: u32) -> Answer<'_, Vec<JobRecord>>;
    fn queues(&self) -> Answer<'_, Vec<QueueInfo>>;
    fn schedules(&self) -> Answer<'_, Vec<CronEntry>>;
    fn batch_status(&self, batch: BatchId) -> Answer<'_, Option<BatchStatus>>;

    /// Wakes whoever waits for changes by any process.
    ///
    /// # Errors
    /// A thread or file that it needs cannot be had.
    fn changes(&self) -> Result<Box<dyn Changes>>;
    /// How often this process has written something that may be run now. A
    /// worker that finds it changed asks for jobs at once, without reading
    /// first whether there are any.
    fn own_changes(&self) -> u64;
    /// The time by the engine's clock.
    fn now(&self) -> Now;
}

/// Wakes whoever waits for changes.
pub(crate) trait Changes: Send {
    /// Waits for a change since the last call. An error means that there will
    /// be none any more. May be dropped while it waits.
    fn changed(&mut self) -> Answer<'_, ()>;
}
