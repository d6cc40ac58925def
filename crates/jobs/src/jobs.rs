//! The handle on the jobs of one database.

use std::sync::Arc;
use std::time::Duration;

use monolite_platform::clock::{Clock, SystemClock};
use monolite_store::Store;

use crate::engine::Engine;
use crate::ops::{Batch, BatchStatus, CronEntry, Enqueued, Filter, JobRecord, Now, QueueInfo};
use crate::sqlite::Sqlite;
use crate::worker::{Settings, WorkerBuilder, Workers, run_due};
use crate::{BatchId, Error, IntoNewJob, Job, JobId, NewJob, Result, State};

/// Jobs of one database; cheap to clone.
#[derive(Clone)]
pub struct Jobs {
    engine: Arc<dyn Engine>,
    /// Runs jobs as they are enqueued; see [`WorkerBuilder::inline`].
    inline: Option<Arc<Settings>>,
    /// The workers started through this handle and its clones.
    workers: Arc<Workers>,
}

impl std::fmt::Debug for Jobs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Jobs").field(&self.engine).finish()
    }
}

impl Jobs {
    /// The jobs in the database of `store`; makes their tables where they are
    /// missing.
    ///
    /// # Errors
    /// The tables are of a newer program, or cannot be made.
    pub async fn open(store: &Store) -> Result<Self> {
        Self::open_with_clock(store, Arc::new(SystemClock)).await
    }

    /// As [`Jobs::open`], with another clock: in tests a
    /// [`ManualClock`](monolite_platform::clock::ManualClock).
    ///
    /// # Errors
    /// As [`Jobs::open`].
    pub async fn open_with_clock(store: &Store, clock: Arc<dyn Clock>) -> Result<Self> {
        Ok(Self {
            engine: Arc::new(Sqlite::open(store.clone(), clock).await?),
            inline: None,
            workers: Arc::default(),
        })
    }

    pub(crate) fn with_inline(self, settings: Settings) -> Self {
        Self {
            inline: Some(Arc::new(settings)),
            ..self
        }
    }

    /// Runs what was enqueued, if this handle runs jobs inline.
    async fn enqueued_now<T>(&self, enqueued: Result<T>) -> Result<T> {
        let enqueued = enqueued?;
        if let Some(settings) = &self.inline {
            let jobs = Self {
                inline: None,
                ..self.clone()
            };
            run_due(jobs, Settings::clone(settings)).await?;
        }
        Ok(enqueued)
    }

    pub(crate) fn workers(&self) -> &Arc<Workers> {
        &self.workers
    }

    /// Shuts down every worker that was started through this handle or a clone
    /// of it, as [`Worker::shutdown`](crate::Worker::shutdown) does.
    pub async fn shutdown_workers(&self, deadline: Duration) {
        self.workers.shutdown(deadline).await;
    }

    pub(crate) fn engine(&self) -> &Arc<dyn Engine> {
        &self.engine
    }

    /// Enqueues a typed job. On return it is committed.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::Json`], [`Error::Store`].
    pub async fn enqueue(&self, job: impl Job) -> Result<JobId> {
        Ok(self.push(job.prepare()?).await?.id)
    }

    /// Enqueues a prepared job: one with a delay, a key, a queue of its own.
    ///
    /// # Errors
    /// As [`Jobs::enqueue`]; [`Error::NotUnique`] where that was asked for.
    pub async fn push(&self, job: NewJob) -> Result<Enqueued> {
        self.enqueued_now(self.engine.enqueue(job).await).await
    }

    /// Enqueues many in one transaction: all of them, or none.
    ///
    /// # Errors
    /// As [`Jobs::push`].
    pub async fn push_many(&self, jobs: Vec<NewJob>) -> Result<Vec<Enqueued>> {
        self.enqueued_now(self.engine.enqueue_many(jobs).await)
            .await
    }

    /// Enqueues jobs as a batch, and `callback` once all of them have ended; its
    /// input is `{"batch": …, "total": …, "failed": …}`.
    ///
    /// # Errors
    /// As [`Jobs::push`].
    pub async fn push_batch(&self, jobs: Vec<NewJob>, callback: Option<NewJob>) -> Result<Batch> {
        let enqueued = self.engine.enqueue_batch(jobs, callback).await;
        self.enqueued_now(enqueued).await
    }

    /// The time by the clock of these jobs, for the operations in
    /// [`ops`](crate::ops).
    pub fn now(&self) -> Now {
        self.engine.now()
    }

    /// A worker, to be given handlers and started.
    pub fn worker(&self) -> WorkerBuilder {
        WorkerBuilder::new(self.clone())
    }

    /// Reads a job; `None` once it was removed.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn get(&self, id: JobId) -> Result<Option<JobRecord>> {
        self.engine.job(id).await
    }

    /// The newest jobs that match, at most `limit`.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn list(&self, filter: Filter, limit: u32) -> Result<Vec<JobRecord>> {
        self.engine.list(filter, limit).await
    }

    /// All queues with their counts; reads the whole table.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn queues(&self) -> Result<Vec<QueueInfo>> {
        self.engine.queues().await
    }

    /// How far a batch has come.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn batch(&self, batch: BatchId) -> Result<Option<BatchStatus>> {
        self.engine.batch_status(batch).await
    }

    /// Waits until a job has ended, by whichever process, without asking again
    /// while nothing changes.
    ///
    /// # Errors
    /// [`Error::NotEnded`] after `timeout`; [`Error::NotFound`] if it was
    /// removed before it was seen.
    pub async fn wait(&self, id: JobId, timeout: Duration) -> Result<JobRecord> {
        let wait = async {
            let mut changes = self.engine.changes()?;
            loop {
                let job = self.get(id).await?.ok_or(Error::NotFound(id))?;
                if job.state.is_final() {
                    return Ok(job);
                }
                changes.changed().await?;
            }
        };
        tokio::time::timeout(timeout, wait)
            .await
            .unwrap_or(Err(Error::NotEnded(id)))
    }

    /// Ends a job that waits, or asks a running one to end.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::WrongState`], [`Error::Store`].
    pub async fn cancel(&self, id: JobId) -> Result<State> {
        self.engine.cancel(id).await
    }

    /// Puts a dead, cancelled or scheduled job back into its queue now.
    ///
    /// # Errors
    /// As [`Jobs::cancel`].
    pub async fn retry(&self, id: JobId) -> Result<State> {
        self.engine.retry(id).await
    }

    /// Removes a job that has ended.
    ///
    /// # Errors
    /// As [`Jobs::cancel`].
    pub async fn delete(&self, id: JobId) -> Result<()> {
        self.engine.delete(id).await
    }

    /// Stops claims from a queue, by every process. Jobs that run go on.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn pause(&self, queue: impl Into<String>) -> Result<()> {
        self.engine.pause(queue.into()).await
    }

    /// Ends [`Jobs::pause`].
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn resume(&self, queue: impl Into<String>) -> Result<()> {
        self.engine.resume(queue.into()).await
    }

    /// Lets at most `max` jobs of a queue start in any `period`, wherever it
    /// begins, over all processes; `None` removes the limit.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a rate of nothing.
    pub async fn rate_limit(
        &self,
        queue: impl Into<String>,
        rate: Option<(u32, Duration)>,
    ) -> Result<()> {
        self.engine.rate_limit(queue.into(), rate).await
    }

    /// Sets up a recurring job, or changes the one of that name. Cron
    /// expressions have five fields, or six with the seconds first; the zone is
    /// an IANA time zone. Fired once per tick, by whichever process has a worker.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a schedule or time zone that is none.
    pub async fn schedule(
        &self,
        name: impl Into<String>,
        schedule: impl Into<String>,
        zone: impl Into<String>,
        job: impl IntoNewJob,
    ) -> Result<()> {
        let job = job.into_new_job()?;
        let (name, schedule, zone) = (name.into(), schedule.into(), zone.into());
        self.engine.set_cron(name, schedule, zone, job).await
    }

    /// Removes a recurring job; false if there was none of that name. Jobs that
    /// were enqueued stay.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn unschedule(&self, name: impl Into<String>) -> Result<bool> {
        self.engine.remove_cron(name.into()).await
    }

    /// All recurring jobs.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn schedules(&self) -> Result<Vec<CronEntry>> {
        self.engine.schedules().await
    }

    /// The payloads of the jobs of one type that have not ended, oldest first,
    /// among the newest 10,000 of that type: to assert on in tests.
    ///
    /// # Errors
    /// [`Error::Json`] for a payload that is not of this type.
    pub async fn enqueued<J: Job>(&self) -> Result<Vec<J>> {
        let mut jobs = self.list(Filter::new().kind(J::KIND), 10_000).await?;
        jobs.retain(|job| !job.state.is_final());
        jobs.reverse();
        let parse = |job: &JobRecord| serde_json::from_str(&job.payload);
        let payloads: std::result::Result<_, _> = jobs.iter().map(parse).collect();
        payloads.map_err(Error::json("read a payload"))
    }
}
