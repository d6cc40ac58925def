//! Whether requests may pass, who waits, and who is inside.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::Instant;

use crate::answer::Refusal;
use crate::config::Config;
use crate::health::Health;
use crate::upstream::Upstream;

/// No client waits longer, whatever the configuration says.
const LONGEST_HOLD: Duration = Duration::from_secs(24 * 3600);

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

pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) phase: watch::Sender<Phase>,
    /// True once the gate stops accepting.
    pub(crate) stopping: watch::Sender<bool>,
    pub(crate) lane: Option<Arc<Semaphore>>,
    pub(crate) inside: Count,
    pub(crate) connections: Count,
    /// A place for each open connection and tunnel.
    pub(crate) places: Arc<Semaphore>,
    /// Apps that get no more requests, with perhaps some still inside.
    retiring: Mutex<Vec<Arc<Upstream>>>,
    held: AtomicUsize,
    held_bytes: AtomicUsize,
    pub(crate) totals: Totals,
    pub(crate) health: Health,
}

#[derive(Default)]
pub(crate) struct Totals {
    pub(crate) requests: AtomicU64,
    pub(crate) held: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) replayed: AtomicU64,
}

impl Shared {
    pub(crate) fn new(mut config: Config) -> Self {
        config.hold_time = config.hold_time.min(LONGEST_HOLD);
        let places = Arc::new(Semaphore::new(config.connections.max(1)));
        Self {
            lane: config
                .write_concurrency
                .map(|n| Arc::new(Semaphore::new(n.clamp(1, Semaphore::MAX_PERMITS)))),
            config,
            phase: watch::Sender::new(Phase::Holding),
            stopping: watch::Sender::new(false),
            inside: Count::default(),
            connections: Count::default(),
            places,
            retiring: Mutex::default(),
            held: AtomicUsize::new(0),
            held_bytes: AtomicUsize::new(0),
            totals: Totals::default(),
            health: Health::default(),
        }
    }

    pub(crate) fn lock_retiring(&self) -> MutexGuard<'_, Vec<Arc<Upstream>>> {
        self.retiring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn held_now(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// Lets a request in to the app now, if the gate is open.
    ///
    /// It is counted as inside *before* the phase is looked at, so that a gate
    /// that closes and then finds nobody inside knows that nobody will be.
    pub(crate) fn try_enter(self: &Arc<Self>) -> Option<Result<Entry, Refusal>> {
        let inside = self.inside.enter();
        match &*self.phase.borrow() {
            Phase::Open(upstream) => Some(Ok(Entry {
                upstream: Arc::clone(upstream),
                inside,
            })),
            Phase::Closed => Some(Err(Refusal::ShuttingDown)),
            Phase::Holding => None,
        }
    }

    /// Waits until the request may enter, in its place among the held.
    pub(crate) async fn enter(self: &Arc<Self>, hold: &mut Hold) -> Result<Entry, Refusal> {
        if let Some(decided) = self.try_enter() {
            return decided;
        }
        hold.begin(self)?;
        let mut phase = self.phase.subscribe();
        loop {
            if let Some(decided) = self.try_enter() {
                return decided;
            }
            let changed = tokio::time::timeout_at(hold.deadline, phase.changed());
            if changed.await.is_err() {
                return Err(Refusal::HeldTooLong);
            }
        }
    }

    /// True if requests pass, and to `upstream`.
    pub(crate) fn is_open_at(&self, upstream: &Arc<Upstream>) -> bool {
        matches!(&*self.phase.borrow(), Phase::Open(now) if Arc::ptr_eq(now, upstream))
    }

    /// Waits a moment for the app to be replaced, after it did not answer at
    /// `upstream`: until the phase changes, or `pause` at the longest.
    pub(crate) async fn wait_for_another(
        self: &Arc<Self>,
        hold: &mut Hold,
        pause: Duration,
    ) -> Result<(), Refusal> {
        hold.begin(self)?;
        let mut phase = self.phase.subscribe();
        phase.mark_unchanged();
        let until = hold.deadline.min(Instant::now() + pause);
        if tokio::time::timeout_at(until, phase.changed())
            .await
            .is_err()
            && Instant::now() >= hold.deadline
        {
            return Err(Refusal::HeldTooLong);
        }
        Ok(())
    }
}

/// A request's right to be in the app, and which app.
pub(crate) struct Entry {
    pub(crate) upstream: Arc<Upstream>,
    pub(crate) inside: Inside,
}

/// The wait of one request: bounded in time from its start, counted while it
/// lasts.
pub(crate) struct Hold {
    pub(crate) deadline: Instant,
    bytes: usize,
    waiting: Option<Arc<Shared>>,
    /// Body bytes read ahead, until the request is done.
    kept: Option<(Arc<Shared>, usize)>,
}

impl Hold {
    pub(crate) fn new(shared: &Shared, head_bytes: usize) -> Self {
        Self {
            deadline: Instant::now() + shared.config.hold_time,
            bytes: head_bytes,
            waiting: None,
            kept: None,
        }
    }

    /// Counts the request among the held, if there is room for it.
    pub(crate) fn begin(&mut self, shared: &Arc<Shared>) -> Result<(), Refusal> {
        if self.waiting.is_some() {
            return Ok(());
        }
        let requests = shared.held.fetch_add(1, Ordering::Relaxed) + 1;
        let bytes = shared.held_bytes.fetch_add(self.bytes, Ordering::Relaxed) + self.bytes;
        self.waiting = Some(Arc::clone(shared));
        if requests > shared.config.hold_requests || bytes > shared.config.hold_bytes {
            return Err(Refusal::HoldFull);
        }
        shared.totals.held.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Counts `more` bytes kept in memory for this request, waiting or not.
    pub(crate) fn grow(&mut self, shared: &Arc<Shared>, more: usize) -> Result<(), Refusal> {
        let kept = self.kept.get_or_insert_with(|| (Arc::clone(shared), 0));
        kept.1 += more;
        let bytes = shared.held_bytes.fetch_add(more, Ordering::Relaxed) + more;
        if bytes > shared.config.hold_bytes {
            return Err(Refusal::HoldFull);
        }
        Ok(())
    }

    /// Counts the time from now.
    pub(crate) fn restart(&mut self, shared: &Shared) {
        self.deadline = Instant::now() + shared.config.hold_time;
    }

    /// The wait is over.
    pub(crate) fn end(&mut self) {
        if let Some(shared) = self.waiting.take() {
            shared.held.fetch_sub(1, Ordering::Relaxed);
            shared.held_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.end();
        if let Some((shared, bytes)) = self.kept.take() {
            shared.held_bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
    }
}

/// How many are inside, with a way to wait for none.
#[derive(Default, Clone)]
pub(crate) struct Count(Arc<(AtomicUsize, Notify)>);

/// One of a [`Count`], until dropped.
pub(crate) struct Inside(Count);

impl Count {
    pub(crate) fn enter(&self) -> Inside {
        self.0.0.fetch_add(1, Ordering::SeqCst);
        Inside(self.clone())
    }

    pub(crate) fn now(&self) -> usize {
        self.0.0.load(Ordering::SeqCst)
    }

    /// Waits until nobody is inside; false if that took until `deadline`.
    pub(crate) async fn none(&self, deadline: Instant) -> bool {
        let none = tokio::time::timeout_at(deadline, self.none_ever());
        none.await.is_ok()
    }

    /// Waits until nobody is inside, however long that takes.
    pub(crate) async fn none_ever(&self) {
        loop {
            let changed = self.0.1.notified();
            let mut changed = std::pin::pin!(changed);
            // Registered before looking: a leave in between is not missed.
            changed.as_mut().enable();
            if self.now() == 0 {
                return;
            }
            changed.await;
        }
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        if self.0.0.0.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.0.1.notify_waiters();
        }
    }
}
