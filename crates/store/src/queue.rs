//! The bounded queue between callers and the writer thread.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::batch::Job;
use crate::{Error, Result};

/// How long the writer looks for the next write before it sleeps. Waking a
/// sleeping thread costs more than a commit does at `synchronous=NORMAL`.
const SPIN: Duration = Duration::from_micros(50);

pub(crate) struct Queue {
    state: Mutex<State>,
    wake: Condvar,
    /// Length of `state.jobs`, to look at without the lock.
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

/// What the writer found.
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
        // Nothing here panics with the lock held; a poisoned one is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a job in, or says at once that there is no room.
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

    /// Moves what waits now to `into`, without waiting.
    pub(crate) fn take_waiting(&self, into: &mut VecDeque<Box<dyn Job>>) {
        if self.len.load(Ordering::Acquire) == 0 {
            return;
        }
        let mut state = self.lock();
        into.append(&mut state.jobs);
        self.len.store(0, Ordering::Release);
    }

    /// Waits for a job, for the end, or for `deadline`.
    pub(crate) fn take(
        &self,
        into: &mut VecDeque<Box<dyn Job>>,
        deadline: Option<Instant>,
    ) -> Taken {
        let spin_until = Instant::now() + SPIN;
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
        // A value nobody waits for is dropped here, and its `drop` is the
        // caller's code: its panic must not end the writer.
        let _ = catch_unwind(AssertUnwindSafe(|| job.answer(failure)));
    }

    /// Closes, and drops what nobody will run: its callers are told `Closed`.
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
