//! Jobs in a SQLite file, through its store.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use monolite_component::Clock;
use monolite_store::rusqlite::Connection;
use monolite_store::{Combiner, Store, Watch};

use crate::engine::{Answer, Changes, Command, Engine};
use crate::ops::{
    self, BatchStatus, CronEntry, Enqueued, Filter, Horizon, JobRecord, Now, QueueInfo, Turn,
    Turned,
};
use crate::{Error, JobId, NewJob, Result, State};

pub(crate) struct Sqlite {
    store: Store,
    clock: Arc<dyn Clock>,
    boot: Arc<str>,
    hints: Arc<AtomicU64>,
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
        store
            .write(|tx| {
                ops::SCHEMA
                    .install(tx)
                    .map_err(|error| Error::from(error).into())
            })
            .await?;
        let boot: Arc<str> = clock.boot_id().into();
        let moment = Moment {
            clock: Arc::clone(&clock),
            boot: Arc::clone(&boot),
        };
        let enqueue = store.combine(move |tx, jobs: &[NewJob]| {
            let now = moment.now();
            Ok(ops::enqueue_each(tx, &now, jobs)?)
        });
        Ok(Self {
            store,
            clock,
            boot,
            hints: Arc::default(),
            enqueue,
        })
    }

    fn moment(&self) -> Moment {
        Moment {
            clock: Arc::clone(&self.clock),
            boot: Arc::clone(&self.boot),
        }
    }

    /// Somebody may run something now.
    fn hint(&self) {
        self.hints.fetch_add(1, Ordering::Relaxed);
    }

    fn write<T: Send + 'static>(
        &self,
        operation: impl FnOnce(&Connection, &Now) -> Result<T> + Send + 'static,
    ) -> Answer<'_, T> {
        let moment = self.moment();
        Box::pin(async move {
            let written = self.store.write(move |tx| {
                // Read where it is used: the queue may have been long.
                Ok(operation(tx, &moment.now())?)
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
}

/// What [`Now`] is read from.
struct Moment {
    clock: Arc<dyn Clock>,
    boot: Arc<str>,
}

impl Moment {
    fn now(&self) -> Now {
        loop {
            let before_ms = self.clock.monotonic_ms();
            let wall_ms = self.clock.now_ms();
            let steady_ms = self.clock.monotonic_ms();
            // Stopped in between, it would look as if the clock had been set.
            if steady_ms - before_ms < ops::CLOCK_STEP_MS / 10 {
                return Now {
                    wall_ms,
                    steady_ms,
                    boot: Arc::clone(&self.boot),
                };
            }
        }
    }
}

impl Engine for Sqlite {
    fn enqueue(&self, job: NewJob) -> Answer<'_, Enqueued> {
        self.hint();
        Box::pin(async move { self.enqueue.write(job).await? })
    }

    fn enqueue_many(&self, jobs: Vec<NewJob>) -> Answer<'_, Vec<Enqueued>> {
        self.hint();
        self.write(move |tx, now| ops::enqueue_each(tx, now, &jobs)?.into_iter().collect())
    }

    fn enqueue_batch(
        &self,
        jobs: Vec<NewJob>,
        callback: Option<NewJob>,
    ) -> Answer<'_, (i64, Vec<Enqueued>)> {
        self.hint();
        self.write(move |tx, now| ops::enqueue_batch(tx, now, &jobs, callback.as_ref()))
    }

    fn turn(&self, turn: Arc<Turn>) -> Answer<'_, Turned> {
        self.write(move |tx, now| ops::turn(tx, now, &turn))
    }

    fn renew(&self, worker: i64, lease_ms: i64) -> Answer<'_, bool> {
        self.write(move |tx, now| ops::renew(tx, now, worker, lease_ms))
    }

    fn horizon(&self, worker: i64, queues: Arc<[String]>, suspect: bool) -> Answer<'_, Horizon> {
        let now = self.now();
        Box::pin(async move {
            // A handful of rows at the edges of small indexes.
            let read = self
                .store
                .read_point(move |conn| Ok(ops::horizon(conn, &now, worker, &queues, suspect)?));
            Ok(read.await?)
        })
    }

    fn progress(&self, id: JobId, run: i64, share: f64, note: Option<String>) -> Answer<'_, bool> {
        self.write(move |tx, now| ops::progress(tx, now, id, run, share, note.as_deref()))
    }

    fn command(&self, command: Command) -> Answer<'_, Option<State>> {
        self.hint();
        self.write(move |tx, now| {
            match command {
                Command::Cancel(id) => return ops::cancel(tx, now, id).map(Some),
                Command::Retry(id) => return ops::retry(tx, now, id).map(Some),
                Command::Delete(id) => ops::delete(tx, id)?,
                Command::Pause(queue) => ops::pause(tx, &queue)?,
                Command::Resume(queue) => ops::resume(tx, &queue)?,
                Command::RateLimit(queue, rate) => ops::rate_limit(tx, &queue, rate)?,
                Command::SetCron {
                    name,
                    schedule,
                    zone,
                    job,
                } => ops::set_cron(tx, now, &name, &schedule, &zone, &job)?,
                Command::RemoveCron(name) => {
                    ops::remove_cron(tx, &name)?;
                }
            }
            Ok(None)
        })
    }

    fn job(&self, id: JobId) -> Answer<'_, Option<JobRecord>> {
        Box::pin(async move {
            let read = self.store.read_point(move |conn| Ok(ops::job(conn, id)?));
            Ok(read.await?)
        })
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

    fn batch_status(&self, batch: i64) -> Answer<'_, Option<BatchStatus>> {
        self.read(move |conn| ops::batch_status(conn, batch))
    }

    fn changes(&self) -> Result<Box<dyn Changes>> {
        Ok(Box::new(Commits(self.store.watch()?)))
    }

    fn hints(&self) -> u64 {
        self.hints.load(Ordering::Relaxed)
    }

    fn now(&self) -> Now {
        self.moment().now()
    }
}

struct Commits(Watch);

impl Changes for Commits {
    fn changed(&mut self) -> Answer<'_, ()> {
        Box::pin(async { Ok(self.0.changed().await?) })
    }
}
