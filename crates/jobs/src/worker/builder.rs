//! Sets up a worker and starts it.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::watch;

use super::context::Context;
use super::dispatcher::Dispatcher;
use super::failure::Failure;
use super::handle::Worker;
use super::settings::{Handler, Settings};
use crate::event::Event;
use crate::new_job::millis;
use crate::{Backoff, Error, IntoNewJob, Job, Jobs, NewJob, PAYLOAD_MAX, Result};

/// Shortest lease: it is renewed four times in its length.
const LEASE_MIN: Duration = Duration::from_millis(200);

/// A worker being set up: which queues it serves, and what it does with each
/// kind of job.
#[must_use = "a worker does nothing until it is started"]
pub struct WorkerBuilder {
    jobs: Jobs,
    settings: Settings,
    /// Name, schedule, time zone, and the job or why it cannot be written.
    crons: Vec<(String, String, String, Result<NewJob>)>,
    /// A kind that was given two handlers.
    handled_twice: Option<String>,
}

impl WorkerBuilder {
    pub(crate) fn new(jobs: Jobs) -> Self {
        Self {
            jobs,
            crons: Vec::new(),
            handled_twice: None,
            settings: Settings::default(),
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
                // A payload that cannot be read now cannot be read later either.
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
            self.handled_twice.get_or_insert(kind);
        }
        self
    }

    /// Sets up a recurring job when the worker starts; see
    /// [`Jobs::schedule`]. A job that cannot be written as JSON, or a schedule
    /// that is none, is an error of [`WorkerBuilder::start`].
    pub fn cron(
        mut self,
        name: impl Into<String>,
        schedule: impl Into<String>,
        zone: impl Into<String>,
        job: impl IntoNewJob,
    ) -> Self {
        let job = job.into_new_job();
        self.crons
            .push((name.into(), schedule.into(), zone.into(), job));
        self
    }

    /// Its name, for people. Default: `process` and the process number.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.settings.name = name.into();
        self
    }

    /// Attempts of a job that does not set them. Default 20.
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.settings.rules.max_attempts = attempts.max(1);
        self
    }

    /// Longest run of a job that does not set it. Default 1 h.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.settings.rules.timeout = timeout;
        self
    }

    /// Pauses between attempts. Default: see [`Backoff`].
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.settings.rules.backoff = backoff;
        self
    }

    /// How long a job may take to end by itself once it was cancelled; then it
    /// is dropped at its next `await`. Default 5 s.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.settings.rules.grace = grace;
        self
    }

    /// How long after the last renewal of its lease a worker counts as dead, and
    /// its jobs go to others. Default 20 s, at least 200 ms.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.settings.lease = lease.max(LEASE_MIN);
        self
    }

    /// How many workers may die with a job before it is dead. Default 3.
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

    /// Is called with every event, on the worker's own task: keep it short.
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
        Ok(Worker::new(stop, tokio::spawn(dispatcher.run())))
    }

    /// Runs every job that is ready or due, and those that they enqueue, one
    /// after another, until none is left; for tests. Returns how many ran.
    ///
    /// Jobs scheduled for later are not waited for: advance a
    /// [`ManualClock`](monolite_platform::clock::ManualClock) and call it again.
    ///
    /// # Errors
    /// As [`WorkerBuilder::start`], and [`Error::Store`].
    pub async fn run_due(self) -> Result<usize> {
        let (jobs, settings) = self.ready().await?;
        run_due(jobs, settings).await
    }

    /// Jobs that run as they are enqueued, in the task that enqueues them,
    /// before the enqueue returns; for tests. What they enqueue runs as well;
    /// what is scheduled for later waits. Recurring jobs are left out.
    ///
    /// Jobs enqueued in the app's own transaction, by
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
        if let Some(kind) = self.handled_twice {
            let why = format!("jobs of the kind {kind:?} were given two handlers");
            return Err(Error::invalid("cannot start a worker", why));
        }
        for (name, schedule, zone, job) in self.crons {
            self.jobs.schedule(name, schedule, zone, job?).await?;
        }
        Ok((self.jobs, self.settings))
    }
}

/// The queue of a worker that names none, and how many of its jobs run at once.
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

/// A runtime without one panics wherever something waits for a time.
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
