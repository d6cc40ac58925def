//! The dispatcher: exchanges jobs with the database, one tick after another,
//! and starts them.
//!
//! What it holds in memory is a copy of its claims. If it dies, the claims are
//! found by their lease; if it is wrong about one, the job's `run` has moved on
//! and its answer changes nothing.

use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::executor::{EndedRun, Executor};
use super::lease::Lease;
use super::queue_slots::QueueSlots;
use super::settings::Settings;
use crate::engine::Changes;
use crate::event::{Event, Subject};
use crate::new_job::millis;
use crate::ops::{Ack, CLOCK_STEP_MS, Claimed, End, Tick, Ticked};
use crate::{Error, JobId, Jobs, Result, State};

/// Shortest time between two checks of the tables: an app that commits all the
/// time does not make its workers read all the time.
const CHECK_PAUSE_MIN: Duration = Duration::from_millis(1);

/// A check that is due for this long goes before the next tick.
const CHECK_DELAY_MAX: Duration = Duration::from_millis(10);

/// How long after its deadline a shutdown waits for handlers that block their
/// thread.
const BLOCKED_WAIT_MAX: Duration = Duration::from_secs(2);

/// Longest sleep while something is due at a wall time, since that clock may be
/// set meanwhile.
const SLEEP_MAX: Duration = Duration::from_secs(10);

/// Pauses after a tick that failed: the first, and the longest.
const RETRY_PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// After how many ended jobs old ones are looked for again.
const PRUNE_EVERY: usize = 1000;

/// Longest deadline of a shutdown: thirty years. More could overflow a time.
const DEADLINE_MAX: Duration = Duration::from_secs(30 * 365 * 86_400);

pub(super) struct Dispatcher {
    jobs: Jobs,
    settings: Settings,
    queues: Arc<[String]>,
    /// The worker's number. A new one is drawn when the lease was lost.
    worker: i64,
    slots: Vec<QueueSlots>,
    executor: Executor,
    /// Runs that have ended and are not yet recorded.
    ended: Vec<Ended>,
    /// How many jobs of each claim have not ended.
    claims: HashMap<i64, usize>,
    suspects: HashSet<JobId>,
    changes: Box<dyn Changes>,
    lease: Lease,
    stop: watch::Receiver<Option<Duration>>,
    /// When a shutdown is under way: its deadline.
    deadline: Option<Instant>,
    /// The deadline is over, and what ran was asked to end.
    interrupted: bool,
    /// For [`Event::Stopped`].
    handed_back: usize,
    interrupted_jobs: usize,
    /// The value of [`Engine::own_changes`](crate::engine::Engine::own_changes)
    /// at the last change.
    own_changes: u64,
    /// The tables have changed since they were last checked.
    check_due: bool,
    checked_at: Option<Instant>,
    /// The next tick also does maintenance.
    maintain: bool,
    wake_at: Option<Instant>,
    /// Milliseconds by which the wall clock was ahead of the monotonic one.
    ahead_ms: i64,
    /// After a tick that failed: until when to pause, and for how long.
    pause: Option<(Instant, Duration)>,
    /// The database's file was deleted or replaced: no tick will succeed any more.
    is_database_gone: bool,
    ended_since_prune: usize,
    prune_cursor: i64,
    /// Ticks in a row that asked for jobs and got none.
    empty_ticks: u32,
}

/// A run that has ended and is not yet recorded, or a claimed job that goes
/// back without having run.
struct Ended {
    ack: Ack,
    claim: i64,
    job: Arc<Claimed>,
    ran: Duration,
}

/// What ended the dispatcher's sleep.
enum Wakeup {
    Ended(EndedRun),
    LeaseLost(i64),
    Changed,
    Stop(Duration),
    Time,
}

impl Dispatcher {
    pub(super) fn new(
        jobs: Jobs,
        settings: Settings,
        stop: watch::Receiver<Option<Duration>>,
    ) -> Result<Self> {
        let engine = jobs.engine();
        let slots = settings.queues.iter();
        let slots = slots.map(|(queue, slots)| QueueSlots::new(queue.clone(), *slots));
        let now = engine.now();
        Ok(Self {
            changes: engine.changes()?,
            lease: Lease::start(Arc::clone(engine), settings.lease)?,
            own_changes: engine.own_changes(),
            queues: settings
                .queues
                .iter()
                .map(|(queue, _)| queue.clone())
                .collect(),
            worker: new_worker_number(),
            slots: slots.collect(),
            executor: Executor::new(&settings),
            ended: Vec::new(),
            claims: HashMap::new(),
            suspects: HashSet::new(),
            stop,
            deadline: None,
            interrupted: false,
            handed_back: 0,
            interrupted_jobs: 0,
            check_due: true,
            checked_at: None,
            maintain: true,
            wake_at: None,
            ahead_ms: now.wall_ms - now.steady_ms,
            pause: None,
            is_database_gone: false,
            // The first tick begins to look for old jobs.
            ended_since_prune: PRUNE_EVERY,
            prune_cursor: 0,
            empty_ticks: 0,
            jobs,
            settings,
        })
    }

    /// Works until it is stopped.
    pub(super) async fn run(mut self) {
        loop {
            self.start_claimed();
            self.receive_without_waiting();
            self.hand_back_late();
            let pausing = self.pause.is_some_and(|(until, _)| until > Instant::now());
            if !pausing && self.check_is_overdue() {
                self.check().await;
            }
            if !pausing && let Some(tick) = self.next_tick() {
                self.tick(tick).await;
                continue;
            }
            if self.may_end(pausing) {
                break;
            }
            if !pausing && self.check_is_due() {
                self.check().await;
                continue;
            }
            self.sleep().await;
        }
        self.end().await;
    }

    /// Runs what is ready, one job after another, until nothing is; returns how
    /// many ran.
    pub(super) async fn run_due(mut self) -> Result<usize> {
        let mut ran = 0;
        loop {
            self.start_claimed();
            if self.executor.running() > 0 {
                let ended = self.executor.ended().await;
                self.add_ended_run(ended);
                ran += 1;
                continue;
            }
            let maintained = self.maintain;
            let Some(tick) = self.next_tick() else { break };
            let ticked = self.jobs.engine().tick(Arc::clone(&tick)).await?;
            self.apply(&tick, ticked);
            if maintained || !tick.acks.is_empty() {
                self.expect_more(); // A job may have enqueued others.
            }
            // What a job scheduled for this very moment is due as well.
            self.maintain |= !tick.acks.is_empty();
        }
        self.end().await;
        Ok(ran)
    }

    /// True once all that ran has ended and is recorded; or, if the database
    /// refuses that or a handler does not end, once that was waited for long
    /// enough.
    fn may_end(&self, pausing: bool) -> bool {
        self.deadline.is_some_and(|deadline| {
            let now = Instant::now();
            if self.executor.running() == 0 {
                return !pausing || self.is_database_gone || now >= deadline + RETRY_PAUSES.1;
            }
            now >= deadline + BLOCKED_WAIT_MAX
        })
    }

    // Waking up.

    /// Sleeps until anything happens, and takes it in.
    async fn sleep(&mut self) {
        match self.wakeup().await {
            Wakeup::Ended(ended) => {
                self.add_ended_run(ended);
                // Those that ended at the same moment go into the same tick.
                while let Some(ended) = self.executor.try_ended() {
                    self.add_ended_run(ended);
                }
            }
            Wakeup::LeaseLost(worker) if worker == self.worker => self.lose_everything(),
            Wakeup::LeaseLost(_) => {}
            Wakeup::Changed => self.changed(),
            Wakeup::Stop(deadline) => self.begin_shutdown(deadline),
            Wakeup::Time => self.time_has_come(),
        }
    }

    async fn wakeup(&mut self) -> Wakeup {
        let now = Instant::now();
        let paused_until = self.pause.map(|(until, _)| until).filter(|at| *at > now);
        let check_at = self.check_due.then(|| self.next_check());
        let wake_at = [
            self.wake_at,
            paused_until,
            check_at.filter(|_| paused_until.is_none()),
            self.shutdown_continues_at(),
            self.slots.iter().filter_map(QueueSlots::late_at).min(),
        ];
        let wake_at = wake_at.into_iter().flatten().min();
        let listening = self.deadline.is_none();
        tokio::select! {
            biased;
            ended = self.executor.ended() => Wakeup::Ended(ended),
            worker = self.lease.lost() => Wakeup::LeaseLost(worker),
            stop = async { self.stop.wait_for(Option::is_some).await.map(|stop| *stop) },
                if listening => Wakeup::Stop(stop.ok().flatten().unwrap_or_default()),
            changed = self.changes.changed(), if listening => match changed {
                Ok(()) => Wakeup::Changed,
                // The store was closed: nothing can be recorded any more.
                Err(_) => Wakeup::Stop(Duration::ZERO),
            },
            () = tokio::time::sleep_until(wake_at.unwrap_or(now)), if wake_at.is_some() => {
                Wakeup::Time
            }
        }
    }

    /// When a shutdown has something to do next.
    fn shutdown_continues_at(&self) -> Option<Instant> {
        let deadline = self.deadline.filter(|_| self.executor.running() > 0)?;
        Some(if self.interrupted {
            deadline + BLOCKED_WAIT_MAX
        } else {
            deadline
        })
    }

    /// As [`Dispatcher::sleep`] without sleeping: a worker that always has
    /// something to do never comes to that.
    fn receive_without_waiting(&mut self) {
        if self.deadline.is_none() {
            let stop = *self.stop.borrow();
            if let Some(deadline) = stop {
                return self.begin_shutdown(deadline);
            }
            if self.lease.take_lost() == Some(self.worker) {
                self.lose_everything();
            }
            let polled = {
                let mut changed = self.changes.changed();
                let mut context = std::task::Context::from_waker(Waker::noop());
                changed.as_mut().poll(&mut context)
            };
            match polled {
                Poll::Ready(Ok(())) => self.changed(),
                Poll::Ready(Err(_)) => return self.begin_shutdown(Duration::ZERO),
                Poll::Pending => {}
            }
        }
        self.time_has_come();
    }

    fn changed(&mut self) {
        self.check_due = true;
        let own_changes = self.jobs.engine().own_changes();
        if own_changes != std::mem::replace(&mut self.own_changes, own_changes) {
            // By this process: most likely there is a job. Ask for it at once.
            self.expect_more();
        }
    }

    fn expect_more(&mut self) {
        for slots in &mut self.slots {
            slots.expect_more();
        }
    }

    fn wake_within(&mut self, pause: Duration) {
        let at = Instant::now() + pause;
        self.wake_at = Some(self.wake_at.map_or(at, |wake_at| wake_at.min(at)));
    }

    /// The time for something may have come, or it was only the longest sleep.
    fn time_has_come(&mut self) {
        let now = Instant::now();
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            self.interrupt();
        }
        if self.wake_at.is_some_and(|at| at <= now) {
            self.wake_at = None;
            // Checked first, also for a rate that admits jobs again. To ask for
            // jobs at once would renew the lease of a worker that holds
            // nothing, and the others would wake up at its end in turn.
            self.check_due = true;
        }
    }

    // Checking the tables, without the write lock.

    fn next_check(&self) -> Instant {
        // A worker that asks for jobs in vain over and over, for whatever
        // reason, asks ever less often.
        let pause = CHECK_PAUSE_MIN * (1 << self.empty_ticks.min(6));
        self.checked_at.map_or_else(Instant::now, |at| at + pause)
    }

    fn check_is_due(&self) -> bool {
        self.check_due && self.deadline.is_none() && self.next_check() <= Instant::now()
    }

    fn check_is_overdue(&self) -> bool {
        let overdue = |at: Instant| at.elapsed() > CHECK_DELAY_MAX;
        self.check_due && self.deadline.is_none() && self.checked_at.is_none_or(overdue)
    }

    /// Reads whether there is something to do, and when there will be.
    async fn check(&mut self) {
        self.check_due = false;
        self.checked_at = Some(Instant::now());
        let engine = Arc::clone(self.jobs.engine());
        let now = engine.now();
        let ahead_ms = now.wall_ms - now.steady_ms;
        if (ahead_ms - self.ahead_ms).abs() >= CLOCK_STEP_MS {
            // The clock was set: maintenance moves delays along.
            self.ahead_ms = ahead_ms;
            self.maintain = true;
        }
        let (queues, suspect) = (Arc::clone(&self.queues), self.suspects.is_empty());
        let next = match engine.next_wakeup(self.worker, queues, suspect).await {
            Ok(next) => next,
            Err(error) => {
                let (error, retry_in) = (error.to_string(), RETRY_PAUSES.1);
                self.wake_within(retry_in);
                return self.observe(|| Event::TickFailed { error, retry_in });
            }
        };
        if next.ready {
            self.expect_more();
        }
        let due_ms = next.due_at_ms.map(|at| at - now.wall_ms);
        let lease_ms = next.lease_ends_ms.map(|at| at - now.steady_ms + 1);
        self.wake_at = None;
        if let Some(ms) = next.rate_wait_ms {
            self.wake_within(Duration::from_millis(ms.unsigned_abs()));
        }
        if let Some(ms) = due_ms.into_iter().chain(lease_ms).min() {
            if ms <= 0 {
                self.maintain = true;
            } else {
                self.wake_within(Duration::from_millis(ms.unsigned_abs()).min(SLEEP_MAX));
            }
        }
        for id in next.cancelled {
            self.cancel(id);
        }
    }

    // One tick.

    /// What there is to record, or to ask for.
    fn next_tick(&mut self) -> Option<Arc<Tick>> {
        let suspect = self.suspects.is_empty();
        let mut wants = Vec::new();
        if self.deadline.is_none() {
            wants.extend(self.slots.iter().filter_map(|slots| slots.want(suspect)));
        }
        let maintain = self.maintain && self.deadline.is_none();
        if self.ended.is_empty() && wants.is_empty() && !maintain {
            return None;
        }
        let mut forget = Vec::new();
        for ended in &self.ended {
            if let Some(left) = self.claims.get_mut(&ended.claim) {
                *left -= 1;
                if *left == 0 {
                    self.claims.remove(&ended.claim);
                    forget.push(ended.claim);
                }
            }
        }
        // Once begun it continues with each tick, a page at a time.
        let prune = self.prune_cursor > 0 || self.ended_since_prune >= PRUNE_EVERY;
        let settings = &self.settings;
        Some(Arc::new(Tick {
            worker: self.worker,
            name: settings.name.clone(),
            lease_ms: millis(settings.lease),
            holds: !self.claims.is_empty() || !forget.is_empty(),
            acks: self.ended.iter().map(|ended| ended.ack.clone()).collect(),
            forget,
            wants,
            maintain,
            prune: prune.then_some(self.prune_cursor),
            leave: false,
            retention: settings.retention,
            max_crashes: settings.max_crashes,
        }))
    }

    /// Does a tick; jobs run and end meanwhile.
    async fn tick(&mut self, tick: Arc<Tick>) {
        let engine = Arc::clone(self.jobs.engine());
        let result = {
            let mut ticking = engine.tick(Arc::clone(&tick));
            loop {
                tokio::select! {
                    biased;
                    result = &mut ticking => break result,
                    ended = self.executor.ended() => {
                        self.add_ended_run(ended);
                        self.start_claimed();
                    }
                }
            }
        };
        match result {
            Ok(ticked) => {
                (self.pause, self.is_database_gone) = (None, false);
                self.apply(&tick, ticked);
            }
            Err(error) => {
                // Nothing of it was kept: the same goes into a later tick.
                for claim in &tick.forget {
                    self.claims.insert(*claim, 0);
                }
                for ended in self.ended.iter().take(tick.acks.len()) {
                    *self.claims.entry(ended.claim).or_insert(0) += 1;
                }
                let last = self.pause.map_or(RETRY_PAUSES.0, |(_, pause)| pause * 2);
                let pause = last.min(RETRY_PAUSES.1);
                self.pause = Some((Instant::now() + pause, pause));
                self.is_database_gone =
                    matches!(error, Error::Store(monolite_store::Error::Moved { .. }));
                let error = error.to_string();
                self.observe(|| Event::TickFailed {
                    error,
                    retry_in: pause,
                });
            }
        }
    }

    /// Takes in what came of a tick.
    fn apply(&mut self, tick: &Tick, ticked: Ticked) {
        // Those of this tick are the first.
        let recorded: Vec<_> = self.ended.drain(..tick.acks.len()).collect();
        for (ended, state) in recorded.into_iter().zip(ticked.ended) {
            self.suspects.remove(&ended.job.id);
            self.observe(|| ended_event(&ended, state));
        }
        if tick.maintain {
            self.maintain = ticked.more;
            self.check_due = true;
        }
        if tick.prune.is_some() {
            self.ended_since_prune = 0;
            self.prune_cursor = ticked.cursor;
        }
        self.ended_since_prune += tick.acks.len();
        for (id, state) in ticked.recovered {
            self.observe(|| Event::Recovered { id, state });
        }
        for (name, id) in ticked.fired {
            self.observe(|| Event::Fired { name, id });
        }
        if ticked.lost {
            return self.lose_everything();
        }
        let nothing = ticked.claims.iter().all(Option::is_none);
        if !nothing || tick.wants.is_empty() {
            self.empty_ticks = 0;
        } else if tick.acks.is_empty() {
            self.empty_ticks += 1;
        }
        let mut events = Vec::new();
        for (want, claim) in tick.wants.iter().zip(ticked.claims) {
            let slots = self.slots.iter_mut();
            let Some(slots) = slots.into_iter().find(|slots| slots.queue() == want.queue) else {
                continue;
            };
            if let Some(claim) = &claim {
                self.claims.insert(claim.id, claim.jobs.len());
                let suspects = claim.jobs.iter().filter(|job| job.suspect);
                self.suspects.extend(suspects.map(|job| job.id));
                let (queue, count) = (want.queue.clone(), claim.jobs.len());
                events.push(Event::Claimed { queue, count });
            }
            slots.add(want, claim);
        }
        for event in events {
            self.observe(|| event);
        }
        if let Some(ms) = ticked.wait_ms {
            self.wake_within(Duration::from_millis(ms.unsigned_abs()));
        }
        let holds = !self.claims.is_empty();
        self.lease.hold(holds.then_some(self.worker));
    }

    // Jobs.

    /// Starts what was claimed, as far as slots are free.
    fn start_claimed(&mut self) {
        for queue in 0..self.slots.len() {
            while let Some((claim, job)) = self.slots.get_mut(queue).and_then(QueueSlots::next) {
                if self.settings.observer.is_some() {
                    let waited_ms = self.jobs.now().wall_ms - job.enqueued_at_ms;
                    let waited = Duration::from_millis(waited_ms.max(0).unsigned_abs());
                    let job = subject(&job);
                    self.observe(|| Event::Started { job, waited });
                }
                self.executor.start(&self.jobs, queue, claim, job);
            }
        }
    }

    fn add_ended_run(&mut self, ended: EndedRun) {
        if let Some(slots) = self.slots.get_mut(ended.queue) {
            slots.free_one();
        }
        self.add_ended(ended.claim, ended.job, ended.end, ended.ran);
    }

    fn add_ended(&mut self, claim: i64, job: Arc<Claimed>, end: End, ran: Duration) {
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

    fn hand_back(&mut self, jobs: Vec<(i64, Claimed)>) {
        for (claim, job) in jobs {
            self.add_ended(claim, Arc::new(job), End::HandedBack, Duration::ZERO);
        }
    }

    /// Hands back what has waited too long for a slot: another process may have
    /// a free one.
    fn hand_back_late(&mut self) {
        let late = self.slots.iter_mut().flat_map(QueueSlots::take_late);
        let late = late.collect();
        self.hand_back(late);
    }

    /// Asks a job to end that runs here, or ends it if it has not started.
    fn cancel(&mut self, id: JobId) {
        if self.executor.cancel(id) {
            return;
        }
        let waiting = self.slots.iter_mut().find_map(|slots| slots.remove(id));
        if let Some((claim, job)) = waiting {
            self.add_ended(claim, Arc::new(job), End::Cancelled, Duration::ZERO);
        }
    }

    /// The lease has expired and other workers have our jobs: stops them here,
    /// and continues as a new worker.
    fn lose_everything(&mut self) {
        let mut jobs = self.executor.abort_all();
        for slots in &mut self.slots {
            jobs += slots.drain().count();
            slots.reset();
        }
        self.ended.clear();
        self.claims.clear();
        self.suspects.clear();
        self.lease.hold(None);
        self.worker = new_worker_number();
        self.check_due = true;
        self.observe(|| Event::Lost { jobs });
    }

    // The end.

    fn begin_shutdown(&mut self, deadline: Duration) {
        self.deadline = Some(Instant::now() + deadline.min(DEADLINE_MAX));
        let back: Vec<_> = self.slots.iter_mut().flat_map(QueueSlots::drain).collect();
        self.handed_back += back.len();
        self.hand_back(back);
        if deadline.is_zero() {
            self.interrupt();
        }
    }

    /// The deadline is over: asks what still runs to end. A job whose handler
    /// blocks its thread keeps its claim, and goes to another worker when the
    /// lease expires.
    fn interrupt(&mut self) {
        if !std::mem::replace(&mut self.interrupted, true) {
            self.interrupted_jobs = self.executor.running();
            self.executor.hand_back_all();
        }
    }

    /// The last tick: removes the worker's row.
    async fn end(self) {
        self.lease.hold(None);
        // What could not be recorded is still claimed, and a claim is found only
        // by its worker's lease: then that is left to expire.
        if self.claims.is_empty() && self.ended.is_empty() {
            let tick = Tick {
                worker: self.worker,
                name: String::new(),
                lease_ms: 0,
                holds: false,
                acks: Vec::new(),
                forget: Vec::new(),
                wants: Vec::new(),
                maintain: false,
                prune: None,
                leave: true,
                retention: self.settings.retention,
                max_crashes: 1,
            };
            // If it fails, the lease expires.
            let _ = self.jobs.engine().tick(Arc::new(tick)).await;
        }
        self.observe(|| Event::Stopped {
            handed_back: self.handed_back,
            interrupted: self.interrupted_jobs,
        });
    }

    fn observe(&self, event: impl FnOnce() -> Event) {
        if let Some(observer) = &self.settings.observer {
            // A panic of the observer does not stop the jobs.
            let _ = catch_unwind(AssertUnwindSafe(|| observer(&event())));
        }
    }
}

/// Drawn at random: a process number is used again, also in another container
/// that uses the same file.
fn new_worker_number() -> i64 {
    fastrand::i64(1..)
}

fn subject(job: &Claimed) -> Subject {
    Subject {
        id: job.id,
        kind: job.kind.clone(),
        queue: job.queue.clone(),
        attempt: job.attempt,
    }
}

fn ended_event(ended: &Ended, state: Option<State>) -> Event {
    let (job, ran) = (subject(&ended.job), ended.ran);
    let Some(state) = state else {
        return Event::Stale { job, ran };
    };
    let error = match &ended.ack.end {
        End::Failed { error, .. } => Some(error.clone()),
        _ => None,
    };
    Event::Ended {
        job,
        state,
        ran,
        error,
    }
}
