//! The dispatcher: takes turns with the database, and starts jobs.
//!
//! What it holds in memory is a copy of its claims. Should it die, the claims
//! are found by their lease; should it be wrong about one, the job's `run` has
//! moved on and its answer changes nothing.

use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::builder::Settings;
use super::exchange::{PRUNE_EVERY, TROUBLE};
use super::floor::{Ended, Outcome, Running};
use super::lane::Lane;
use super::lease::Lease;
use crate::engine::Changes;
use crate::event::Event;
use crate::ops::CLOCK_STEP_MS;
use crate::{JobId, Jobs, Result};

/// Shortest time between two looks: an app that commits all the time does not
/// make its workers look all the time.
const LOOK_PAUSE: Duration = Duration::from_millis(1);

/// A look owed for this long goes before the next turn.
const LOOK_OVERDUE: Duration = Duration::from_millis(10);

/// How long after the deadline a shutdown waits for handlers that block.
const STUBBORN: Duration = Duration::from_secs(2);

/// Longest sleep while something is due at a wall time, for that clock may be
/// set meanwhile.
const SLEEP_MAX: Duration = Duration::from_secs(10);

pub(super) struct Dispatcher {
    pub(super) jobs: Jobs,
    pub(super) settings: Settings,
    pub(super) queues: Arc<[String]>,
    pub(super) worker: i64,
    pub(super) lanes: Vec<Lane>,
    pub(super) running: HashMap<JobId, Running>,
    pub(super) ended: Vec<Ended>,
    /// Jobs of each claim that have not ended.
    pub(super) claims: HashMap<i64, usize>,
    pub(super) suspects: HashSet<JobId>,
    pub(super) outcomes: (
        mpsc::UnboundedSender<Outcome>,
        mpsc::UnboundedReceiver<Outcome>,
    ),
    pub(super) changes: Box<dyn Changes>,
    pub(super) lease: Lease,
    pub(super) stop: watch::Receiver<Option<Duration>>,
    pub(super) stopping: Option<Instant>,
    pub(super) hints: u64,
    /// Something has changed since the last look.
    pub(super) look: bool,
    pub(super) looked_at: Option<Instant>,
    pub(super) chores: bool,
    pub(super) wake_at: Option<Instant>,
    /// Milliseconds by which the wall clock was ahead of the steady one.
    pub(super) ahead_ms: i64,
    pub(super) trouble: Option<(Instant, Duration)>,
    pub(super) ended_since_prune: usize,
    pub(super) cursor: JobId,
    /// Turns in a row that asked for jobs and got none.
    pub(super) fruitless: u32,
    /// The deadline of the shutdown is over.
    pub(super) interrupted: bool,
    pub(super) left: (usize, usize),
}

/// What the dispatcher waited for.
enum Heard {
    Outcome(Outcome),
    Lost(i64),
    Changed,
    Stop(Duration),
    Woken,
}

impl Dispatcher {
    pub(super) fn new(
        jobs: Jobs,
        settings: Settings,
        stop: watch::Receiver<Option<Duration>>,
    ) -> Result<Self> {
        let engine = jobs.engine();
        let lanes: Vec<_> = settings
            .queues
            .iter()
            .map(|(queue, places)| Lane::new(queue.clone(), *places))
            .collect();
        let now = engine.now();
        Ok(Self {
            changes: engine.changes()?,
            lease: Lease::start(Arc::clone(engine), settings.lease)?,
            hints: engine.hints(),
            queues: lanes.iter().map(|lane| lane.queue.clone()).collect(),
            worker: new_worker_id(),
            lanes,
            running: HashMap::new(),
            ended: Vec::new(),
            claims: HashMap::new(),
            suspects: HashSet::new(),
            outcomes: mpsc::unbounded_channel(),
            stop,
            stopping: None,
            look: true,
            looked_at: None,
            chores: true,
            wake_at: None,
            ahead_ms: now.wall_ms - now.steady_ms,
            trouble: None,
            // The first turn begins a round.
            ended_since_prune: PRUNE_EVERY,
            fruitless: 0,
            interrupted: false,
            cursor: 0,
            left: (0, 0),
            jobs,
            settings,
        })
    }

    pub(super) async fn run(mut self) {
        loop {
            self.start_waiting();
            self.glimpse();
            self.hand_back_late();
            let pausing = self
                .trouble
                .is_some_and(|(until, _)| until > Instant::now());
            if !pausing && self.look_is_overdue() {
                self.look().await;
            }
            if !pausing && let Some(turn) = self.next_turn() {
                self.take(turn).await;
                continue;
            }
            if self.may_go(pausing) {
                break;
            }
            if !pausing && self.look_is_due() {
                self.look().await;
                continue;
            }
            self.wait().await;
        }
        self.stopped().await;
    }

    /// True once all that ran has ended and is recorded; or, if the database
    /// does not take it or a handler does not end, once that was waited for
    /// long enough.
    fn may_go(&self, pausing: bool) -> bool {
        self.stopping.is_some_and(|deadline| {
            let now = Instant::now();
            if self.running.is_empty() {
                return !pausing || now >= deadline + TROUBLE.1;
            }
            now >= deadline + STUBBORN
        })
    }

    /// Runs what is ready, one job after another, until nothing is.
    pub(super) async fn run_due(mut self) -> Result<usize> {
        let mut ran = 0;
        loop {
            self.start_waiting();
            if !self.running.is_empty() {
                self.receive().await;
                ran += 1;
                continue;
            }
            let had_chores = self.chores;
            let Some(turn) = self.next_turn() else { break };
            let turned = self.jobs.engine().turn(Arc::clone(&turn)).await?;
            self.turned(&turn, turned);
            if had_chores || !turn.acks.is_empty() {
                for lane in &mut self.lanes {
                    lane.hungry = true; // It may have enqueued others.
                }
            }
            // What a job put off to this very moment is due as well.
            self.chores |= !turn.acks.is_empty();
        }
        self.stopped().await;
        Ok(ran)
    }

    async fn receive(&mut self) {
        if let Some(outcome) = self.outcomes.1.recv().await {
            self.ended_one(outcome);
        }
    }

    /// Waits for anything to happen, and takes it in.
    async fn wait(&mut self) {
        match self.hear().await {
            Heard::Outcome(outcome) => {
                self.ended_one(outcome);
                // What has ended at the same moment goes along.
                while let Ok(outcome) = self.outcomes.1.try_recv() {
                    self.ended_one(outcome);
                }
            }
            Heard::Lost(worker) if worker == self.worker => self.lost(),
            Heard::Lost(_) => {}
            Heard::Changed => self.changed(),
            Heard::Stop(deadline) => self.stop_now(deadline),
            Heard::Woken => self.woken(),
        }
    }

    async fn hear(&mut self) -> Heard {
        let now = Instant::now();
        let paused_until = self.trouble.map(|(until, _)| until).filter(|at| *at > now);
        let look_at = self.look.then(|| self.next_look());
        let wake_at = [
            self.wake_at,
            paused_until,
            look_at.filter(|_| paused_until.is_none()),
            self.stopping_at(),
            self.lanes.iter().filter_map(Lane::late_at).min(),
        ];
        let wake_at = wake_at.into_iter().flatten().min();
        let listening = self.stopping.is_none();
        tokio::select! {
            biased;
            Some(outcome) = self.outcomes.1.recv() => Heard::Outcome(outcome),
            worker = self.lease.lost() => Heard::Lost(worker),
            stop = async { self.stop.wait_for(Option::is_some).await.map(|stop| *stop) },
                if listening => Heard::Stop(stop.ok().flatten().unwrap_or_default()),
            changed = self.changes.changed(), if listening => match changed {
                Ok(()) => Heard::Changed,
                // The store was closed: there is nobody left to tell.
                Err(_) => Heard::Stop(Duration::ZERO),
            },
            () = tokio::time::sleep_until(wake_at.unwrap_or(now)), if wake_at.is_some() => {
                Heard::Woken
            }
        }
    }

    /// When there is something to do for one that is stopping.
    fn stopping_at(&self) -> Option<Instant> {
        let deadline = self.stopping.filter(|_| !self.running.is_empty())?;
        Some(if self.interrupted {
            deadline + STUBBORN
        } else {
            deadline
        })
    }

    /// Takes in what there is to hear without waiting: one that always has
    /// something to do never comes to [`Dispatcher::hear`].
    fn glimpse(&mut self) {
        if self.stopping.is_none() {
            let stop = *self.stop.borrow();
            if let Some(deadline) = stop {
                return self.stop_now(deadline);
            }
            if self.lease.take_lost() == Some(self.worker) {
                self.lost();
            }
            let polled = {
                let mut changed = self.changes.changed();
                let mut context = std::task::Context::from_waker(Waker::noop());
                changed.as_mut().poll(&mut context)
            };
            match polled {
                Poll::Ready(Ok(())) => self.changed(),
                Poll::Ready(Err(_)) => return self.stop_now(Duration::ZERO),
                Poll::Pending => {}
            }
        }
        self.woken();
    }

    fn look_is_overdue(&self) -> bool {
        let overdue = |at: Instant| at.elapsed() > LOOK_OVERDUE;
        self.look && self.stopping.is_none() && self.looked_at.is_none_or(overdue)
    }

    fn changed(&mut self) {
        self.look = true;
        let hints = self.jobs.engine().hints();
        if hints != std::mem::replace(&mut self.hints, hints) {
            // Our own process: most likely there is something. Ask for it.
            for lane in &mut self.lanes {
                lane.hungry = true;
            }
        }
    }

    fn next_look(&self) -> Instant {
        let now = Instant::now();
        // One that asks in vain over and over, for whatever reason, asks ever less.
        let pause = LOOK_PAUSE * (1 << self.fruitless.min(6));
        self.looked_at.map_or(now, |at| at + pause)
    }

    fn look_is_due(&self) -> bool {
        self.look && self.stopping.is_none() && self.next_look() <= Instant::now()
    }

    /// Looks, without the write lock, at what there is and will be.
    async fn look(&mut self) {
        self.look = false;
        self.looked_at = Some(Instant::now());
        let engine = Arc::clone(self.jobs.engine());
        let now = engine.now();
        let ahead_ms = now.wall_ms - now.steady_ms;
        if (ahead_ms - self.ahead_ms).abs() >= CLOCK_STEP_MS {
            // The clock was set: delays are to be moved along.
            self.ahead_ms = ahead_ms;
            self.chores = true;
        }
        let (queues, suspect) = (Arc::clone(&self.queues), self.suspects.is_empty());
        let horizon = match engine.horizon(self.worker, queues, suspect).await {
            Ok(horizon) => horizon,
            Err(error) => {
                let (error, retry_in) = (error.to_string(), TROUBLE.1);
                self.wake_within(retry_in);
                return self.tell(|| Event::Troubled { error, retry_in });
            }
        };
        if horizon.ready {
            for lane in &mut self.lanes {
                lane.hungry = true;
            }
        }
        let due_ms = horizon.due_at_ms.map(|at| at - now.wall_ms);
        let lease_ms = horizon.lease_ends_ms.map(|at| at - now.steady_ms + 1);
        self.wake_at = None;
        if let Some(ms) = horizon.rate_wait_ms {
            self.wake_within(Duration::from_millis(ms.unsigned_abs()));
        }
        if let Some(ms) = due_ms.into_iter().chain(lease_ms).min() {
            if ms <= 0 {
                self.chores = true;
            } else {
                self.wake_within(Duration::from_millis(ms.unsigned_abs()).min(SLEEP_MAX));
            }
        }
        for id in horizon.cancelled {
            self.cancel(id);
        }
    }

    pub(super) fn wake_within(&mut self, pause: Duration) {
        let at = Instant::now() + pause;
        self.wake_at = Some(self.wake_at.map_or(at, |wake_at| wake_at.min(at)));
    }

    /// The time for something has come, or it was only the longest sleep.
    fn woken(&mut self) {
        let now = Instant::now();
        if self.stopping.is_some_and(|deadline| deadline <= now) {
            self.interrupt();
        }
        if self.wake_at.is_some_and(|at| at <= now) {
            self.wake_at = None;
            // Tells of a rate that has room again as well. To ask for jobs
            // without having looked would renew the lease of one who holds
            // nothing, at whose end the others wake up in turn.
            self.look = true;
        }
    }

    pub(super) fn tell(&self, event: impl FnOnce() -> Event) {
        if let Some(observer) = &self.settings.observer {
            // Whatever the observer does to itself, jobs go on.
            let told = catch_unwind(AssertUnwindSafe(|| observer(&event())));
            drop(told);
        }
    }
}

/// Drawn at random: a process number is used again, also by a container next
/// door that sees the same file.
pub(super) fn new_worker_id() -> i64 {
    fastrand::i64(1..)
}
