//! The turns of a dispatcher: what it tells the database and asks it for, and
//! what it makes of the answer.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::dispatch::Dispatcher;
use super::floor::{Ended, subject};
use crate::State;
use crate::event::Event;
use crate::new_job::millis;
use crate::ops::{End, Turn, Turned};

/// Pauses after a turn that failed: the first, and the longest.
pub(super) const TROUBLE: (Duration, Duration) =
    (Duration::from_millis(50), Duration::from_secs(5));

/// Ended jobs after which old ones are looked for again.
pub(super) const PRUNE_EVERY: usize = 1000;

impl Dispatcher {
    /// What there is to tell the database, or to ask it for.
    pub(super) fn next_turn(&mut self) -> Option<Arc<Turn>> {
        let suspect = self.suspects.is_empty();
        let mut wants = Vec::new();
        if self.stopping.is_none() {
            wants.extend(self.lanes.iter().filter_map(|lane| lane.want(suspect)));
        }
        let chores = self.chores && self.stopping.is_none();
        if self.ended.is_empty() && wants.is_empty() && !chores {
            return None;
        }
        let mut forget = Vec::new();
        for ended in &self.ended {
            if let Some(left) = self.claims.get_mut(&ended.claim) {
                *left -= 1;
                if *left == 0 {
                    self.claims.remove(&ended.claim);
                    forget.push(ended.claim);
                }
            }
        }
        // A round once begun goes on with each turn, a page at a time.
        let prune = self.cursor > 0 || self.ended_since_prune >= PRUNE_EVERY;
        let settings = &self.settings;
        Some(Arc::new(Turn {
            worker: self.worker,
            name: settings.name.clone(),
            lease_ms: millis(settings.lease),
            holds: !self.claims.is_empty() || !forget.is_empty(),
            acks: self.ended.iter().map(|ended| ended.ack.clone()).collect(),
            forget,
            wants,
            chores,
            prune: prune.then_some(self.cursor),
            leave: false,
            retention: settings.retention,
            max_crashes: settings.max_crashes,
        }))
    }

    /// Takes a turn, until the database has taken it. Jobs go on meanwhile.
    pub(super) async fn take(&mut self, turn: Arc<Turn>) {
        let engine = Arc::clone(self.jobs.engine());
        // Those of this turn are first in line.
        let reported = turn.acks.len();
        let result = {
            let mut taking = engine.turn(Arc::clone(&turn));
            loop {
                tokio::select! {
                    biased;
                    result = &mut taking => break result,
                    Some(outcome) = self.outcomes.1.recv() => {
                        self.ended_one(outcome);
                        self.start_waiting();
                    }
                }
            }
        };
        match result {
            Ok(turned) => {
                self.trouble = None;
                debug_assert!(reported <= self.ended.len());
                self.turned(&turn, turned);
            }
            Err(error) => {
                // Nothing of it was kept: the same is told again later.
                for claim in &turn.forget {
                    self.claims.insert(*claim, 0);
                }
                for ack in self.ended.iter().take(reported) {
                    *self.claims.entry(ack.claim).or_insert(0) += 1;
                }
                let last = self.trouble.map_or(TROUBLE.0, |(_, pause)| pause * 2);
                let pause = last.min(TROUBLE.1);
                self.trouble = Some((Instant::now() + pause, pause));
                let error = error.to_string();
                self.tell(|| Event::Troubled {
                    error,
                    retry_in: pause,
                });
            }
        }
    }

    pub(super) fn turned(&mut self, turn: &Turn, turned: Turned) {
        let reported: Vec<_> = self.ended.drain(..turn.acks.len()).collect();
        for (ended, state) in reported.into_iter().zip(turned.ended) {
            self.suspects.remove(&ended.job.id);
            self.tell(|| told(&ended, state));
        }
        if turn.chores {
            self.chores = turned.more;
            self.look = true;
        }
        if turn.prune.is_some() {
            self.ended_since_prune = 0;
            self.cursor = turned.cursor;
        }
        self.ended_since_prune += turn.acks.len();
        for (id, state) in turned.recovered {
            self.tell(|| Event::Recovered { id, state });
        }
        for (name, id) in turned.fired {
            self.tell(|| Event::Fired { name, id });
        }
        if turned.lost {
            return self.lost();
        }
        let nothing = turned.claims.iter().all(Option::is_none);
        if !nothing || turn.wants.is_empty() {
            self.fruitless = 0;
        } else if turn.acks.is_empty() {
            self.fruitless += 1;
        }
        let mut claimed = Vec::new();
        for (want, claim) in turn.wants.iter().zip(turned.claims) {
            let lane = self.lanes.iter_mut().find(|lane| lane.queue == want.queue);
            let Some(lane) = lane else { continue };
            if let Some(claim) = &claim {
                self.claims.insert(claim.id, claim.jobs.len());
                let suspects = claim.jobs.iter().filter(|job| job.suspect);
                self.suspects.extend(suspects.map(|job| job.id));
                let (queue, count) = (lane.queue.clone(), claim.jobs.len());
                claimed.push(Event::Claimed { queue, count });
            }
            lane.claimed(want, claim);
        }
        for event in claimed {
            self.tell(|| event);
        }
        if let Some(ms) = turned.wait_ms {
            self.wake_within(Duration::from_millis(ms.unsigned_abs()));
        }
        let holds = !self.claims.is_empty();
        self.lease.hold(holds.then_some(self.worker));
    }

    /// The last turn: takes the worker's row out.
    pub(super) async fn stopped(self) {
        self.lease.hold(None);
        // What could not be recorded is still claimed, and a claim is found by
        // its worker's lease alone: then that is left to end by itself.
        let leave = self.claims.is_empty() && self.ended.is_empty();
        let turn = Turn {
            worker: self.worker,
            name: String::new(),
            lease_ms: 0,
            holds: false,
            acks: Vec::new(),
            forget: Vec::new(),
            wants: Vec::new(),
            chores: false,
            prune: None,
            leave: true,
            retention: self.settings.retention,
            max_crashes: 1,
        };
        // Should it fail, the lease ends by itself.
        if leave {
            let _ = self.jobs.engine().turn(Arc::new(turn)).await;
        }
        let (handed_back, interrupted) = self.left;
        self.tell(|| Event::Stopped {
            handed_back,
            interrupted,
        });
    }
}

fn told(ended: &Ended, state: Option<State>) -> Event {
    let (job, ran) = (subject(&ended.job), ended.ran);
    let Some(state) = state else {
        return Event::Stale { job, ran };
    };
    let error = match &ended.ack.end {
        End::Failed { error, .. } => Some(error.clone()),
        _ => None,
    };
    Event::Ended {
        job,
        state,
        ran,
        error,
    }
}
