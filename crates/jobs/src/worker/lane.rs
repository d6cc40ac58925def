//! One queue as a worker sees it.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::JobId;
use crate::ops::{Claim, Claimed, Want};

/// Most jobs claimed by one turn from one queue.
const BATCH_MAX: usize = 512;

/// Jobs that end sooner than this after their claim are claimed in larger
/// numbers, for a turn costs more than they do …
const SHORT: Duration = Duration::from_millis(5);

/// … and those that take longer in smaller ones: what lies here waits, while
/// another process might have time for it.
const LONG: Duration = Duration::from_millis(25);

/// One queue: its places, and the jobs claimed from it that have not started.
pub(super) struct Lane {
    pub(super) queue: String,
    /// Jobs that run at once.
    places: usize,
    pub(super) running: usize,
    /// With the claim each belongs to.
    waiting: VecDeque<(i64, Claimed)>,
    /// Jobs to claim at once.
    batch: usize,
    claimed_at: Option<Instant>,
    /// There may be more in the queue than was claimed.
    pub(super) hungry: bool,
}

impl Lane {
    pub(super) fn new(queue: String, places: usize) -> Self {
        Self {
            queue,
            places,
            running: 0,
            waiting: VecDeque::new(),
            batch: places,
            claimed_at: None,
            hungry: true,
        }
    }

    /// What to ask for now.
    pub(super) fn want(&self, suspect: bool) -> Option<Want> {
        if !self.hungry {
            return None;
        }
        let free = self.places.saturating_sub(self.running);
        let count = if self.batch > self.places {
            // Asked for while the last half still runs.
            if self.waiting.len() > self.batch / 2 {
                return None;
            }
            self.batch - self.waiting.len().min(self.batch)
        } else {
            free.saturating_sub(self.waiting.len())
        };
        (count > 0).then(|| Want {
            queue: self.queue.clone(),
            count,
            // Not to lie behind others: it starts at once.
            suspect: suspect && free > 0 && self.waiting.is_empty(),
        })
    }

    /// Takes in what was claimed for `want`.
    pub(super) fn claimed(&mut self, want: &Want, claim: Option<Claim>) {
        let count = claim.as_ref().map_or(0, |claim| claim.jobs.len());
        self.hungry = count == want.count;
        if let Some(claim) = claim {
            let id = claim.id;
            // A suspect is the first of its claim: it starts before others.
            self.waiting
                .extend(claim.jobs.into_iter().map(|job| (id, job)));
            self.claimed_at = Some(Instant::now());
        }
    }

    /// The next job to start, if there is a place for it.
    pub(super) fn next(&mut self) -> Option<(i64, Claimed)> {
        if self.running >= self.places {
            return None;
        }
        let next = self.waiting.pop_front()?;
        self.running += 1;
        if self.waiting.is_empty()
            && let Some(claimed_at) = self.claimed_at.take()
        {
            let took = claimed_at.elapsed();
            if took < SHORT && self.hungry {
                self.batch = (self.batch * 2).min(BATCH_MAX.max(self.places));
            } else if took > LONG {
                self.batch = (self.batch / 2).max(self.places);
            }
        }
        Some(next)
    }

    /// When what waits here will have waited too long.
    pub(super) fn late_at(&self) -> Option<Instant> {
        let claimed_at = self.claimed_at.filter(|_| !self.waiting.is_empty())?;
        Some(claimed_at + LONG)
    }

    /// Jobs turned out to take longer than was thought: what waits here is
    /// given back, for others may have time for it.
    pub(super) fn take_late(&mut self) -> Vec<(i64, Claimed)> {
        if self.late_at().is_none_or(|at| at > Instant::now()) {
            return Vec::new();
        }
        self.batch = self.places;
        self.hungry = true;
        self.waiting.drain(..).collect()
    }

    /// Takes a job out that has not started.
    pub(super) fn remove(&mut self, id: JobId) -> Option<(i64, Claimed)> {
        let place = self.waiting.iter().position(|(_, job)| job.id == id)?;
        self.waiting.remove(place)
    }

    /// Everything that has not started.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = (i64, Claimed)> + '_ {
        self.waiting.drain(..)
    }
}
