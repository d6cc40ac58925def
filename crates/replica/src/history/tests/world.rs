//! The simulated days: a database, its replica, whoever tends it.

use std::collections::BTreeMap;

use fastrand::Rng;

use super::*;
use crate::history::{Merge, Policy, Timed};
use crate::storage::SNAPSHOT_LEVEL;

pub(super) const MINUTE: i64 = 60_000;
pub(super) const HOUR: i64 = 60 * MINUTE;
pub(super) const DAY: i64 = 24 * HOUR;
/// Some Sunday, not at the beginning of an hour.
pub(super) const START: i64 = 1_772_366_400_000 + 13 * MINUTE;

/// What a file holds: for each page the transaction that wrote it last, and how
/// long the database is after it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Content {
    pub(super) pages: BTreeMap<u32, u64>,
    pub(super) commit: u32,
}

pub(super) type Key = (u8, Txid, Txid);

pub(super) fn key(file: &FileInfo) -> Key {
    (file.level, file.min, file.max)
}

#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) time_ms: i64,
    pub(super) content: Content,
}

/// How life is in these days.
#[derive(Clone, Copy, Debug)]
pub(super) struct Habits {
    pub(super) days: i64,
    /// Seconds between two changes, at most.
    pub(super) pause_s: i64,
    /// Of a hundred nights (or weekends), how many are still: nothing changes.
    pub(super) still: u32,
    /// Of a hundred hours, in how many the network is away.
    pub(super) outages: u32,
    /// Of a hundred turns of upkeep, how many end in the middle.
    pub(super) broken: u32,
    /// Of a thousand changes, how many need a whole database.
    pub(super) jumps: u32,
    /// Whether a second machine merges too, by an old list.
    pub(super) second: bool,
}

pub(super) struct World {
    pub(super) random: Rng,
    pub(super) habits: Habits,
    pub(super) policy: Policy,
    pub(super) now_ms: i64,
    /// By transaction; what is at index 0 is transaction 1.
    pub(super) states: Vec<State>,
    pub(super) snapshots: Vec<u64>,
    pub(super) sent: u64,
    pub(super) stored: BTreeMap<Key, (Timed, Content)>,
    pub(super) most_files: usize,
}

impl World {
    pub(super) fn new(seed: u64, habits: Habits) -> Self {
        let mut world = Self {
            random: Rng::with_seed(seed),
            habits,
            policy: Policy::default(),
            now_ms: START,
            states: Vec::new(),
            snapshots: Vec::new(),
            sent: 0,
            stored: BTreeMap::new(),
            most_files: 0,
        };
        world.change();
        world.snapshot_of(1);
        world.sent = 1;
        world
    }

    pub(super) fn files(&self) -> Vec<FileInfo> {
        self.stored
            .values()
            .map(|(timed, _)| timed.file.clone())
            .collect()
    }

    fn list(&self) -> Vec<Timed> {
        self.stored
            .values()
            .map(|(timed, _)| timed.clone())
            .collect()
    }

    fn chance(&mut self, of_hundred: u32) -> bool {
        self.random.u32(0..100) < of_hundred
    }

    /// One more transaction.
    fn change(&mut self) {
        let txid = self.states.len() as u64 + 1;
        let mut content = self.states.last().map_or(
            Content {
                pages: BTreeMap::new(),
                commit: 0,
            },
            |state| state.content.clone(),
        );
        if content.commit == 0 || self.random.u8(..) < 10 {
            // Growth writes all new pages, a VACUUM leaves fewer.
            let commit = self.random.u32(1..30);
            content.pages.retain(|pgno, _| *pgno <= commit);
            content
                .pages
                .extend((content.commit + 1..=commit).map(|pgno| (pgno, txid)));
            content.commit = commit;
        }
        for _ in 0..self.random.u32(1..4) {
            content
                .pages
                .insert(self.random.u32(1..=content.commit), txid);
        }
        self.states.push(State {
            time_ms: self.now_ms,
            content,
        });
    }

    /// The pages that changed in a range of transactions.
    fn changes(&self, min: u64, max: u64) -> Content {
        let mut content = self.states[max as usize - 1].content.clone();
        content.pages.retain(|_, txid| *txid >= min);
        content
    }

    /// Puts a file, create-only.
    fn put(&mut self, level: u8, min: u64, max: u64, content: Content) {
        let late = self.random.i64(0..20_000);
        let file = FileInfo {
            stored_ms: self.now_ms + late,
            ..file(level, min, max)
        };
        let time_ms = self.states[max as usize - 1].time_ms;
        let stored = (Timed { file, time_ms }, content);
        self.stored.entry(key(&stored.0.file)).or_insert(stored);
    }

    fn snapshot_of(&mut self, txid: u64) {
        self.snapshots.push(txid);
        let content = self.states[txid as usize - 1].content.clone();
        self.put(SNAPSHOT_LEVEL, 1, txid, content);
    }

    fn send(&mut self) {
        for txid in self.sent + 1..=self.states.len() as u64 {
            if self.random.u32(0..1_000) < self.habits.jumps {
                // As after a change of the page size: no changes lead there.
                self.snapshot_of(txid);
            } else {
                let content = self.changes(txid, txid);
                self.put(0, txid, txid, content);
            }
            self.sent = txid;
        }
        let last = self
            .snapshots
            .last()
            .map(|txid| self.states[*txid as usize - 1].time_ms);
        let changed = self.snapshots.last() < Some(&self.sent);
        if changed && last.is_some_and(|last| self.now_ms - last >= DAY) {
            self.snapshot_of(self.sent);
        }
    }

    /// Merges as a real merge does: later files win, pages beyond the end go.
    fn merge(&mut self, merge: &Merge) {
        let mut pages = BTreeMap::new();
        let mut commit = 0;
        for file in &merge.files {
            let Some((_, content)) = self.stored.get(&key(file)) else {
                return; // Gone meanwhile: this turn ends.
            };
            pages.extend(content.pages.clone());
            commit = content.commit;
        }
        pages.retain(|pgno, _| *pgno <= commit);
        let (first, last) = (&merge.files[0], merge.files.last().unwrap());
        self.put(
            merge.level,
            first.min.0,
            last.max.0,
            Content { pages, commit },
        );
    }

    /// What is done every few minutes, from a list that may be an old one.
    pub(super) fn upkeep(&mut self, old_list: Option<&[Timed]>) {
        for level in [1, 2] {
            let known = old_list.map_or_else(|| self.list(), <[Timed]>::to_vec);
            for merge in self.policy.due(&known, level, self.now_ms) {
                self.check_merge(&merge);
                if self.chance(self.habits.broken) {
                    return;
                }
                self.merge(&merge);
            }
        }
        let known = old_list.map_or_else(|| self.list(), <[Timed]>::to_vec);
        let known: Vec<FileInfo> = known.into_iter().map(|timed| timed.file).collect();
        for file in self.policy.deletable(&known, self.now_ms) {
            if self.chance(self.habits.broken) {
                return;
            }
            self.delete(&file);
        }
    }

    fn delete(&mut self, file: &FileInfo) {
        if self.stored.remove(&key(file)).is_none() {
            return; // Deleted by another.
        }
        let window = match file.level {
            0 | 1 => HOUR,
            SNAPSHOT_LEVEL => 5 * DAY,
            _ => DAY,
        };
        assert!(
            file.stored_ms < self.now_ms - window - 10 * MINUTE,
            "too young: {file:?}"
        );
        let covers =
            |(level, min, max): &Key| *min <= file.min && *max >= file.max && *level >= file.level;
        assert!(self.stored.keys().any(covers), "covered by none: {file:?}");
    }

    pub(super) fn live(&mut self) {
        let mut upkeep_ms = self.now_ms;
        let mut outage_until = 0;
        let mut old_list: Vec<Timed> = Vec::new();
        while self.now_ms < START + self.habits.days * DAY {
            let pause = self.random.i64(1..=self.habits.pause_s) * 1_000;
            self.now_ms += pause;
            if self.now_ms.div_euclid(HOUR) != (self.now_ms - pause).div_euclid(HOUR) {
                if self.chance(self.habits.outages) {
                    outage_until = self.now_ms + self.random.i64(MINUTE..5 * HOUR);
                }
                if self.chance(self.habits.still) {
                    self.now_ms += self.random.i64(HOUR..3 * DAY);
                }
            }
            self.change();
            if self.now_ms < outage_until {
                continue;
            }
            self.send();
            if self.now_ms - upkeep_ms >= 5 * MINUTE {
                upkeep_ms = self.now_ms;
                if self.habits.second && self.chance(30) {
                    self.upkeep(Some(&old_list));
                    old_list = self.list();
                }
                self.upkeep(None);
                self.most_files = self.most_files.max(self.stored.len());
                if self.chance(20) {
                    self.check_promises();
                }
            }
        }
        self.check_promises();
    }
}
