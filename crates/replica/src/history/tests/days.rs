//! Days of a replica, simulated: what is promised stays, what is not goes.

use std::collections::BTreeMap;

use fastrand::Rng;
use proptest::prelude::*;

use super::*;
use crate::history::plan::states;
use crate::history::{Merge, Policy, Timed, plan};
use crate::storage::SNAPSHOT_LEVEL;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
/// Some Sunday, not at the beginning of an hour.
const START: i64 = 1_772_366_400_000 + 13 * MINUTE;

/// What a file holds: for each page the transaction that wrote it last, and how
/// long the database is after it.
#[derive(Clone, Debug, PartialEq)]
struct Content {
    pages: BTreeMap<u32, u64>,
    commit: u32,
}

type Key = (u8, Txid, Txid);

fn key(file: &FileInfo) -> Key {
    (file.level, file.min, file.max)
}

#[derive(Clone, Debug)]
struct State {
    time_ms: i64,
    content: Content,
}

/// How life is in these days.
#[derive(Clone, Copy, Debug)]
struct Habits {
    days: i64,
    /// Seconds between two changes, at most.
    pause_s: i64,
    /// Of a hundred nights (or weekends), how many are still: nothing changes.
    still: u32,
    /// Of a hundred hours, in how many the network is away.
    outages: u32,
    /// Of a hundred turns of upkeep, how many end in the middle.
    broken: u32,
    /// Of a thousand changes, how many need a whole database.
    jumps: u32,
    /// Whether a second machine merges too, by an old list.
    second: bool,
}

struct World {
    random: Rng,
    habits: Habits,
    policy: Policy,
    now_ms: i64,
    /// By transaction; what is at index 0 is transaction 1.
    states: Vec<State>,
    snapshots: Vec<u64>,
    sent: u64,
    stored: BTreeMap<Key, (Timed, Content)>,
    most_files: usize,
}

impl World {
    fn new(seed: u64, habits: Habits) -> Self {
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

    fn files(&self) -> Vec<FileInfo> {
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
    fn upkeep(&mut self, old_list: Option<&[Timed]>) {
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

    fn check_merge(&self, merge: &Merge) {
        let span = if merge.level == 1 { 5 * MINUTE } else { HOUR };
        let of_span = |file: &FileInfo| {
            self.states[file.max.0 as usize - 1]
                .time_ms
                .div_euclid(span)
        };
        assert!(merge.files.len() > 1);
        for pair in merge.files.windows(2) {
            assert!(pair[1].min <= pair[0].max.next() && pair[1].max > pair[0].max);
            assert_eq!(of_span(&pair[0]), of_span(&pair[1]));
        }
        assert!(merge.files.iter().all(|file| file.level < merge.level));
        // Before the span is over only what nothing can join any more.
        let last = merge.files.last().unwrap().max;
        let leads_on =
            |(level, min, max): &Key| *level < merge.level && *min <= last.next() && *max > last;
        let cut_off = self.stored.keys().any(|(_, min, _)| *min > last.next())
            && !self.stored.keys().any(leads_on);
        assert!(of_span(&merge.files[0]) < self.now_ms.div_euclid(span) || cut_off);
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

    /// All that is promised can be had, and is what it was.
    fn check_promises(&mut self) {
        let files = self.files();
        let age = |txid: &u64| self.now_ms - self.states[*txid as usize - 1].time_ms;
        let every = (1..=self.sent).filter(|txid| age(txid) < HOUR);
        let hour = |txid: u64| self.states[txid as usize - 1].time_ms.div_euclid(HOUR);
        let hourly = (1..=self.sent)
            .filter(|txid| age(txid) < DAY)
            .filter(|txid| *txid == self.sent || hour(*txid) != hour(*txid + 1));
        let daily = self
            .snapshots
            .iter()
            .copied()
            .filter(|txid| age(txid) < 5 * DAY);
        let mut promised: Vec<u64> = every
            .chain(hourly)
            .chain(daily)
            .chain([self.sent])
            .collect();
        promised.sort_unstable();
        promised.dedup();
        let states = states(&files);
        for txid in &promised {
            let there = states.binary_search(&Txid(*txid)).is_ok();
            assert!(
                there,
                "{txid} of {}, {} s old: {files:?}",
                self.sent,
                age(txid) / 1_000
            );
        }
        for _ in 0..4 {
            let txid = promised[self.random.usize(0..promised.len())];
            self.check_state(&files, txid);
        }
        assert_eq!(plan(&files, None, None).unwrap().txid, Txid(self.sent));
    }

    fn check_state(&self, files: &[FileInfo], txid: u64) {
        let found = plan(files, None, Some(Txid(txid))).unwrap();
        let mut pages = BTreeMap::new();
        for file in &found.files {
            let (_, content) = &self.stored[&key(file)];
            pages.retain(|pgno, _| *pgno <= content.commit);
            pages.extend(content.pages.clone());
        }
        let truth = &self.states[txid as usize - 1].content;
        assert_eq!(
            pages, truth.pages,
            "the content of {txid} by {:?}",
            found.files
        );
    }

    fn live(&mut self) {
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

fn habits() -> impl Strategy<Value = Habits> {
    let chances = (0_u32..10, 0_u32..15, 0_u32..40, 0_u32..4);
    (3_i64..8, 60_i64..600, chances, any::<bool>()).prop_map(
        |(days, pause_s, (still, outages, broken, jumps), second)| Habits {
            days,
            pause_s,
            still,
            outages,
            broken,
            jumps,
            second,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]
    #[test]
    fn whatever_happens_what_is_promised_stays(seed: u64, habits in habits()) {
        World::new(seed, habits).live();
    }
}

#[test]
fn the_number_of_files_stays_bounded() {
    let calm = Habits {
        days: 9,
        pause_s: 60,
        still: 0,
        outages: 0,
        broken: 0,
        jumps: 0,
        second: false,
    };
    let mut world = World::new(7, calm);
    world.live();
    // A change each 30 s: those of 75 minutes and of the span not over yet; of
    // level 1 two hours and a bit, of level 2 two days, snapshots of five days.
    let bound = 2 * 85 + 12 * 2 + 5 + 50 + 7;
    assert!(world.most_files <= bound, "{} of {bound}", world.most_files);
    let of = |level| {
        world
            .files()
            .iter()
            .filter(|file| file.level == level)
            .count()
    };
    assert!(
        of(0) > 100 && of(1) > 11 && of(2) > 23 && of(9) > 4,
        "nothing was kept"
    );

    // Once nothing changes, what is left is what leads to the snapshots' states
    // and the newest.
    world.now_ms += 30 * DAY;
    world.upkeep(None);
    world.now_ms += 2 * HOUR;
    world.upkeep(None);
    world.check_promises();
    let newest_snapshot = Txid(*world.snapshots.last().unwrap());
    assert!(world.files().iter().all(|file| file.max >= newest_snapshot));
    assert!(world.files().len() < 30, "{:?}", world.files());
}
