//! Jobs in a SQLite file, through its store.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use monolite_platform::clock::Clock;
use monolite_store::rusqlite::Connection;
use monolite_store::{Combiner, Store, Watch};

use crate::engine::{Answer, Changes, Engine};
use crate::ops::{
    self, Batch, BatchStatus, CronEntry, Enqueued, Filter, JobRecord, NextWakeup, Now, QueueInfo,
    Tick, Ticked,
};
use crate::{BatchId, Error, JobId, NewJob, Result, State};

pub(crate) struct Sqlite {
    store: Store,
    time: Time,
    own_changes: AtomicU64,
    enqueue: Combiner<NewJob, Result<Enqueued>>,
}

impl fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Sqlite").field(&self.store.path()).finish()
    }
}

impl Sqlite {
    /// Makes the tables where they are missing.
    pub(crate) async fn open(store: Store, clock: Arc<dyn Clock>) -> Result<Self> {
        let install = store.write(|tx| Ok(ops::SCHEMA.install(tx).map_err(Error::from)?));
        install.await?;
        let boot = clock.boot_id().into();
        let time = Time { clock, boot };
        let at = time.clone();
        let enqueue = store.combine(move |tx, jobs: &[NewJob]| {
            let now = at.now();
            Ok(ops::enqueue_each(tx, &now, jobs)?)
        });
        Ok(Self {
            store,
            time,
            own_changes: AtomicU64::new(0),
            enqueue,
        })
    }

    /// Writes something after which a job may be ready to run.
    fn write<T: Send + 'static>(
        &self,
        operation: impl FnOnce(&Connection, &Now) -> Result<T> + Send + 'static,
    ) -> Answer<'_, T> {
        self.own_changes.fetch_add(1, Ordering::Relaxed);
        self.write_quietly(operation)
    }

    /// Writes what a worker records of itself.
    fn write_quietly<T: Send + 'static>(
        &self,
        operation: impl FnOnce(&Connection, &Now) -> Result<T> + Send + 'static,
    ) -> Answer<'_, T> {
        let time = self.time.clone();
        Box::pin(async move {
            let written = self.store.write(move |tx| {
                // Read in the transaction: the write may have waited long.
                Ok(operation(tx, &time.now())?)
            });
            Ok(written.await?)
        })
    }

    fn read<T: Send + 'static>(
        &self,
        operation: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Answer<'_, T> {
        Box::pin(async move { Ok(self.store.read(|conn| Ok(operation(conn)?)).await?) })
    }

    /// As [`Sqlite::read`], for a handful of rows at the edges of indexes.
    fn read_point<T: Send + 'static>(
        &self,
        operation: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Answer<'_, T> {
        Box::pin(async move { Ok(self.store.read_point(|conn| Ok(operation(conn)?)).await?) })
    }
}

/// What [`Now`] is read from.
#[derive(Clone)]
struct Time {
    clock: Arc<dyn Clock>,
    boot: Arc<str>,
}

impl Time {
    fn now(&self) -> Now {
        Now::read(&*self.clock, &self.boot)
    }
}

impl Engine for Sqlite {
    fn enqueue(&self, job: NewJob) -> Answer<'_, Enqueued> {
        self.own_changes.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move { self.enqueue.write(job).await? })
    }

    fn enqueue_many(&self, jobs: Vec<NewJob>) -> Answer<'_, Vec<Enqueued>> {
        self.write(move |tx, now| ops::enqueue_each(tx, now, &jobs)?.into_iter().collect())
    }

    fn enqueue_batch(&self, jobs: Vec<NewJob>, callback: Option<NewJob>) -> Answer<'_, Batch> {
        self.write(move |tx, now| ops::enqueue_batch(tx, now, &jobs, callback.as_ref()))
    }

    fn tick(&self, tick: Arc<Tick>) -> Answer<'_, Ticked> {
        self.write_quietly(move |tx, now| ops::tick(tx, now, &tick))
    }

    fn renew_lease(&self, worker: i64, lease_ms: i64) -> Answer<'_, bool> {
        self.write_quietly(move |tx, now| ops::renew_lease(tx, now, worker, lease_ms))
    }

    fn next_wakeup(
        &self,
        worker: i64,
        queues: Arc<[String]>,
        suspect: bool,
    ) -> Answer<'_, NextWakeup> {
        let now = self.now();
        self.read_point(move |conn| ops::next_wakeup(conn, &now, worker, &queues, suspect))
    }

    fn progress(&self, id: JobId, run: i64, share: f64, note: String) -> Answer<'_, bool> {
        self.write_quietly(move |tx, now| ops::progress(tx, now, id, run, share, Some(&note)))
    }

    fn cancel(&self, id: JobId) -> Answer<'_, State> {
        self.write(move |tx, now| ops::cancel(tx, now, id))
    }

    fn retry(&self, id: JobId) -> Answer<'_, State> {
        self.write(move |tx, now| ops::retry(tx, now, id))
    }

    fn delete(&self, id: JobId) -> Answer<'_, ()> {
        self.write(move |tx, _| ops::delete(tx, id))
    }

    fn pause(&self, queue: String) -> Answer<'_, ()> {
        self.write(move |tx, _| ops::pause(tx, &queue))
    }

    fn resume(&self, queue: String) -> Answer<'_, ()> {
        self.write(move |tx, _| ops::resume(tx, &queue))
    }

    fn rate_limit(&self, queue: String, rate: Option<(u32, Duration)>) -> Answer<'_, ()> {
        self.write(move |tx, _| ops::rate_limit(tx, &queue, rate))
    }

    fn set_cron(
        &self,
        name: String,
        schedule: String,
        zone: String,
        job: NewJob,
    ) -> Answer<'_, ()> {
        self.write(move |tx, now| ops::set_cron(tx, now, &name, &schedule, &zone, &job))
    }

    fn remove_cron(&self, name: String) -> Answer<'_, bool> {
        self.write(move |tx, _| ops::remove_cron(tx, &name))
    }

    fn job(&self, id: JobId) -> Answer<'_, Option<JobRecord>> {
        self.read_point(move |conn| ops::job(conn, id))
    }

    fn list(&self, filter: Filter, limit: u32) -> Answer<'_, Vec<JobRecord>> {
        self.read(move |conn| ops::list(conn, &filter, limit))
    }

    fn queues(&self) -> Answer<'_, Vec<QueueInfo>> {
        self.read(ops::queues)
    }

    fn schedules(&self) -> Answer<'_, Vec<CronEntry>> {
        self.read(ops::schedules)
    }

    fn batch_status(&self, batch: BatchId) -> Answer<'_, Option<BatchStatus>> {
        self.read(move |conn| ops::batch_status(conn, batch))
    }

    fn changes(&self) -> Result<Box<dyn Changes>> {
        Ok(Box::new(Commits(self.store.watch()?)))
    }

    fn own_changes(&self) -> u64 {
        self.own_changes.load(Ordering::Relaxed)
    }

    fn now(&self) -> Now {
        self.time.now()
    }
}

struct Commits(Watch);

impl Changes for Commits {
    fn changed(&mut self) -> Answer<'_, ()> {
        Box::pin(async { Ok(self.0.changed().await?) })
    }
}
