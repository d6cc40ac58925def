//! Runs jobs, each as a task of the caller's runtime, whatever its handler does.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::context::{Context, Signal, StopReason};
use super::failure::{Failure, Then};
use super::settings::{Handler, Outcome, Rules, Settings};
use crate::ops::{Claimed, End};
use crate::{JobId, Jobs};

/// Time to end by itself for a job whose worker ends, after the deadline of the
/// shutdown.
const SHUTDOWN_GRACE: Duration = Duration::from_millis(100);

/// How long a job waits for a worker that has a handler for it, in
/// milliseconds, and how often it is tried meanwhile.
const NO_HANDLER_WAIT_MAX_MS: i64 = 86_400_000;
const NO_HANDLER_RETRY: Duration = Duration::from_secs(60);

/// The jobs that run now.
pub(super) struct Executor {
    handlers: HashMap<String, Handler>,
    rules: Rules,
    running: HashMap<JobId, Running>,
    // Bounded by the number of jobs that run.
    reports: mpsc::UnboundedSender<Report>,
    reported: mpsc::UnboundedReceiver<Report>,
}

struct Running {
    queue: usize,
    claim: i64,
    job: Arc<Claimed>,
    signal: Arc<Signal>,
    task: AbortHandle,
}

/// The end of a run, as its task reports it.
struct Report {
    id: JobId,
    run: i64,
    end: End,
    ran: Duration,
}

/// A run that has ended.
pub(super) struct EndedRun {
    /// The queue that the job came from, by its place in the worker's list.
    pub(super) queue: usize,
    pub(super) claim: i64,
    pub(super) job: Arc<Claimed>,
    pub(super) end: End,
    pub(super) ran: Duration,
}

impl Executor {
    pub(super) fn new(settings: &Settings) -> Self {
        let (reports, reported) = mpsc::unbounded_channel();
        Self {
            handlers: settings.handlers.clone(),
            rules: settings.rules,
            running: HashMap::new(),
            reports,
            reported,
        }
    }

    pub(super) fn running(&self) -> usize {
        self.running.len()
    }

    pub(super) fn start(&mut self, jobs: &Jobs, queue: usize, claim: i64, job: Claimed) {
        let (job, signal) = (Arc::new(job), Arc::<Signal>::default());
        let context = Context {
            job: Arc::clone(&job),
            jobs: jobs.clone(),
            signal: Arc::clone(&signal),
        };
        let handler = self.handlers.get(&job.kind).cloned();
        let rules = self.rules;
        let mut reporter = Reporter {
            reports: self.reports.clone(),
            report: Some(Report {
                id: job.id,
                run: job.run,
                end: End::Failed {
                    error: "it panicked while it was being dropped".into(),
                    retry_in_ms: Some(0),
                },
                ran: Duration::ZERO,
            }),
        };
        let task = tokio::spawn(async move {
            let (end, ran) = run(handler, context, rules).await;
            if let Some(report) = &mut reporter.report {
                (report.end, report.ran) = (end, ran);
            }
        });
        let id = job.id;
        let task = task.abort_handle();
        self.running.insert(
            id,
            Running {
                queue,
                claim,
                job,
                signal,
                task,
            },
        );
    }

    /// Waits for a run to end. May be dropped while it waits.
    pub(super) async fn ended(&mut self) -> EndedRun {
        loop {
            match self.reported.recv().await {
                Some(report) => {
                    if let Some(ended) = self.accept(report) {
                        return ended;
                    }
                }
                // Not reached: a sender is kept here.
                None => std::future::pending().await,
            }
        }
    }

    /// A run that has ended already.
    pub(super) fn try_ended(&mut self) -> Option<EndedRun> {
        while let Ok(report) = self.reported.try_recv() {
            let ended = self.accept(report);
            if ended.is_some() {
                return ended;
            }
        }
        None
    }

    fn accept(&mut self, report: Report) -> Option<EndedRun> {
        // A run that was aborted since, whose job may be running again here,
        // reports too late.
        if self.running.get(&report.id)?.job.run != report.run {
            return None;
        }
        let Running {
            queue, claim, job, ..
        } = self.running.remove(&report.id)?;
        Some(EndedRun {
            queue,
            claim,
            job,
            end: report.end,
            ran: report.ran,
        })
    }

    /// Asks a job to end, as cancelled; false if it is not running here.
    pub(super) fn cancel(&self, id: JobId) -> bool {
        let running = self.running.get(&id);
        if let Some(running) = running {
            running.signal.raise(StopReason::Cancelled);
        }
        running.is_some()
    }

    /// Asks all jobs to end, to be handed back. Each ends once its handler has
    /// returned or was dropped; one that blocks its thread does neither.
    pub(super) fn hand_back_all(&self) {
        for running in self.running.values() {
            running.signal.raise(StopReason::HandedBack);
        }
    }

    /// Drops all jobs, and forgets them; returns how many there were.
    pub(super) fn abort_all(&mut self) -> usize {
        let count = self.running.len();
        for (_, running) in self.running.drain() {
            running.signal.raise(StopReason::HandedBack);
            running.task.abort();
        }
        count
    }
}

/// Reports how a run has ended when it is dropped, however its task ends.
struct Reporter {
    reports: mpsc::UnboundedSender<Report>,
    report: Option<Report>,
}

impl Drop for Reporter {
    fn drop(&mut self) {
        if let Some(report) = self.report.take() {
            // An error means that the worker was dropped with its runtime.
            let _ = self.reports.send(report);
        }
    }
}

/// Runs one job; returns how it ended and how long it ran.
async fn run(handler: Option<Handler>, context: Context, rules: Rules) -> (End, Duration) {
    let started = Instant::now();
    let job = Arc::clone(&context.job);
    let signal = Arc::clone(&context.signal);
    let timeout = job.timeout_ms.map_or(rules.timeout, |ms| {
        Duration::from_millis(ms.max(1).unsigned_abs())
    });
    let outcome = match handler {
        None => Err(no_handler(&context)),
        Some(handler) => {
            let mut running = pin!(catch_panics(handler, context));
            let cut_short = async {
                let grace = match signal.raised().await {
                    StopReason::Cancelled => rules.grace,
                    StopReason::HandedBack => SHUTDOWN_GRACE,
                };
                tokio::time::sleep(grace).await;
            };
            tokio::select! {
                biased;
                outcome = tokio::time::timeout(timeout, &mut running) => {
                    outcome.unwrap_or_else(|_| {
                        Err(Failure::retry(format!("it took longer than {timeout:?}")))
                    })
                }
                () = cut_short => Err(Failure::retry("it was stopped")),
            }
        }
    };
    let end = match outcome {
        Ok(result) => End::Done(result),
        // It was asked to end, and did: that is no failure of its own.
        Err(_) if signal.reason() == Some(StopReason::Cancelled) => End::Cancelled,
        Err(_) if signal.reason() == Some(StopReason::HandedBack) => End::HandedBack,
        Err(Failure { error, then }) => {
            let max = job.max_attempts.unwrap_or(rules.max_attempts);
            let wait_ms = || rules.backoff.wait_ms(job.attempt, fastrand::f64());
            match then {
                Then::Snooze(wake_in_ms) => End::Snoozed { wake_in_ms },
                Then::Discard => failed(error, None),
                _ if job.attempt >= max => failed(error, None),
                Then::RetryIn(ms) => failed(error, Some(ms)),
                Then::BackOff => failed(error, Some(wait_ms())),
            }
        }
    };
    (end, started.elapsed())
}

fn failed(error: String, retry_in_ms: Option<i64>) -> End {
    End::Failed { error, retry_in_ms }
}

/// During a deploy the old program meets jobs of the new one: for a day they
/// wait without using up attempts.
fn no_handler(context: &Context) -> Failure {
    let waited_ms = context.jobs.now().wall_ms - context.job.enqueued_at_ms;
    if waited_ms < NO_HANDLER_WAIT_MAX_MS {
        return Failure::snooze(NO_HANDLER_RETRY);
    }
    Failure::retry(format!(
        "no worker has a handler for jobs of the kind {:?}",
        context.job.kind
    ))
}

/// Calls the handler and polls it, turning a panic into a failure.
async fn catch_panics(handler: Handler, context: Context) -> Outcome {
    // Unwind safety: nothing of the handler's is used after its panic.
    let mut future = match catch_unwind(AssertUnwindSafe(|| handler(context))) {
        Ok(future) => future,
        Err(panic) => return Err(panicked(&*panic)),
    };
    std::future::poll_fn(move |cx| {
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
            Ok(poll) => poll,
            Err(panic) => Poll::Ready(Err(panicked(&*panic))),
        }
    })
    .await
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> Failure {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_string())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".into());
    Failure::retry(format!("it panicked: {text}"))
}
