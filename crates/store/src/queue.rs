//! The bounded queue between callers and the writer thread.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::{Error, Result};

/// How long the writer polls for the next write before it sleeps. Waking a
/// sleeping thread costs more than a commit at `synchronous=NORMAL`.
const SPIN_MAX: Duration = Duration::from_micros(50);

/// One caller's closure, with the way to answer it.
pub(crate) trait Job: Send {
    /// Runs the closure once. True if its writes are to be kept.
    fn run(&mut self, conn: &Connection) -> bool;
    /// Answers with what the closure returned, or with `failure` instead.
    fn answer(self: Box<Self>, failure: Option<Error>);
    /// The closure's error as text, for the callers whose writes it rolled back.
    fn failure_text(&self) -> Option<String>;
}

pub(crate) struct Queue {
    state: Mutex<State>,
    wake: Condvar,
    /// Length of `state.jobs`, readable without the lock.
    len: AtomicUsize,
    /// Writes not yet answered.
    in_flight: AtomicUsize,
    capacity: usize,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Box<dyn Job>>,
    closed: bool,
    writer_sleeps: bool,
}

/// The answer of [`Queue::take`].
pub(crate) enum Taken {
    /// There is at least one job.
    Jobs,
    /// The deadline passed.
    Idle,
    /// The queue is closed, and everything in it was taken before.
    Closed,
}

impl Queue {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            state: Mutex::default(),
            wake: Condvar::new(),
            len: AtomicUsize::new(0),
            in_flight: AtomicUsize::new(0),
            capacity,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics with the lock held: a poisoned one is intact.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a job, or fails at once if the queue is full.
    pub(crate) fn push(&self, job: Box<dyn Job>) -> Result<()> {
        let mut state = self.lock();
        if state.closed {
            return Err(Error::Closed);
        }
        if self.in_flight.load(Ordering::Relaxed) >= self.capacity {
            return Err(Error::QueueFull {
                queue: "write",
                capacity: self.capacity,
            });
        }
        state.jobs.push_back(job);
        self.len.store(state.jobs.len(), Ordering::Release);
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        let wake = std::mem::take(&mut state.writer_sleeps);
        drop(state);
        if wake {
            self.wake.notify_one();
        }
        Ok(())
    }

    /// Moves the waiting jobs to `into`, without waiting.
    pub(crate) fn take_waiting(&self, into: &mut VecDeque<Box<dyn Job>>) {
        if self.len.load(Ordering::Acquire) == 0 {
            return;
        }
        let mut state = self.lock();
        into.append(&mut state.jobs);
        self.len.store(0, Ordering::Release);
    }

    /// Waits for a job, for the close, or for `deadline`.
    pub(crate) fn take(
        &self,
        into: &mut VecDeque<Box<dyn Job>>,
        deadline: Option<Instant>,
    ) -> Taken {
        let spin_until = Instant::now() + SPIN_MAX;
        while self.len.load(Ordering::Acquire) == 0 && Instant::now() < spin_until {
            std::thread::yield_now();
        }
        let mut state = self.lock();
        loop {
            if !state.jobs.is_empty() {
                into.append(&mut state.jobs);
                self.len.store(0, Ordering::Release);
                return Taken::Jobs;
            }
            if state.closed {
                return Taken::Closed;
            }
            state.writer_sleeps = true;
            state = match deadline {
                None => self
                    .wake
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                        state.writer_sleeps = false;
                        return Taken::Idle;
                    };
                    let waited = self.wake.wait_timeout(state, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// Refuses further jobs; those inside are still run.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.wake.notify_one();
    }

    /// Answers a job that was taken. It is no longer in flight then: the
    /// caller may be back with its next one before this returns.
    pub(crate) fn answer(&self, job: Box<dyn Job>, failure: Option<Error>) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        // A value nobody waits for is dropped here. Its `drop` is the caller's
        // code, whose panic must not end the writer.
        let _ = catch_unwind(AssertUnwindSafe(|| job.answer(failure)));
    }

    /// Closes, and drops the waiting jobs: their callers get `Closed`.
    pub(crate) fn abandon(&self) {
        let jobs = {
            let mut state = self.lock();
            state.closed = true;
            std::mem::take(&mut state.jobs)
        };
        let _ = catch_unwind(AssertUnwindSafe(|| drop(jobs)));
    }

    /// Writes waiting or running.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }
}
