//! Sets a worker up, and holds it while it runs.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::context::Context;
use super::dispatch::Dispatcher;
use super::failure::Failure;
use super::run::{Handler, Rules};
use crate::event::Event;
use crate::new_job::millis;
use crate::ops::Retention;
use crate::{Backoff, Error, Job, Jobs, NewJob, PAYLOAD_MAX, Result};

/// Shortest lease: it is renewed four times in its length.
const LEASE_MIN: Duration = Duration::from_millis(200);

/// A worker being set up: which queues it serves, and what it does with each
/// kind of job.
#[must_use = "a worker does nothing until it is started"]
pub struct WorkerBuilder {
    pub(super) jobs: Jobs,
    pub(super) settings: Settings,
    crons: Vec<(String, String, String, Result<NewJob>)>,
    /// A kind that was given two handlers.
    twice: Option<String>,
}

pub(crate) type Observer = Arc<dyn Fn(&Event) + Send + Sync>;

#[derive(Clone)]
pub(crate) struct Settings {
    pub(super) name: String,
    pub(super) queues: Vec<(String, usize)>,
    pub(super) handlers: HashMap<String, Handler>,
    pub(super) rules: Rules,
    pub(super) lease: Duration,
    pub(super) max_crashes: u32,
    pub(super) retention: Retention,
    pub(super) observer: Option<Observer>,
}

impl WorkerBuilder {
    pub(crate) fn new(jobs: Jobs) -> Self {
        Self {
            jobs,
            crons: Vec::new(),
            twice: None,
            settings: Settings {
                name: format!("process {}", std::process::id()),
                queues: Vec::new(),
                handlers: HashMap::new(),
                rules: Rules {
                    max_attempts: 20,
                    timeout: Duration::from_secs(3600),
                    backoff: Backoff::default(),
                    grace: Duration::from_secs(5),
                },
                lease: Duration::from_secs(20),
                max_crashes: 3,
                retention: Retention {
                    done_ms: millis(Duration::from_secs(24 * 3600)),
                    dead_ms: millis(Duration::from_secs(30 * 24 * 3600)),
                },
                observer: None,
            },
        }
    }

    /// Serves a queue, running at most `at_once` of its jobs at one time. Call
    /// again for more queues. Default: `default`, ten at once.
    pub fn queue(mut self, queue: impl Into<String>, at_once: usize) -> Self {
        self.settings.queues.push((queue.into(), at_once.max(1)));
        self
    }

    /// Handles the jobs of one type. State the handler needs (a mailer, a
    /// database) is captured by the closure.
    pub fn on<J, T, F, R>(self, handler: F) -> Self
    where
        J: Job,
        T: Serialize,
        F: Fn(J, Context) -> R + Send + Sync + 'static,
        R: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        let handler = Arc::new(handler);
        self.handler(J::KIND, move |context| {
            let handler = Arc::clone(&handler);
            async move {
                // A payload that cannot be read now will not be later either.
                let job = serde_json::from_str(context.payload()).map_err(|error| {
                    Failure::discard(format!("cannot read its payload: {error}"))
                })?;
                handler(job, context).await
            }
        })
    }

    /// Handles the jobs of one kind without a type: the payload is JSON text,
    /// in [`Context::payload`].
    pub fn handler<T, F, R>(mut self, kind: impl Into<String>, handler: F) -> Self
    where
        T: Serialize,
        F: Fn(Context) -> R + Send + Sync + 'static,
        R: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        let handler: Handler = Arc::new(move |context| {
            let running = handler(context);
            Box::pin(async move { to_json(&running.await?) })
        });
        let kind = kind.into();
        if self
            .settings
            .handlers
            .insert(kind.clone(), handler)
            .is_some()
        {
            self.twice.get_or_insert(kind);
        }
        self
    }

    /// Sets up a recurring job when the worker starts; see
    /// [`Jobs::schedule`].
    pub fn cron(
        mut self,
        name: impl Into<String>,
        schedule: impl Into<String>,
        zone: impl Into<String>,
        job: Result<NewJob>,
    ) -> Self {
        self.crons
            .push((name.into(), schedule.into(), zone.into(), job));
        self
    }

    /// How people call it. Default: `process` and its number.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.settings.name = name.into();
        self
    }

    /// Attempts of a job that does not say. Default 20.
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.settings.rules.max_attempts = attempts.max(1);
        self
    }

    /// Longest run of a job that does not say. Default 1 h.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.settings.rules.timeout = timeout;
        self
    }

    /// Pauses between attempts. Default: see [`Backoff`].
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.settings.rules.backoff = backoff;
        self
    }

    /// Time a job has to end by itself once it was cancelled; then it is
    /// dropped at its next `await`. Default 5 s.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.settings.rules.grace = grace;
        self
    }

    /// How long after its last sign of life a worker is taken for dead, and
    /// its jobs for lost. Default 20 s, at least 200 ms.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.settings.lease = lease.max(LEASE_MIN);
        self
    }

    /// Workers a job may take down with it before it is dead. Default 3.
    pub fn max_crashes(mut self, crashes: u32) -> Self {
        self.settings.max_crashes = crashes.max(1);
        self
    }

    /// How long jobs are kept after they are done or cancelled, at least.
    /// Default 24 h; zero removes done ones at once, unless they have a
    /// result or something waits for them.
    pub fn keep_done(mut self, keep: Duration) -> Self {
        self.settings.retention.done_ms = millis(keep);
        self
    }

    /// How long dead jobs are kept, at least. Default 30 days.
    pub fn keep_dead(mut self, keep: Duration) -> Self {
        self.settings.retention.dead_ms = millis(keep);
        self
    }

    /// Tells of everything the worker does. Called on its own task: keep it
    /// short.
    pub fn observe(mut self, observer: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        self.settings.observer = Some(Arc::new(observer));
        self
    }

    /// Starts it, as a task of this runtime.
    ///
    /// # Errors
    /// A recurring job that cannot be set up; a thread or a watch that cannot
    /// be had.
    pub async fn start(self) -> Result<Worker> {
        let (jobs, settings) = self.ready().await?;
        if !has_timer() {
            let why = "its runtime has no timer: build it with `enable_time` or `enable_all`";
            return Err(Error::invalid("cannot start a worker", why));
        }
        let (stop, stopped) = watch::channel(None);
        let stop = Arc::new(stop);
        let workers = Arc::clone(jobs.workers());
        let dispatcher = Dispatcher::new(jobs, settings, stopped)?;
        workers.add(Arc::clone(&stop));
        Ok(Worker {
            stop,
            task: Some(tokio::spawn(dispatcher.run())),
        })
    }

    /// Runs every job that is ready or due, those they enqueue too, one after
    /// another, until none is left; for tests. Answers with how many ran.
    ///
    /// Jobs that are to run later are not waited for: advance a
    /// [`ManualClock`](monolite_component::ManualClock) and call it again.
    ///
    /// # Errors
    /// As [`WorkerBuilder::start`], and [`Error::Store`].
    pub async fn run_due(self) -> Result<usize> {
        let (jobs, settings) = self.ready().await?;
        run_due(jobs, settings).await
    }

    /// Jobs that run as they are enqueued, in the task that enqueues them,
    /// before the enqueue returns; for tests. What they enqueue runs as well,
    /// and what is put off waits. Recurring jobs are left out.
    ///
    /// Jobs enqueued in a transaction of the app's, by
    /// [`ops::enqueue`](crate::ops::enqueue), run with the next enqueue through
    /// this handle.
    pub fn inline(mut self) -> Jobs {
        if self.settings.queues.is_empty() {
            self.settings.queues.push(default_queue());
        }
        self.jobs.clone().with_inline(self.settings)
    }

    async fn ready(mut self) -> Result<(Jobs, Settings)> {
        if self.settings.queues.is_empty() {
            self.settings.queues.push(default_queue());
        }
        let mut names: Vec<_> = self.settings.queues.iter().map(|(name, _)| name).collect();
        names.sort();
        if let Some(twice) = names.windows(2).find(|pair| pair.first() == pair.last()) {
            let why = format!("it serves the queue {:?} twice", twice.first());
            return Err(Error::invalid("cannot start a worker", why));
        }
        if let Some(kind) = self.twice {
            let why = format!("jobs of the kind {kind:?} were given two handlers");
            return Err(Error::invalid("cannot start a worker", why));
        }
        for (name, schedule, zone, job) in self.crons {
            self.jobs.schedule(name, schedule, zone, job?).await?;
        }
        Ok((self.jobs, self.settings))
    }
}

/// The queue served by a worker that names none, and its places.
fn default_queue() -> (String, usize) {
    ("default".into(), 10)
}

/// Runs what is due; see [`WorkerBuilder::run_due`].
pub(crate) async fn run_due(jobs: Jobs, mut settings: Settings) -> Result<usize> {
    for (_, at_once) in &mut settings.queues {
        *at_once = 1;
    }
    let (_stop, stopped) = watch::channel(None);
    Dispatcher::new(jobs, settings, stopped)?.run_due().await
}

/// A runtime without one panics wherever something waits for a time: in tasks
/// nobody looks at.
fn has_timer() -> bool {
    std::panic::catch_unwind(|| drop(tokio::time::sleep(Duration::ZERO))).is_ok()
}

/// A result worth keeping: `()` and `None` are not.
fn to_json(result: &impl Serialize) -> Result<Option<String>, Failure> {
    let text = serde_json::to_string(result)
        .map_err(|error| Failure::discard(format!("cannot write its result as JSON: {error}")))?;
    if text.len() > PAYLOAD_MAX {
        let bytes = text.len();
        let why = format!("its result has {bytes} bytes, allowed are {PAYLOAD_MAX}");
        return Err(Failure::discard(why));
    }
    Ok((text != "null").then_some(text))
}

/// A running worker. Dropping it is a shutdown with no time left: what runs is
/// stopped and handed back, in the background.
#[derive(Debug)]
#[must_use = "dropping it stops the worker"]
pub struct Worker {
    stop: Arc<watch::Sender<Option<Duration>>>,
    task: Option<JoinHandle<()>>,
}

impl Worker {
    /// Claims nothing more, hands back what has not started, lets the rest run
    /// for at most `deadline`, and hands back what has not ended by then.
    pub async fn shutdown(mut self, deadline: Duration) {
        self.stop.send_replace(Some(deadline));
        if let Some(task) = self.task.take() {
            // An error means that the runtime ends: nobody can be told.
            let _ = task.await;
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if self.task.is_some() {
            self.stop.send_replace(Some(Duration::ZERO));
        }
    }
}
