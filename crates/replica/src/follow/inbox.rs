//! What is on its way from a database to one destination.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::error::Result;
use crate::wal::{Budget, Changes, Opened, Snapshot};

/// Between the task that reads a database and the one that sends: bounded by
/// the budget, beyond which it only says that something is missing.
#[derive(Debug)]
pub(super) struct Inbox {
    waiting: Mutex<Waiting>,
    filled: Notify,
    /// Bytes that are better sent than waited with.
    many: usize,
    full: Notify,
}

#[derive(Debug)]
struct Waiting {
    changes: Changes,
    /// When the oldest of them was seen.
    since_ms: Option<i64>,
    /// When the oldest was seen of what was taken out and is not stored yet.
    sending_ms: Option<i64>,
}

impl Waiting {
    fn taken(&mut self) {
        let since_ms = self.since_ms.take();
        self.sending_ms = self.sending_ms.or(since_ms);
    }
}

impl Inbox {
    /// More than `many` bytes are not to wait for the interval.
    pub(super) fn new(budget: &Budget, many: usize) -> Self {
        Self {
            waiting: Mutex::new(Waiting {
                changes: Changes::none(budget),
                since_ms: None,
                sending_ms: None,
            }),
            filled: Notify::new(),
            many,
            full: Notify::new(),
        }
    }

    /// Adds what was committed, seen at `now_ms`.
    pub(super) fn add(&self, changes: &Changes, now_ms: i64) {
        if changes.is_none() {
            return;
        }
        let mut waiting = self.lock();
        waiting.changes.add(changes);
        waiting.since_ms.get_or_insert(now_ms);
        let full = waiting.changes.bytes() > self.many;
        drop(waiting);
        self.filled.notify_one();
        if full {
            self.full.notify_one();
        }
    }

    /// Something was committed, and nobody knows what.
    pub(super) fn lost(&self, now_ms: i64) {
        let mut waiting = self.lock();
        waiting.changes.lose();
        waiting.since_ms.get_or_insert(now_ms);
        drop(waiting);
        self.filled.notify_one();
    }

    /// Keeps no pages of what cannot be sent for long: they are in the database.
    pub(super) fn give_up(&self) {
        let mut waiting = self.lock();
        if !waiting.changes.is_none() {
            waiting.changes.lose();
        }
    }

    /// Waits until something may be there.
    pub(super) async fn filled(&self) {
        self.filled.notified().await;
    }

    /// Waits until there is so much that it should be sent.
    pub(super) async fn full(&self) {
        self.full.notified().await;
    }

    /// Whether there is nothing to send.
    pub(super) fn is_empty(&self) -> bool {
        self.lock().changes.is_none()
    }

    /// When the oldest was seen that is not stored yet.
    pub(super) fn since_ms(&self) -> Option<i64> {
        let waiting = self.lock();
        waiting.sending_ms.or(waiting.since_ms)
    }

    /// Takes out all that waits, to be sent.
    pub(super) fn take(&self) -> Changes {
        let mut waiting = self.lock();
        waiting.taken();
        waiting.changes.take()
    }

    /// What was taken out is stored.
    pub(super) fn stored(&self) {
        self.lock().sending_ms = None;
    }

    /// Forgets what waits and begins a snapshot in its place. What comes in
    /// from now on may be older than the snapshot, until the next slide that
    /// begins after this: only then is it fit to be sent after the snapshot.
    pub(super) fn replace(&self, opened: Opened) -> Result<Snapshot> {
        let mut waiting = self.lock();
        let snapshot = opened.begin()?;
        waiting.changes.take();
        waiting.taken();
        Ok(snapshot)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
