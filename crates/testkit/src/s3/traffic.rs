//! What was asked of the server, counted and remembered.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};

use super::request::{Asked, Operation};

/// How many requests are remembered.
const LOG: usize = 10_000;

/// What was asked since the start, or since it was last reset.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// All requests, refused and broken ones too.
    pub requests: u64,
    /// Requests by operation; [`Counts::of`] reads one.
    pub by_operation: BTreeMap<Operation, u64>,
    /// Requests by HTTP method.
    pub by_method: BTreeMap<String, u64>,
    /// Bytes of request bodies that came.
    pub bytes_in: u64,
    /// Bytes of response bodies that were sent.
    pub bytes_out: u64,
    /// Bytes that came over the connections: heads and bodies.
    pub wire_in: u64,
    /// Bytes sent over the connections: heads and bodies.
    pub wire_out: u64,
}

impl Counts {
    /// The requests for one operation.
    pub fn of(&self, operation: Operation) -> u64 {
        self.by_operation.get(&operation).copied().unwrap_or(0)
    }
}

/// One request.
#[derive(Debug, Clone)]
pub struct Logged {
    /// What it asked for.
    pub operation: Operation,
    /// The HTTP method.
    pub method: String,
    /// The key; of a listing, the prefix.
    pub key: String,
    /// The query as it came.
    pub query: String,
    /// The `Range` header.
    pub range: Option<String>,
    /// What was made to go wrong with it.
    pub fault: Option<String>,
    /// The status answered with: none if none was.
    pub status: Option<u16>,
    /// Bytes of its body that came.
    pub bytes_in: u64,
    /// Bytes of the answer's body that were sent.
    pub bytes_out: u64,
}

/// Counts and remembers.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    seen: Mutex<Seen>,
    wire_in: AtomicU64,
    wire_out: AtomicU64,
    connections: AtomicI64,
}

#[derive(Debug, Default)]
struct Seen {
    counts: Counts,
    log: VecDeque<Logged>,
    /// The number of the first request in the log.
    first: u64,
}

impl Traffic {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().expect("nobody panicked counting")
    }

    /// A request came: its number.
    pub(super) fn begin(&self, asked: Asked) -> u64 {
        let mut seen = self.seen();
        seen.counts.requests += 1;
        *seen.counts.by_operation.entry(asked.operation).or_default() += 1;
        let by_method = &mut seen.counts.by_method;
        *by_method.entry(asked.method.clone()).or_default() += 1;
        if seen.log.len() == LOG {
            seen.log.pop_front();
            seen.first += 1;
        }
        seen.log.push_back(Logged {
            operation: asked.operation,
            method: asked.method,
            key: asked.key,
            query: asked.query,
            range: asked.range,
            fault: None,
            status: None,
            bytes_in: 0,
            bytes_out: 0,
        });
        seen.first + seen.log.len() as u64 - 1
    }

    pub(super) fn fault(&self, request: u64, fault: String) {
        self.seen()
            .change(request, |logged| logged.fault = Some(fault));
    }

    pub(super) fn status(&self, request: u64, status: u16) {
        self.seen()
            .change(request, |logged| logged.status = Some(status));
    }

    pub(super) fn body_in(&self, request: u64, bytes: u64) {
        let mut seen = self.seen();
        seen.counts.bytes_in += bytes;
        seen.change(request, |logged| logged.bytes_in += bytes);
    }

    pub(super) fn body_out(&self, request: u64, bytes: u64) {
        let mut seen = self.seen();
        seen.counts.bytes_out += bytes;
        seen.change(request, |logged| logged.bytes_out += bytes);
    }

    pub(super) fn wire(&self, bytes_in: usize, bytes_out: usize) {
        self.wire_in.fetch_add(bytes_in as u64, Ordering::Relaxed);
        self.wire_out.fetch_add(bytes_out as u64, Ordering::Relaxed);
    }

    /// So many more are open; how many are.
    pub(super) fn connections(&self, more: i64) -> i64 {
        self.connections.fetch_add(more, Ordering::AcqRel) + more
    }

    pub(super) fn counts(&self) -> Counts {
        Counts {
            wire_in: self.wire_in.load(Ordering::Relaxed),
            wire_out: self.wire_out.load(Ordering::Relaxed),
            ..self.seen().counts.clone()
        }
    }

    pub(super) fn log(&self) -> Vec<Logged> {
        self.seen().log.iter().cloned().collect()
    }

    pub(super) fn reset(&self) {
        let mut seen = self.seen();
        seen.counts = Counts::default();
        seen.first += seen.log.len() as u64;
        seen.log.clear();
        self.wire_in.store(0, Ordering::Relaxed);
        self.wire_out.store(0, Ordering::Relaxed);
    }
}

impl Seen {
    /// One that has left the log is not told any more.
    fn change(&mut self, request: u64, change: impl FnOnce(&mut Logged)) {
        let at = request.checked_sub(self.first);
        let at = at.and_then(|at| usize::try_from(at).ok());
        if let Some(logged) = at.and_then(|at| self.log.get_mut(at)) {
            change(logged);
        }
    }
}
