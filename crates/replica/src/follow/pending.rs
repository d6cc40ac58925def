//! The changes of one database that are not sent to one destination yet.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::error::Result;
use crate::wal::{Budget, Changes, Opened, Snapshot};

/// A queue between the task that reads a database and the one that sends. Its
/// memory is bounded by the budget; beyond that it only records that something
/// is missing.
#[derive(Debug)]
pub(super) struct Pending {
    waiting: Mutex<Waiting>,
    filled: Notify,
    /// More bytes than this are sent without waiting for the interval.
    send_at_bytes: usize,
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

impl Pending {
    /// More than `send_at_bytes` bytes do not wait for the interval.
    pub(super) fn new(budget: &Budget, send_at_bytes: usize) -> Self {
        Self {
            waiting: Mutex::new(Waiting {
                changes: Changes::none(budget),
                since_ms: None,
                sending_ms: None,
            }),
            filled: Notify::new(),
            send_at_bytes,
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
        let full = waiting.changes.bytes() > self.send_at_bytes;
        drop(waiting);
        self.filled.notify_one();
        if full {
            self.full.notify_one();
        }
    }

    /// Something was committed, and it is not known what.
    pub(super) fn lost(&self, now_ms: i64) {
        let mut waiting = self.lock();
        waiting.changes.lose();
        waiting.since_ms.get_or_insert(now_ms);
        drop(waiting);
        self.filled.notify_one();
    }

    /// Drops the pages, which the database holds as well, and records that they
    /// are missing: for a destination that cannot be reached for long.
    pub(super) fn drop_pages(&self) {
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

    /// Takes everything out, to be sent.
    pub(super) fn take(&self) -> Changes {
        let mut waiting = self.lock();
        waiting.taken();
        waiting.changes.take()
    }

    /// What was taken out is stored.
    pub(super) fn stored(&self) {
        self.lock().sending_ms = None;
    }

    /// Drops what is pending and begins a snapshot instead. What is added from
    /// now on may be older than the snapshot, until the next read of the log that
    /// begins after this: only then may it be sent after the snapshot.
    pub(super) fn replace_with_snapshot(&self, opened: Opened) -> Result<Snapshot> {
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
