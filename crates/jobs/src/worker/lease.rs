//! Renews a worker's lease while it holds claims, from a thread of its own.

use std::pin::pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use monolite_store::park::block_on;
use tokio::sync::Notify;

use crate::engine::Engine;
use crate::{Error, Result};

/// Pause before a renewal that failed is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

#[derive(Default)]
struct State {
    /// The worker that holds claims now.
    holder: Option<i64>,
    /// The worker whose lease has expired; not yet taken note of.
    lost: Option<i64>,
    stopped: bool,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    lost: Notify,
}

/// The thread that renews the lease; asleep while the worker holds nothing.
pub(super) struct Lease {
    shared: Arc<Shared>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.shared.lock().stopped = true;
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lease {
    pub(super) fn start(engine: Arc<dyn Engine>, lease: Duration) -> Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            changed: Condvar::new(),
            lost: Notify::new(),
        });
        let thread = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("monolite-lease".into())
            .spawn(move || thread.renew(&*engine, lease))
            .map_err(|error| Error::invalid("cannot start the lease thread", error.to_string()))?;
        Ok(Self { shared })
    }

    /// Names the worker that holds claims from now on, or that none does.
    pub(super) fn hold(&self, worker: Option<i64>) {
        let mut state = self.shared.lock();
        if state.holder != worker {
            state.holder = worker;
            drop(state);
            self.shared.changed.notify_all();
        }
    }

    /// As [`Lease::lost`], without waiting.
    pub(super) fn take_lost(&self) -> Option<i64> {
        self.shared.lock().lost.take()
    }

    /// Waits until a lease has expired; returns the worker whose it was.
    pub(super) async fn lost(&self) -> i64 {
        loop {
            let mut notified = pin!(self.shared.lost.notified());
            notified.as_mut().enable();
            if let Some(worker) = self.shared.lock().lost.take() {
                return worker;
            }
            notified.await;
        }
    }
}

impl Shared {
    fn renew(&self, engine: &dyn Engine, lease: Duration) {
        let every = lease / 4;
        let mut pause = every;
        let mut state = self.lock();
        loop {
            let holder = state.holder;
            state = match holder {
                None => self.changed.wait(state),
                Some(_) => self
                    .changed
                    .wait_timeout(state, pause)
                    .map(|(state, _)| state)
                    .map_err(|poisoned| PoisonError::new(poisoned.into_inner().0)),
            }
            .unwrap_or_else(PoisonError::into_inner);
            if state.stopped {
                return;
            }
            // Woken because the holder changed: its claim has just renewed the lease.
            let (Some(worker), true) = (holder, state.holder == holder) else {
                pause = every;
                continue;
            };
            drop(state);
            let lease_ms = crate::new_job::millis(lease);
            let renewed = block_on(engine.renew_lease(worker, lease_ms));
            state = self.lock();
            pause = match renewed {
                Ok(true) => every,
                Ok(false) => {
                    // Unless the worker has ended meanwhile, and its lease with it.
                    if state.holder == Some(worker) {
                        state.holder = None;
                        state.lost = Some(worker);
                        self.lost.notify_one();
                    }
                    every
                }
                Err(_) => RETRY_PAUSE.min(every),
            };
        }
    }
}
