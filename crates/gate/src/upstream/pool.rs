//! Idle connections to the app, shared by the threads of the gate.
//!
//! A connection lies in the pool of the thread whose reactor wakes it. A thread
//! without one takes over that of another thread before it opens a new one, so
//! that there are never more connections than requests were in the app at once:
//! each may occupy a worker.

use std::cell::Cell;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::connection::Connection;

/// Pools, one a thread; from the seventeenth thread on, threads share.
const POOLS: usize = 16;

thread_local! {
    static POOL: Cell<usize> = const { Cell::new(0) };
}

/// Makes this thread use pool `number`, modulo [`POOLS`]. Threads that never
/// call this use the first.
pub(crate) fn use_pool(number: usize) {
    POOL.set(number % POOLS);
}

/// The idle connections of one instance of the app.
#[derive(Default)]
pub(crate) struct Pool {
    /// Each with the oldest first.
    by_thread: [Mutex<Vec<Idle>>; POOLS],
}

/// A connection that carries nothing.
pub(crate) struct Idle {
    pub(crate) connection: Connection,
    since: Instant,
}

impl Idle {
    pub(crate) fn new(connection: Connection) -> Self {
        let since = Instant::now();
        Self { connection, since }
    }

    pub(crate) fn age(&self) -> Duration {
        self.since.elapsed()
    }
}

fn lock(pool: &Mutex<Vec<Idle>>) -> MutexGuard<'_, Vec<Idle>> {
    pool.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pool {
    /// The youngest of this thread, else of another.
    pub(crate) fn take(&self) -> Option<Idle> {
        let own = POOL.get();
        if let Some(idle) = self.by_thread.get(own).and_then(|pool| lock(pool).pop()) {
            return Some(idle);
        }
        let others = self.by_thread.iter().enumerate();
        others
            .filter(|(number, _)| *number != own)
            .find_map(|(_, pool)| {
                let Idle { connection, since } = lock(pool).pop()?;
                let mut connection = connection.move_here().ok()?;
                // This thread's reactor knows nothing of it yet: the kernel is asked.
                connection.is_usable().then_some(())?;
                Some(Idle { connection, since })
            })
    }

    /// Keeps a connection, at most `max` in one pool; false if it is full.
    pub(crate) fn put(&self, idle: Idle, max: usize) -> bool {
        let Some(pool) = self.by_thread.get(POOL.get()) else {
            return false;
        };
        let mut pool = lock(pool);
        let has_space = pool.len() < max;
        if has_space {
            pool.push(idle);
        }
        has_space
    }

    /// Takes all for which `unfit` holds; the second value is what is left.
    pub(crate) fn remove(&self, mut unfit: impl FnMut(&mut Idle) -> bool) -> (Vec<Idle>, usize) {
        let (mut removed, mut left) = (Vec::new(), 0);
        for pool in &self.by_thread {
            let mut pool = lock(pool);
            removed.extend(pool.extract_if(.., |idle| unfit(idle)));
            left += pool.len();
        }
        (removed, left)
    }
}
