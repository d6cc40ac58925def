//! Who may pass: the gate's phase, and every permit that a connection or a
//! request holds on its way.
//!
//! | permit | held by | from | to |
//! |---|---|---|---|
//! | [`ConnectionPermit`] | a connection, its tunnel | accept | close |
//! | [`HeldRequest`] | a request | its head is read | the app answers |
//! | [`WritePermit`] | a state-changing request | before the app | the app is done |
//! | [`AppPermit`] | a request | the gate is open | the response ends |
//!
//! Each gives back what it counts when it is dropped.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::{AcquireError, Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, timeout_at};

use crate::config::Config;
use crate::error_pages::Refusal;
use crate::idle::{IdleConnection, IdleConnections};
use crate::precondition::Precondition;
use crate::spool::SpoolDir;
use crate::upstream::Upstream;

/// How long a new connection waits for a slot before it is looked again for an idle one
/// to close.
const IDLE_LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// How long a request waits before the precondition is asked for again, at most.
const PRECONDITION_PAUSE: Duration = Duration::from_millis(500);
/// No client waits longer, whatever the configuration says.
const HOLD_TIME_MAX: Duration = Duration::from_secs(24 * 3600);

/// File descriptors left to the rest of the process: databases, logs, files of
/// bodies.
const DESCRIPTORS_OTHER: u64 = 200;

/// How many connections the descriptors of this process allow, when each needs
/// another one to the app.
fn descriptors_max() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let Some(limit) = limit else {
        return usize::MAX;
    };
    // Of very few, most.
    let other = DESCRIPTORS_OTHER.min(limit / 4);
    usize::try_from((limit - other) / 2).unwrap_or(usize::MAX)
}

/// What the gate does with a request that comes now.
#[derive(Clone)]
pub(crate) enum Phase {
    /// It waits.
    Holding,
    /// It passes.
    Open(Arc<Upstream>),
    /// It is refused: the app is not coming back.
    Closed,
}

/// What went through a gate since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Requests received, without those for internal routes.
    pub requests: u64,
    /// Requests that had to wait.
    pub held: u64,
    /// Requests answered by the gate instead of the app.
    pub refused: u64,
    /// Requests sent to the app again after it broke the connection.
    pub replayed: u64,
    /// Requests waiting now.
    pub held_now: usize,
    /// Requests in the app now.
    pub in_flight: usize,
}

/// Signs of life of the instance of the app that requests pass to, counted since [`Gate::open`].
///
/// [`Gate::open`]: crate::Gate::open
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AppActivity {
    /// Heads and pieces of responses that came from it, and signs that it takes a request that is
    /// still being sent.
    pub progress: u64,
    /// Requests that were answered 504.
    pub late: u64,
}

/// Since the gate was made; see [`Stats`].
#[derive(Default)]
pub(crate) struct Totals {
    pub(crate) requests: AtomicU64,
    held: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) replayed: AtomicU64,
}

/// The state of one gate that all its connections share.
pub(crate) struct Admission {
    pub(crate) config: Config,
    pub(crate) totals: Totals,
    phase: watch::Sender<Phase>,
    /// Without it no request passes, also while the gate is open.
    precondition: OnceLock<Arc<dyn Precondition>>,
    /// True once the gate stops accepting.
    stopping: watch::Sender<bool>,
    /// One permit for each state-changing request that may be in the app.
    writes: Option<Arc<Semaphore>>,
    in_app: Counter,
    connections: Counter,
    tunnels: Counter,
    /// Most connections that may be open, once it is known.
    connections_max: OnceLock<usize>,
    connections_warning: RareWarning,
    /// The client connections that wait for a request.
    idle: IdleConnections,
    /// One permit for each open connection and tunnel.
    connection_slots: Arc<Semaphore>,
    /// Earlier instances of the app: they get no more requests, but may still
    /// be answering some.
    retiring: Mutex<Vec<Arc<Upstream>>>,
    held: AtomicUsize,
    held_bytes: AtomicUsize,
    /// Bytes of bodies in the memory of the gate.
    kept_bytes: AtomicUsize,
    /// Where bodies go that are too long for memory.
    pub(crate) spool: Option<Arc<SpoolDir>>,
    spool_warning: RareWarning,
}

impl Admission {
    /// Begins by holding.
    pub(crate) fn new(mut config: Config) -> Self {
        config.hold_time = config.hold_time.min(HOLD_TIME_MAX);
        let semaphore =
            |permits: usize| Arc::new(Semaphore::new(permits.clamp(1, Semaphore::MAX_PERMITS)));
        Self {
            writes: config.write_concurrency.map(semaphore),
            connection_slots: semaphore(config.connections),
            connections_max: OnceLock::new(),
            connections_warning: RareWarning::default(),
            idle: IdleConnections::default(),
            spool: config
                .buffer_dir
                .take()
                .map(|directory| SpoolDir::new(directory, config.buffer_files)),
            config,
            totals: Totals::default(),
            phase: watch::Sender::new(Phase::Holding),
            precondition: OnceLock::new(),
            stopping: watch::Sender::new(false),
            in_app: Counter::default(),
            connections: Counter::default(),
            tunnels: Counter::default(),
            retiring: Mutex::default(),
            held: AtomicUsize::new(0),
            held_bytes: AtomicUsize::new(0),
            kept_bytes: AtomicUsize::new(0),
            spool_warning: RareWarning::default(),
        }
    }

    /// Counts `bytes` of bodies kept in memory; false if they are too many.
    /// They are counted nevertheless, until [`Admission::give_bytes_back`].
    pub(crate) fn keep_bytes(&self, bytes: usize) -> bool {
        let kept = self.kept_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        kept <= self.config.buffer_memory
    }

    pub(crate) fn give_bytes_back(&self, bytes: usize) {
        self.kept_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Reports that no file could be written, now and then.
    pub(crate) fn warn_of_spool(&self, error: &std::io::Error) {
        if self.spool_warning.is_due() {
            tracing::warn!(
                %error,
                "cannot buffer a body in a file; slow clients keep the app's workers waiting"
            );
        }
    }

    pub(crate) fn phase(&self) -> watch::Ref<'_, Phase> {
        self.phase.borrow()
    }

    pub(crate) fn set_phase(&self, phase: Phase) {
        let old = self.phase.send_replace(phase);
        if let Phase::Open(old) = old {
            let mut retiring = self.retiring.lock().unwrap_or_else(PoisonError::into_inner);
            retiring.push(old);
        }
    }

    /// Waits until no request is in the app, except endless ones; false if
    /// that took longer than `limit`. Then ends the endless ones.
    pub(crate) async fn drain(&self, limit: Duration) -> bool {
        let drained = self.in_app.zero_before(Instant::now() + limit).await;
        let mut retiring = self.retiring.lock().unwrap_or_else(PoisonError::into_inner);
        for upstream in retiring.drain(..) {
            upstream.retire();
        }
        drained
    }

    pub(crate) fn stop(&self) {
        self.stopping.send_replace(true);
    }

    /// Waits until [`Admission::stop`] was called.
    pub(crate) async fn stopped(&self) {
        let mut stopping = self.stopping.subscribe();
        // Fails only when the sender is gone, and `self` holds it.
        let _ = stopping.wait_for(|stopping| *stopping).await;
    }

    /// Waits until every connection is closed; false if that took longer than
    /// `limit`.
    pub(crate) async fn closed(&self, limit: Duration) -> bool {
        self.connections.zero_before(Instant::now() + limit).await
    }

    /// Waits until every connection is closed, however long that takes.
    pub(crate) async fn all_closed(&self) {
        self.connections.zero().await;
    }

    /// Counts a tunnel until the value is dropped.
    pub(crate) fn tunnel(&self) -> Counted {
        self.tunnels.count()
    }

    /// Waits until every connection and every tunnel is closed.
    pub(crate) async fn all_ended(&self) {
        self.all_closed().await;
        self.tunnels.zero().await;
    }

    pub(crate) fn stats(&self) -> Stats {
        Stats {
            requests: self.totals.requests.load(Ordering::Relaxed),
            held: self.totals.held.load(Ordering::Relaxed),
            refused: self.totals.refused.load(Ordering::Relaxed),
            replayed: self.totals.replayed.load(Ordering::Relaxed),
            held_now: self.held.load(Ordering::Relaxed),
            in_flight: self.in_app.now(),
        }
    }

    /// What the instance of the app has done that requests pass to; `None` if they do not pass.
    pub(crate) fn activity(&self) -> Option<AppActivity> {
        let Phase::Open(upstream) = &*self.phase.borrow() else {
            return None;
        };
        let activity = &upstream.activity;
        Some(AppActivity {
            progress: activity.progress.load(Ordering::Relaxed),
            late: activity.late.load(Ordering::Relaxed),
        })
    }

    /// Most connections that may be open: as many as the configuration says, or
    /// as the process's descriptors allow. Asked for when the first one comes,
    /// since a process may raise its limit before.
    fn connections_max(&self) -> usize {
        *self.connections_max.get_or_init(|| {
            let configured = self.config.connections.clamp(1, Semaphore::MAX_PERMITS);
            let max = configured.min(descriptors_max()).max(1);
            self.connection_slots.forget_permits(configured - max);
            if max < configured {
                tracing::warn!(
                    connections = max,
                    "the limit of file descriptors (ulimit -n) allows fewer connections than {configured}"
                );
            }
            max
        })
    }

    /// Waits until one connection more may be open. If there are too many, the
    /// one that is idle longest is closed.
    pub(crate) async fn connection_slot(&self) -> Result<OwnedSemaphorePermit, AcquireError> {
        let limit = self.connections_max();
        if let Ok(slot) = Arc::clone(&self.connection_slots).try_acquire_owned() {
            return Ok(slot);
        }
        if self.connections_warning.is_due() {
            tracing::warn!(
                open = self.connections.now(),
                limit,
                "as many connections as may be open are open; idle ones are closed for new ones \
                 (more file descriptors, ulimit -n, allow more)"
            );
        }
        loop {
            self.idle.end_longest();
            let slot = Arc::clone(&self.connection_slots).acquire_owned();
            // Others may have become idle meanwhile.
            if let Ok(slot) = timeout_at(Instant::now() + IDLE_LOOK_INTERVAL, slot).await {
                return slot;
            }
        }
    }

    /// The system does not give another connection: out of descriptors, most
    /// likely.
    pub(crate) fn cannot_accept(&self, error: &std::io::Error) {
        if self.connections_warning.is_due() {
            let open = self.connections.now();
            tracing::warn!(%error, open, "cannot accept connections; idle ones are closed");
        }
        self.idle.end_longest();
    }

    /// Notes that a connection is idle, until the value is dropped.
    pub(crate) fn idle_connection(&self) -> IdleConnection<'_> {
        self.idle.begin()
    }

    /// Counts a connection that is open, from before anybody serves it: a
    /// drain must not miss it.
    pub(crate) fn connected(&self, slot: OwnedSemaphorePermit) -> ConnectionPermit {
        ConnectionPermit {
            slot: Arc::new(slot),
            _counted: self.connections.count(),
        }
    }

    /// Lets a request into the app now, if the gate is open.
    ///
    /// It is counted as inside *before* the phase is read, so that a gate
    /// that closes and then finds nobody inside knows that nobody will be.
    fn try_enter(&self) -> Option<Result<AppPermit, Refusal>> {
        let counted = self.in_app.count();
        match &*self.phase.borrow() {
            Phase::Open(upstream) => Some(Ok(AppPermit {
                upstream: Arc::clone(upstream),
                counted,
            })),
            Phase::Closed => Some(Err(Refusal::ShuttingDown)),
            Phase::Holding => None,
        }
    }

    /// Sets the precondition, once.
    pub(crate) fn set_precondition(&self, precondition: Arc<dyn Precondition>) {
        let _ = self.precondition.set(precondition);
    }

    /// Whether the precondition holds; waits for as long as it takes to find out.
    pub(crate) async fn is_met(&self) -> bool {
        match self.precondition.get() {
            Some(precondition) if !precondition.holds() => precondition.establish().await,
            _ => true,
        }
    }

    /// Waits until the precondition holds, counted among the held if it does not at
    /// once.
    async fn met(self: &Arc<Self>, held: &mut HeldRequest) -> Result<(), Refusal> {
        while !self.is_met().await {
            if matches!(&*self.phase.borrow(), Phase::Closed) {
                return Err(Refusal::ShuttingDown);
            }
            held.begin(self)?;
            let mut phase = self.phase.subscribe();
            phase.mark_unchanged();
            let until = held.deadline.min(Instant::now() + PRECONDITION_PAUSE);
            let changed = timeout_at(until, phase.changed()).await;
            if changed.is_err() && Instant::now() >= held.deadline {
                return Err(Refusal::HeldTooLong);
            }
        }
        Ok(())
    }

    /// Waits until the request may enter the app, counted among the held.
    pub(crate) async fn enter(
        self: &Arc<Self>,
        held: &mut HeldRequest,
    ) -> Result<AppPermit, Refusal> {
        self.met(held).await?;
        if let Some(decided) = self.try_enter() {
            return decided;
        }
        held.begin(self)?;
        let mut phase = self.phase.subscribe();
        loop {
            // It may have ceased to hold while the request waited.
            self.met(held).await?;
            if let Some(decided) = self.try_enter() {
                return decided;
            }
            let changed = timeout_at(held.deadline, phase.changed());
            if changed.await.is_err() {
                return Err(Refusal::HeldTooLong);
            }
        }
    }

    /// True if requests pass, and to `upstream`.
    pub(crate) fn is_open_at(&self, upstream: &Arc<Upstream>) -> bool {
        matches!(&*self.phase.borrow(), Phase::Open(now) if Arc::ptr_eq(now, upstream))
    }

    /// Waits for the app to be replaced after it did not answer: until the
    /// phase changes, or for `pause`, whichever comes first.
    pub(crate) async fn wait_for_replacement(
        self: &Arc<Self>,
        held: &mut HeldRequest,
        pause: Duration,
    ) -> Result<(), Refusal> {
        held.begin(self)?;
        let mut phase = self.phase.subscribe();
        phase.mark_unchanged();
        let until = held.deadline.min(Instant::now() + pause);
        if timeout_at(until, phase.changed()).await.is_err() && Instant::now() >= held.deadline {
            return Err(Refusal::HeldTooLong);
        }
        Ok(())
    }

    /// True if the number of state-changing requests in the app is bounded.
    pub(crate) fn limits_writes(&self) -> bool {
        self.writes.is_some()
    }

    /// Waits until a state-changing request may go on to the app, first come,
    /// first served. `None` if their number has no bound.
    pub(crate) async fn write_permit(
        self: &Arc<Self>,
        held: &mut HeldRequest,
    ) -> Result<Option<WritePermit>, Refusal> {
        let Some(writes) = &self.writes else {
            return Ok(None);
        };
        let permit = match Arc::clone(writes).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                held.begin(self)?;
                let permit = timeout_at(held.deadline, Arc::clone(writes).acquire_owned()).await;
                let permit = permit.map_err(|_| Refusal::HeldTooLong)?;
                permit.map_err(|_| Refusal::ShuttingDown)?
            }
        };
        Ok(Some(WritePermit(Arc::new(Mutex::new(Some(permit))))))
    }
}

/// A connection's permit to be open.
pub(crate) struct ConnectionPermit {
    slot: Arc<OwnedSemaphorePermit>,
    _counted: Counted,
}

impl ConnectionPermit {
    /// For a tunnel, which lasts longer than the connection as HTTP: it counts
    /// as open, but nobody waits for it to close.
    pub(crate) fn for_tunnel(&self) -> Arc<OwnedSemaphorePermit> {
        Arc::clone(&self.slot)
    }
}

/// A request's permit to be in the app, and in which instance of it.
pub(crate) struct AppPermit {
    pub(crate) upstream: Arc<Upstream>,
    pub(crate) counted: Counted,
}

/// A request on its way to the app: bounded in time from its start, counted
/// while it waits.
pub(crate) struct HeldRequest {
    /// When it came, with its body.
    start: Instant,
    deadline: Instant,
    head_bytes: usize,
    /// Body bytes that were read ahead, counted until the request is done.
    body_bytes: usize,
    waiting: bool,
    /// Set when something is counted for the first time.
    admission: Option<Arc<Admission>>,
}

impl HeldRequest {
    pub(crate) fn new(admission: &Admission, head_bytes: usize) -> Self {
        let start = Instant::now();
        Self {
            start,
            deadline: start + admission.config.hold_time,
            head_bytes,
            body_bytes: 0,
            waiting: false,
            admission: None,
        }
    }

    /// Counts the request among the waiting, if the bounds allow one more.
    fn begin(&mut self, admission: &Arc<Admission>) -> Result<(), Refusal> {
        if self.waiting {
            return Ok(());
        }
        let requests = admission.held.fetch_add(1, Ordering::Relaxed) + 1;
        let bytes = admission
            .held_bytes
            .fetch_add(self.head_bytes, Ordering::Relaxed)
            + self.head_bytes;
        self.waiting = true;
        self.admission.get_or_insert_with(|| Arc::clone(admission));
        let Config {
            hold_requests,
            hold_bytes,
            ..
        } = admission.config;
        if requests > hold_requests || bytes > hold_bytes {
            return Err(Refusal::HoldFull);
        }
        admission.totals.held.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Counts `more` bytes kept in memory for this request, waiting or not;
    /// false if the gate keeps too many already.
    pub(crate) fn keep_bytes(&mut self, admission: &Arc<Admission>, more: usize) -> bool {
        self.admission.get_or_insert_with(|| Arc::clone(admission));
        self.body_bytes += more;
        admission.keep_bytes(more)
    }

    /// Gives the request its full waiting time from now on.
    pub(crate) fn restart(&mut self, admission: &Admission) {
        self.start = Instant::now();
        self.deadline = self.start + admission.config.hold_time;
    }

    /// When the request came, with its body.
    pub(crate) fn start(&self) -> Instant {
        self.start
    }

    /// The wait is over.
    pub(crate) fn end(&mut self) {
        if std::mem::take(&mut self.waiting)
            && let Some(admission) = &self.admission
        {
            admission.held.fetch_sub(1, Ordering::Relaxed);
            admission
                .held_bytes
                .fetch_sub(self.head_bytes, Ordering::Relaxed);
        }
    }
}

impl Drop for HeldRequest {
    fn drop(&mut self) {
        self.end();
        if let Some(admission) = &self.admission {
            admission.give_bytes_back(self.body_bytes);
        }
    }
}

/// A state-changing request's permit to be in the app: until dropped, or until
/// the time of [`WritePermit::release_after`] is over, whichever comes first.
pub(crate) struct WritePermit(Arc<Mutex<Option<OwnedSemaphorePermit>>>);

impl WritePermit {
    /// Bounds how long a client that reads its response slowly keeps other
    /// writes waiting.
    pub(crate) fn release_after(&self, limit: Duration) {
        let permit = Arc::downgrade(&self.0);
        tokio::spawn(async move {
            tokio::time::sleep(limit).await;
            if let Some(permit) = permit.upgrade() {
                permit.lock().unwrap_or_else(PoisonError::into_inner).take();
            }
        });
    }
}

/// Lets a warning pass once a minute.
#[derive(Default)]
pub(crate) struct RareWarning(Mutex<Option<Instant>>);

impl RareWarning {
    pub(crate) fn is_due(&self) -> bool {
        const INTERVAL: Duration = Duration::from_secs(60);
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = last.is_none_or(|last| last.elapsed() >= INTERVAL);
        if is_due {
            *last = Some(Instant::now());
        }
        is_due
    }
}

/// How many there are, with a way to wait for none.
#[derive(Default, Clone)]
struct Counter(Arc<(AtomicUsize, Notify)>);

/// One of those that the gate counts, until dropped.
pub(crate) struct Counted(Counter);

impl Counter {
    fn count(&self) -> Counted {
        self.0.0.fetch_add(1, Ordering::SeqCst);
        Counted(self.clone())
    }

    fn now(&self) -> usize {
        self.0.0.load(Ordering::SeqCst)
    }

    /// Waits for none; false if there were some until `deadline`.
    async fn zero_before(&self, deadline: Instant) -> bool {
        timeout_at(deadline, self.zero()).await.is_ok()
    }

    /// Waits for none, however long that takes.
    async fn zero(&self) {
        loop {
            let changed = self.0.1.notified();
            let mut changed = std::pin::pin!(changed);
            // Registered before the look: a decrement in between is not missed.
            changed.as_mut().enable();
            if self.now() == 0 {
                return;
            }
            changed.await;
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if self.0.0.0.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.0.1.notify_waiters();
        }
    }
}
