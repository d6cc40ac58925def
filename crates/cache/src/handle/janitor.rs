//! One thread for what nobody waits for: taking out what is over, giving signs
//! of life for claims, telling other processes of hits, checkpoints.
//!
//! It sleeps without a timeout while none of that is to be done.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};

use super::shared::Shared;
use crate::{Error, Key, Result};

/// Least time between two sweeps: each reads the whole table.
const SWEEP_EVERY: Duration = Duration::from_secs(30);
/// Longest sleep while something is to be over later: the wall clock may be
/// set meanwhile.
const LOOK_AT_CLOCK: Duration = Duration::from_secs(60);
/// How often who waits for a claim looks whether its lease has run out.
const TICK: Duration = Duration::from_millis(250);
/// Least time between two folds of hits.
const FOLD_EVERY: Duration = Duration::from_secs(1);
pub(crate) struct Janitor {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    todo: Mutex<Todo>,
    wake: Condvar,
    ticks: watch::Sender<u64>,
}

#[derive(Default)]
pub(crate) struct Todo {
    pub(crate) stop: bool,
    /// The bound may be lower than it was.
    shrink: bool,
    /// When something is over next, by the wall clock.
    pub(crate) due_ms: Option<i64>,
    /// Not before.
    sweep_from: Option<Instant>,
    fold: bool,
    fold_from: Option<Instant>,
    checkpointed: Vec<oneshot::Sender<()>>,
    claims: HashMap<i64, Key>,
    signs_due: Option<Instant>,
    abandoned: Vec<(Key, i64)>,
}

/// What to do now.
pub(crate) enum Work {
    Stop,
    Shrink,
    Sweep,
    Fold,
    Checkpoint(Vec<oneshot::Sender<()>>),
    Signs(Vec<(Key, i64)>),
    Abandon(Vec<(Key, i64)>),
}

impl Drop for Janitor {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Inner {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Todo> {
        self.todo.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Janitor {
    /// `look`: there may be entries of others, that are over some time.
    pub(crate) fn start(shared: &Arc<Shared>, look: bool) -> Result<Self> {
        let (ticks, _) = watch::channel(0);
        let inner = Arc::new(Inner {
            todo: Mutex::new(Todo {
                shrink: look,
                due_ms: look.then_some(i64::MIN),
                sweep_from: Some(Instant::now() + SWEEP_EVERY),
                ..Todo::default()
            }),
            wake: Condvar::new(),
            ticks,
        });
        let (thread, shared) = (Arc::clone(&inner), Arc::clone(shared));
        let path = shared.path.clone();
        std::thread::Builder::new()
            .name("monolite-cache".into())
            .spawn(move || super::chores::serve(&thread, &shared))
            .map_err(|source| Error::Io {
                what: "start a thread for",
                path,
                source,
            })?;
        Ok(Self { inner })
    }

    fn ask(&self, change: impl FnOnce(&mut Todo)) {
        change(&mut self.inner.lock());
        self.inner.wake.notify_one();
    }

    pub(crate) fn stop(&self) {
        self.ask(|todo| todo.stop = true);
    }

    /// Something was put in that is over at that time.
    pub(crate) fn due(&self, at_ms: i64) {
        let mut todo = self.inner.lock();
        if todo.due_ms.is_none_or(|due| at_ms < due) {
            todo.due_ms = Some(at_ms);
            drop(todo);
            self.inner.wake.notify_one();
        }
    }

    pub(crate) fn fold(&self) {
        let mut todo = self.inner.lock();
        if !std::mem::replace(&mut todo.fold, true) {
            drop(todo);
            self.inner.wake.notify_one();
        }
    }

    pub(crate) async fn checkpoint_and_wait(&self) -> Result<()> {
        let (done, answer) = oneshot::channel();
        self.ask(|todo| {
            todo.checkpointed.push(done);
        });
        answer.await.map_err(|_| Error::Closed)
    }

    pub(crate) fn keep(&self, key: Key, token: i64) {
        self.ask(|todo| {
            todo.claims.insert(token, key);
        });
    }

    pub(crate) fn forget(&self, token: i64) {
        self.inner.lock().claims.remove(&token);
    }

    pub(crate) fn abandon(&self, key: Key, token: i64) {
        self.ask(|todo| {
            if todo.claims.remove(&token).is_some() {
                todo.abandoned.push((key, token));
            }
        });
    }

    /// Ticks for as long as somebody listens.
    pub(crate) fn wait(&self) -> Ticks<'_> {
        Ticks(&self.inner)
    }
}

pub(crate) struct Ticks<'j>(&'j Inner);

impl Ticks<'_> {
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        let ticks = self.0.ticks.subscribe();
        self.0.wake.notify_one();
        ticks
    }
}

impl Inner {
    /// Waits until there is something to do.
    pub(crate) fn next(&self, shared: &Shared) -> Work {
        let lease = shared.options.lease;
        let mut todo = self.lock();
        loop {
            let now = Instant::now();
            if !todo.abandoned.is_empty() {
                return Work::Abandon(std::mem::take(&mut todo.abandoned));
            }
            if todo.stop {
                return Work::Stop;
            }
            if std::mem::take(&mut todo.shrink) {
                return Work::Shrink;
            }
            if !todo.checkpointed.is_empty() {
                return Work::Checkpoint(std::mem::take(&mut todo.checkpointed));
            }
            let mut until: Option<Instant> = None;
            let mut by = |at: Instant| until = Some(until.map_or(at, |until| until.min(at)));
            if todo.claims.is_empty() {
                todo.signs_due = None;
            } else {
                let due = *todo.signs_due.get_or_insert(now + lease / 3);
                if due <= now {
                    todo.signs_due = Some(now + lease / 3);
                    let claims = &todo.claims;
                    return Work::Signs(claims.iter().map(|(t, k)| (k.clone(), *t)).collect());
                }
                by(due);
            }
            if todo.fold {
                let from = todo.fold_from.unwrap_or(now);
                if from <= now {
                    todo.fold = false;
                    todo.fold_from = Some(now + FOLD_EVERY);
                    return Work::Fold;
                }
                by(from);
            }
            if let Some(due) = todo.due_ms {
                let left = due.saturating_sub(shared.wall_ms());
                let left = u64::try_from(left).map_or(Duration::ZERO, Duration::from_millis);
                let from = todo.sweep_from.unwrap_or(now);
                if left.is_zero() && from <= now {
                    todo.due_ms = None;
                    todo.sweep_from = Some(now + SWEEP_EVERY);
                    return Work::Sweep;
                }
                by(from.max(now + left.min(LOOK_AT_CLOCK)));
            }
            if self.ticks.receiver_count() > 0 {
                self.ticks.send_modify(|count| *count += 1);
                by(now + TICK);
            }
            todo = match until {
                None => self.wake.wait(todo).unwrap_or_else(PoisonError::into_inner),
                Some(until) => {
                    let left = until.saturating_duration_since(Instant::now());
                    let waited = self.wake.wait_timeout(todo, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}
