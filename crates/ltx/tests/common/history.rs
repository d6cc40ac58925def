//! A database over some transactions, and the files that tell of them.

use std::ops::RangeInclusive;

use monolite_ltx::DatabaseChecksums;
use proptest::prelude::*;

use super::{Content, Pages, checksum, noise, plain_header};

/// One transaction: the new size, and seeds of pages to write.
pub(crate) type Change = (u32, Vec<(u32, u64)>);

/// A database and every state it had; state 1 is the first.
pub(crate) struct History {
    states: Vec<Pages>,
    told: bool,
}

impl History {
    pub(crate) fn new(changes: &[Change], told: bool) -> Self {
        let mut states = vec![Pages::new()];
        for (commit, writes) in changes {
            let before = states.last().unwrap();
            let mut after: Pages = before
                .range(..=commit)
                .map(|(k, v)| (*k, v.clone()))
                .collect();
            for (pgno, seed) in writes {
                after.insert(1 + pgno % commit, noise(*seed, 512));
            }
            for pgno in 1..=*commit {
                after.entry(pgno).or_insert_with(|| vec![0; 512]);
            }
            states.push(after);
        }
        Self { states, told }
    }

    pub(crate) fn state(&self, txid: u64) -> &Pages {
        &self.states[usize::try_from(txid).unwrap()]
    }

    pub(crate) fn last(&self) -> u64 {
        self.states.len() as u64 - 1
    }

    /// The file of a range of transactions: what any of them wrote, as the last
    /// state has it. Made from the states, not by merging.
    pub(crate) fn file(&self, range: RangeInclusive<u64>) -> Content {
        let (min, max) = range.into_inner();
        let after = self.state(max);
        let mut pages = Pages::new();
        for txid in min..=max {
            let (from, to) = (self.state(txid - 1), self.state(txid));
            // A page that was cut off and came back counts as written.
            pages.retain(|pgno, _| to.contains_key(pgno));
            for (pgno, page) in to {
                if from.get(pgno) != Some(page) || min == 1 {
                    pages.insert(*pgno, page.clone());
                }
            }
        }
        for (pgno, page) in &mut pages {
            page.clone_from(&after[pgno]);
        }
        let mut header = plain_header(512, u32::try_from(after.len()).unwrap(), min, max);
        header.timestamp_ms = max.cast_signed() * 1000;
        header.node_id = 7;
        if self.told {
            header.checksums = DatabaseChecksums::Reserved {
                pre: (min > 1).then(|| checksum(self.state(min - 1))),
                post: checksum(after),
            };
        }
        Content {
            header,
            pages,
            post: None,
        }
    }
}

pub(crate) fn changes() -> impl Strategy<Value = Vec<Change>> {
    let writes = prop::collection::vec((any::<u32>(), any::<u64>()), 0..5);
    prop::collection::vec((1..12_u32, writes), 2..9)
}
