//! The jobs a dispatcher has running: how they start, end and are stopped.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::context::{Context, Reason, Signal};
use super::dispatch::{Dispatcher, new_worker_id};
use super::lane::Lane;
use super::run;
use crate::JobId;
use crate::event::{Event, Subject};
use crate::ops::{Ack, Claimed, End};

/// A job that runs.
pub(super) struct Running {
    pub(super) lane: usize,
    pub(super) claim: i64,
    pub(super) job: Arc<Claimed>,
    pub(super) signal: Arc<Signal>,
    pub(super) task: AbortHandle,
}

/// A run that has ended and is not yet recorded.
pub(super) struct Ended {
    pub(super) ack: Ack,
    pub(super) claim: i64,
    pub(super) job: Arc<Claimed>,
    pub(super) ran: Duration,
}

/// A run as its task tells it. There are no more of them than there are
/// places for jobs.
pub(super) struct Outcome {
    pub(super) id: JobId,
    pub(super) run: i64,
    pub(super) end: End,
    pub(super) ran: Duration,
}

/// Longest deadline of a shutdown: thirty years.
const FAR: Duration = Duration::from_secs(30 * 365 * 86_400);

impl Dispatcher {
    /// Starts what was claimed, as far as there are places.
    pub(super) fn start_waiting(&mut self) {
        for place in 0..self.lanes.len() {
            while let Some((claim, job)) = self.lanes.get_mut(place).and_then(Lane::next) {
                self.start(place, claim, job);
            }
        }
    }

    fn start(&mut self, lane: usize, claim: i64, job: Claimed) {
        if self.settings.observer.is_some() {
            let waited_ms = self.jobs.engine().now().wall_ms - job.enqueued_at_ms;
            let waited = Duration::from_millis(waited_ms.max(0).unsigned_abs());
            let job = subject(&job);
            self.tell(|| Event::Started { job, waited });
        }
        let context = Context {
            job: Arc::new(job),
            jobs: self.jobs.clone(),
            signal: Arc::default(),
        };
        let (job, signal) = (Arc::clone(&context.job), Arc::clone(&context.signal));
        let handler = self.settings.handlers.get(&job.kind).cloned();
        let (rules, outcomes) = (self.settings.rules, self.outcomes.0.clone());
        let (id, run_number) = (job.id, job.run);
        let task = tokio::spawn(async move {
            let mut report = Report {
                outcomes,
                outcome: Some(Outcome {
                    id,
                    run: run_number,
                    end: End::Failed {
                        error: "it panicked while it was being dropped".into(),
                        retry_in_ms: Some(0),
                    },
                    ran: Duration::ZERO,
                }),
            };
            let (end, ran) = run::run(handler, context, rules).await;
            if let Some(outcome) = &mut report.outcome {
                (outcome.end, outcome.ran) = (end, ran);
            }
        });
        self.running.insert(
            id,
            Running {
                lane,
                claim,
                job,
                signal,
                task: task.abort_handle(),
            },
        );
    }

    pub(super) fn ended_one(&mut self, outcome: Outcome) {
        // Stopped by us meanwhile, or claimed anew since: not this one's.
        let same = |running: &Running| running.job.run == outcome.run;
        if !self.running.get(&outcome.id).is_some_and(same) {
            return;
        }
        if let Some(running) = self.running.remove(&outcome.id) {
            self.finished(running, outcome.end, outcome.ran);
        }
    }

    fn finished(&mut self, running: Running, end: End, ran: Duration) {
        if let Some(lane) = self.lanes.get_mut(running.lane) {
            lane.running -= 1;
        }
        self.push_ended(running.claim, running.job, end, ran);
    }

    fn push_ended(&mut self, claim: i64, job: Arc<Claimed>, end: End, ran: Duration) {
        self.ended.push(Ended {
            ack: Ack {
                id: job.id,
                run: job.run,
                linked: job.linked,
                end,
            },
            claim,
            job,
            ran,
        });
    }

    /// Our jobs have gone to others: stops them here, and begins anew.
    pub(super) fn lost(&mut self) {
        let mut jobs = self.running.len();
        for (_, running) in self.running.drain() {
            running.signal.raise(Reason::GivenBack);
            running.task.abort();
        }
        for lane in &mut self.lanes {
            jobs += lane.drain().count();
            lane.running = 0;
            lane.hungry = true;
        }
        self.ended.clear();
        self.claims.clear();
        self.suspects.clear();
        self.lease.hold(None);
        self.worker = new_worker_id();
        self.look = true;
        self.tell(|| Event::Lost { jobs });
    }

    pub(super) fn stop_now(&mut self, deadline: Duration) {
        self.stopping = Some(Instant::now() + deadline.min(FAR));
        let mut back = Vec::new();
        for lane in &mut self.lanes {
            back.extend(lane.drain());
        }
        self.left.0 += back.len();
        self.hand_back(back);
        if deadline.is_zero() {
            self.interrupt();
        }
    }

    /// The deadline is over: stops what still runs. Each is handed back once its
    /// handler is gone; one that blocks its thread keeps its claim, and goes to
    /// another worker when the lease is over.
    pub(super) fn interrupt(&mut self) {
        if !std::mem::replace(&mut self.interrupted, true) {
            self.left.1 = self.running.len();
            for running in self.running.values() {
                running.signal.raise(Reason::GivenBack);
            }
        }
    }

    /// What waits here for places that others may have.
    pub(super) fn hand_back_late(&mut self) {
        let mut late = Vec::new();
        for lane in &mut self.lanes {
            late.extend(lane.take_late());
        }
        self.hand_back(late);
    }

    fn hand_back(&mut self, jobs: Vec<(i64, Claimed)>) {
        for (claim, job) in jobs {
            self.push_ended(claim, Arc::new(job), End::HandedBack, Duration::ZERO);
        }
    }

    /// Tells a job that it should end, whether it runs or not.
    pub(super) fn cancel(&mut self, id: JobId) {
        if let Some(running) = self.running.get(&id) {
            return running.signal.raise(Reason::Cancelled);
        }
        let waiting = self.lanes.iter_mut().find_map(|lane| lane.remove(id));
        if let Some((claim, job)) = waiting {
            self.push_ended(claim, Arc::new(job), End::Cancelled, Duration::ZERO);
        }
    }
}

/// Tells how a run has ended, however its task does.
struct Report {
    outcomes: mpsc::UnboundedSender<Outcome>,
    outcome: Option<Outcome>,
}

impl Drop for Report {
    fn drop(&mut self) {
        if let Some(outcome) = self.outcome.take() {
            // Nobody there: the worker was dropped with its runtime.
            let _ = self.outcomes.send(outcome);
        }
    }
}

pub(super) fn subject(job: &Claimed) -> Subject {
    Subject {
        id: job.id,
        kind: job.kind.clone(),
        queue: job.queue.clone(),
        attempt: job.attempt,
    }
}
