//! The dispatcher: takes turns with the database, and starts jobs.
//!
//! What it holds in memory is a copy of its claims. Should it die, the claims
//! are found by their lease; should it be wrong about one, the job's `run` has
//! moved on and its answer changes nothing.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::builder::Settings;
use super::context::{Context, Signal};
use super::lane::Lane;
use super::lease::Lease;
use super::run;
use crate::engine::Changes;
use crate::event::{Event, Subject};
use crate::new_job::millis;
use crate::ops::{Ack, Claimed, End, Turn, Turned};
use crate::{JobId, Jobs, Result, State};

/// Shortest time between two looks: an app that commits all the time does not
/// make its workers look all the time.
const LOOK_PAUSE: Duration = Duration::from_millis(1);

/// Longest sleep while something is due at a wall time, for that clock may be
/// set meanwhile.
const SLEEP_MAX: Duration = Duration::from_secs(10);

/// Pauses after a turn that failed: the first, and the longest.
const TROUBLE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// Ended jobs after which old ones are looked for.
const PRUNE_EVERY: usize = 1000;

/// A job that runs.
struct Running {
    lane: usize,
    claim: i64,
    job: Arc<Claimed>,
    signal: Arc<Signal>,
    task: AbortHandle,
}

/// A run that has ended and is not yet recorded.
struct Ended {
    ack: Ack,
    claim: i64,
    job: Arc<Claimed>,
    ran: Duration,
}

pub(super) struct Dispatcher {
    jobs: Jobs,
    settings: Settings,
    queues: Arc<[String]>,
    worker: i64,
    lanes: Vec<Lane>,
    running: HashMap<JobId, Running>,
    ended: Vec<Ended>,
    /// Jobs of each claim that have not ended.
    claims: HashMap<i64, usize>,
    suspects: HashSet<JobId>,
    outcomes: (
        mpsc::UnboundedSender<Outcome>,
        mpsc::UnboundedReceiver<Outcome>,
    ),
    changes: Box<dyn Changes>,
    lease: Lease,
    stop: watch::Receiver<Option<Duration>>,
    stopping: Option<Instant>,
    hints: u64,
    /// Something has changed since the last look.
    look: bool,
    looked_at: Option<Instant>,
    chores: bool,
    wake_at: Option<Instant>,
    /// Milliseconds by which the wall clock was ahead of the steady one.
    ahead_ms: i64,
    trouble: Option<(Instant, Duration)>,
    ended_since_prune: usize,
    cursor: JobId,
    left: (usize, usize),
}

/// A run as its task tells it. There are no more of them than there are
/// places for jobs.
struct Outcome {
    id: JobId,
    run: i64,
    end: End,
    ran: Duration,
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
            ended_since_prune: 0,
            cursor: 0,
            left: (0, 0),
            jobs,
            settings,
        })
    }

    pub(super) async fn run(mut self) {
        loop {
            self.start_waiting();
            let pausing = self
                .trouble
                .is_some_and(|(until, _)| until > Instant::now());
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
    /// does not take it, once that has been tried long enough.
    fn may_go(&self, pausing: bool) -> bool {
        self.stopping.is_some_and(|deadline| {
            let patient = Instant::now() < deadline + TROUBLE.1;
            self.running.is_empty() && !(pausing && patient)
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
            self.chores = !turn.acks.is_empty();
        }
        self.stopped().await;
        Ok(ran)
    }

    /// What there is to tell the database, or to ask it for.
    fn next_turn(&mut self) -> Option<Arc<Turn>> {
        // One at a time, and in one lane: the one asked first.
        let mut suspect = self.suspects.is_empty();
        let mut wants = Vec::new();
        if self.stopping.is_none() {
            for lane in &self.lanes {
                if let Some(want) = lane.want(suspect) {
                    suspect = suspect && !want.suspect;
                    wants.push(want);
                }
            }
        }
        let chores = self.chores && self.stopping.is_none();
        if self.ended.is_empty() && wants.is_empty() && !chores {
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
        let prune = self.ended_since_prune >= PRUNE_EVERY;
        let settings = &self.settings;
        Some(Arc::new(Turn {
            worker: self.worker,
            name: settings.name.clone(),
            lease_ms: millis(settings.lease),
            holds: !self.claims.is_empty() || !forget.is_empty(),
            acks: self.ended.iter().map(|ended| ended.ack.clone()).collect(),
            forget,
            wants,
            chores,
            prune: prune.then_some(self.cursor),
            leave: false,
            retention: settings.retention,
            max_attempts: settings.rules.max_attempts,
            max_crashes: settings.max_crashes,
        }))
    }

    /// Takes a turn, until the database has taken it. Jobs go on meanwhile.
    async fn take(&mut self, turn: Arc<Turn>) {
        let engine = Arc::clone(self.jobs.engine());
        // Those of this turn are first in line.
        let reported = turn.acks.len();
        let result = {
            let mut taking = engine.turn(Arc::clone(&turn));
            loop {
                tokio::select! {
                    biased;
                    result = &mut taking => break result,
                    Some(outcome) = self.outcomes.1.recv() => {
                        self.ended_one(outcome);
                        self.start_waiting();
                    }
                }
            }
        };
        match result {
            Ok(turned) => {
                self.trouble = None;
                debug_assert!(reported <= self.ended.len());
                self.turned(&turn, turned);
            }
            Err(error) => {
                // Nothing of it was kept: the same is told again later.
                for claim in &turn.forget {
                    self.claims.insert(*claim, 0);
                }
                for ack in self.ended.iter().take(reported) {
                    *self.claims.entry(ack.claim).or_insert(0) += 1;
                }
                let last = self.trouble.map_or(TROUBLE.0, |(_, pause)| pause * 2);
                let pause = last.min(TROUBLE.1);
                self.trouble = Some((Instant::now() + pause, pause));
                let error = error.to_string();
                self.tell(|| Event::Troubled {
                    error,
                    retry_in: pause,
                });
            }
        }
    }

    fn turned(&mut self, turn: &Turn, turned: Turned) {
        let reported: Vec<_> = self.ended.drain(..turn.acks.len()).collect();
        for (ended, state) in reported.into_iter().zip(turned.ended) {
            self.suspects.remove(&ended.job.id);
            self.tell(|| told(&ended, state));
        }
        if turn.chores {
            self.chores = turned.more;
            self.look = true;
        }
        if turn.prune.is_some() {
            self.ended_since_prune = 0;
            self.cursor = turned.cursor;
        }
        self.ended_since_prune += turn.acks.len();
        for (id, state) in turned.recovered {
            self.tell(|| Event::Recovered { id, state });
        }
        for (name, id) in turned.fired {
            self.tell(|| Event::Fired { name, id });
        }
        if turned.lost {
            return self.lost();
        }
        for (want, claim) in turn.wants.iter().zip(turned.claims) {
            let lane = self.lanes.iter_mut().find(|lane| lane.queue == want.queue);
            let Some(lane) = lane else { continue };
            if let Some(claim) = &claim {
                self.claims.insert(claim.id, claim.jobs.len());
                let suspects = claim.jobs.iter().filter(|job| job.suspect);
                self.suspects.extend(suspects.map(|job| job.id));
                let (queue, count) = (lane.queue.clone(), claim.jobs.len());
                if let Some(observer) = &self.settings.observer {
                    observer(&Event::Claimed { queue, count });
                }
            }
            lane.claimed(want, claim);
        }
        if let Some(ms) = turned.wait_ms {
            self.wake_within(Duration::from_millis(ms.unsigned_abs()));
        }
        let holds = !self.claims.is_empty();
        self.lease.hold(holds.then_some(self.worker));
    }

    /// Starts what was claimed, as far as there are places.
    fn start_waiting(&mut self) {
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
            let (end, ran) = run::run(handler, context, rules).await;
            // Nobody there: the worker was dropped with its runtime.
            let _ = outcomes.send(Outcome {
                id,
                run: run_number,
                end,
                ran,
            });
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

    fn ended_one(&mut self, outcome: Outcome) {
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
            self.stopping.filter(|_| !self.running.is_empty()),
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
        self.looked_at.map_or(now, |at| at + LOOK_PAUSE)
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
        self.ahead_ms = now.wall_ms - now.steady_ms;
        let Ok(horizon) = engine.horizon(self.worker, Arc::clone(&self.queues)).await else {
            // A reader that fails: the next turn will say more.
            self.look = true;
            self.wake_within(TROUBLE.0);
            return;
        };
        if horizon.ready {
            for lane in &mut self.lanes {
                lane.hungry = true;
            }
        }
        let due_ms = horizon.due_at_ms.map(|at| at - now.wall_ms);
        let lease_ms = horizon.lease_ends_ms.map(|at| at - now.steady_ms + 1);
        self.wake_at = None;
        if let Some(ms) = due_ms.into_iter().chain(lease_ms).min() {
            if ms <= 0 {
                self.chores = true;
            } else {
                self.wake_within(Duration::from_millis(ms.unsigned_abs()).min(SLEEP_MAX));
            }
        }
        for id in horizon.cancelled {
            if let Some(running) = self.running.get(&id) {
                running.signal.raise();
            }
        }
    }

    fn wake_within(&mut self, pause: Duration) {
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
            self.look = true;
            for lane in &mut self.lanes {
                lane.hungry = true; // A rate may have room again.
            }
        }
    }

    /// Our jobs have gone to others: stops them here, and begins anew.
    fn lost(&mut self) {
        let mut jobs = self.running.len();
        for (_, running) in self.running.drain() {
            running.signal.raise();
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

    fn stop_now(&mut self, deadline: Duration) {
        self.stopping = Some(Instant::now() + deadline);
        let mut back = Vec::new();
        for lane in &mut self.lanes {
            back.extend(lane.drain());
        }
        self.left.0 += back.len();
        for (claim, job) in back {
            self.push_ended(claim, Arc::new(job), End::HandedBack, Duration::ZERO);
        }
        if deadline.is_zero() {
            self.interrupt();
        }
    }

    /// Stops what still runs, and hands it back.
    fn interrupt(&mut self) {
        let running: Vec<_> = self.running.drain().map(|(_, running)| running).collect();
        self.left.1 += running.len();
        for running in running {
            running.signal.raise();
            running.task.abort();
            self.finished(running, End::HandedBack, Duration::ZERO);
        }
    }

    /// The last turn: takes the worker's row out.
    async fn stopped(self) {
        self.lease.hold(None);
        let turn = Turn {
            worker: self.worker,
            name: String::new(),
            lease_ms: 0,
            holds: false,
            acks: Vec::new(),
            forget: Vec::new(),
            wants: Vec::new(),
            chores: false,
            prune: None,
            leave: true,
            retention: self.settings.retention,
            max_attempts: 1,
            max_crashes: 1,
        };
        // Should it fail, the lease ends by itself.
        let _ = self.jobs.engine().turn(Arc::new(turn)).await;
        let (handed_back, interrupted) = self.left;
        self.tell(|| Event::Stopped {
            handed_back,
            interrupted,
        });
    }

    fn tell(&self, event: impl FnOnce() -> Event) {
        if let Some(observer) = &self.settings.observer {
            observer(&event());
        }
    }
}

/// Drawn at random: a process number is used again, also by a container next
/// door that sees the same file.
fn new_worker_id() -> i64 {
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

fn told(ended: &Ended, state: Option<State>) -> Event {
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
