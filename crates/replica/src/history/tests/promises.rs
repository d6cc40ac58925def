//! What must hold on every simulated day.

use std::collections::BTreeMap;

use super::world::{DAY, HOUR, Key, MINUTE, World, key};
use super::*;
use crate::history::plan::states;
use crate::history::{Merge, plan};

impl World {
    pub(super) fn check_merge(&self, merge: &Merge) {
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

    /// All that is promised can be had, and is what it was.
    pub(super) fn check_promises(&mut self) {
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
}
