//! One queue as a worker sees it: how many of its jobs may run, and those that
//! are claimed and have not started.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::JobId;
use crate::ops::{Claim, Claimed, Want};

/// Most jobs claimed by one tick from one queue.
const CLAIM_JOBS_MAX: usize = 512;

/// When the jobs of a claim have all started sooner than this, the next claim is
/// larger: a tick costs more than they do.
const CLAIM_TOO_SMALL: Duration = Duration::from_millis(5);

/// Claimed jobs that have not started after this are given back, and the next
/// claim is smaller: another process might run them meanwhile.
const CLAIM_TOO_LARGE: Duration = Duration::from_millis(25);

/// The slots of one queue.
pub(super) struct QueueSlots {
    queue: String,
    /// Most jobs that run at one time.
    slots: usize,
    running: usize,
    /// Claimed jobs that have not started, each with its claim.
    waiting: VecDeque<(i64, Claimed)>,
    /// Jobs to claim at once.
    claim_size: usize,
    claimed_at: Option<Instant>,
    /// There may be ready jobs in the queue.
    may_have_more: bool,
}

impl QueueSlots {
    pub(super) fn new(queue: String, slots: usize) -> Self {
        Self {
            queue,
            slots,
            running: 0,
            waiting: VecDeque::new(),
            claim_size: slots,
            claimed_at: None,
            may_have_more: true,
        }
    }

    pub(super) fn queue(&self) -> &str {
        &self.queue
    }

    /// The queue may have got new jobs.
    pub(super) fn expect_more(&mut self) {
        self.may_have_more = true;
    }

    /// What to ask for now.
    pub(super) fn want(&self, suspect: bool) -> Option<Want> {
        if !self.may_have_more {
            return None;
        }
        let free = self.slots.saturating_sub(self.running);
        let count = if self.claim_size > self.slots {
            // Asked for while the last half still runs.
            if self.waiting.len() > self.claim_size / 2 {
                return None;
            }
            self.claim_size - self.waiting.len().min(self.claim_size)
        } else {
            free.saturating_sub(self.waiting.len())
        };
        (count > 0).then(|| Want {
            queue: self.queue.clone(),
            count,
            // Only where it would start at once.
            suspect: suspect && free > 0 && self.waiting.is_empty(),
        })
    }

    /// Adds what was claimed for `want`.
    pub(super) fn add(&mut self, want: &Want, claim: Option<Claim>) {
        let count = claim.as_ref().map_or(0, |claim| claim.jobs.len());
        self.may_have_more = count == want.count;
        if let Some(claim) = claim {
            let id = claim.id;
            // A suspect is the first of its claim, and starts first.
            self.waiting
                .extend(claim.jobs.into_iter().map(|job| (id, job)));
            self.claimed_at = Some(Instant::now());
        }
    }

    /// The next job to start, if a slot is free for it: the slot is taken then.
    pub(super) fn next(&mut self) -> Option<(i64, Claimed)> {
        if self.running >= self.slots {
            return None;
        }
        let next = self.waiting.pop_front()?;
        self.running += 1;
        if self.waiting.is_empty()
            && let Some(claimed_at) = self.claimed_at.take()
        {
            let took = claimed_at.elapsed();
            if took < CLAIM_TOO_SMALL && self.may_have_more {
                self.claim_size = (self.claim_size * 2).min(CLAIM_JOBS_MAX.max(self.slots));
            } else if took > CLAIM_TOO_LARGE {
                self.claim_size = (self.claim_size / 2).max(self.slots);
            }
        }
        Some(next)
    }

    /// A job has ended: its slot is free.
    pub(super) fn free_one(&mut self) {
        self.running = self.running.saturating_sub(1);
    }

    /// When what waits here will have waited too long.
    pub(super) fn late_at(&self) -> Option<Instant> {
        let claimed_at = self.claimed_at.filter(|_| !self.waiting.is_empty())?;
        Some(claimed_at + CLAIM_TOO_LARGE)
    }

    /// Removes what has waited too long, because jobs take longer than those
    /// before.
    pub(super) fn take_late(&mut self) -> Vec<(i64, Claimed)> {
        if self.late_at().is_none_or(|at| at > Instant::now()) {
            return Vec::new();
        }
        self.claim_size = self.slots;
        self.may_have_more = true;
        self.waiting.drain(..).collect()
    }

    /// Removes a job that has not started.
    pub(super) fn remove(&mut self, id: JobId) -> Option<(i64, Claimed)> {
        let index = self.waiting.iter().position(|(_, job)| job.id == id)?;
        self.waiting.remove(index)
    }

    /// Removes everything that has not started.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = (i64, Claimed)> + '_ {
        self.waiting.drain(..)
    }

    /// Nothing is claimed or running any more.
    pub(super) fn reset(&mut self) {
        self.waiting.clear();
        self.running = 0;
        self.may_have_more = true;
    }
}
