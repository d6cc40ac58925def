//! The client connections that wait for a request, the longest wait first: when
//! there are too many connections, these are closed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

#[derive(Default)]
pub(crate) struct IdleConnections {
    /// Grows: the oldest has the smallest number.
    next: AtomicU64,
    waiting: Mutex<BTreeMap<u64, Arc<Notify>>>,
}

/// One of them, until dropped.
pub(crate) struct IdleConnection<'i> {
    all: &'i IdleConnections,
    number: u64,
    end: Arc<Notify>,
}

impl IdleConnections {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Notify>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn begin(&self) -> IdleConnection<'_> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let end = Arc::new(Notify::new());
        self.lock().insert(number, Arc::clone(&end));
        IdleConnection {
            all: self,
            number,
            end,
        }
    }

    /// Ends the one that waits longest, if any does.
    pub(crate) fn end_longest(&self) {
        if let Some((_, end)) = self.lock().pop_first() {
            end.notify_one();
        }
    }
}

impl IdleConnection<'_> {
    /// Waits until the connection should be closed.
    pub(crate) async fn ended(&self) {
        self.end.notified().await;
    }
}

impl Drop for IdleConnection<'_> {
    fn drop(&mut self) {
        self.all.lock().remove(&self.number);
    }
}
