//! Which entries are kept when not all fit: LRFU, between LRU and LFU.
//!
//! Each entry has a score: its uses, each counting half as much for every
//! [`HALF_LIFE`] of turnover. One turnover is as many bytes set as the cache
//! holds. With LRU only the last use counts; with LFU the first counts as much as
//! the last. A large entry needs more uses to stay ([`priority`]).
//!
//! The stored score is `log2(uses) + turnovers / half-life`. It orders entries as
//! their uses count *now*, whenever that is: scores decay without a write.
//!
//! Reads do not write either. Each process counts the hits in [`Hits`], a small
//! table in memory, and adds them to the rows when it looks for something to
//! evict, or once many have been counted.

use std::sync::atomic::{AtomicU64, Ordering};

/// In turnovers. On Zipf traces (α 0.9): 4 gains 1.5 to 2 points of
/// hits over 1, and loses 0.3 where the popular keys change steadily.
const HALF_LIFE: f64 = 4.0;
/// Steps of the stored number per doubling.
const STEPS: f64 = 64.0;

/// The clock of scores: turnovers so far, in half-lives.
#[derive(Clone, Copy)]
pub(crate) struct LrfuClock(f64);

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "an estimate, far from the ends of what a float holds"
)]
impl LrfuClock {
    pub(crate) fn new(written: u64, bound: u64) -> Self {
        Self(written as f64 / bound.max(1) as f64 / HALF_LIFE)
    }

    /// The score of an entry at its first use.
    pub(crate) fn first_use(self) -> i64 {
        (self.0 * STEPS) as i64
    }

    /// The score after `hits` more uses.
    pub(crate) fn after_hits(self, score: i64, hits: u32) -> i64 {
        if hits == 0 {
            return score;
        }
        let uses = (score as f64 / STEPS - self.0).exp2() + f64::from(hits);
        ((self.0 + uses.log2()) * STEPS) as i64
    }
}

/// What is compared for eviction: the entry with the lowest goes.
#[expect(clippy::cast_possible_truncation, reason = "at most 64 × STEPS")]
pub(crate) fn priority(score: i64, bytes: u64) -> i64 {
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    let size = ((bytes + 64) as f64).log2() * STEPS;
    score - size as i64
}

/// Hits that are not in the rows yet. Its size is bounded and it has no locks; of
/// two entries with the same slot the more used one stays.
pub(crate) struct Hits {
    /// High bits of the id above a count of [`COUNT_BITS`].
    slots: Box<[AtomicU64]>,
    index_bits: u32,
    /// Since the last [`Hits::drain`].
    since: AtomicU64,
}

const COUNT_BITS: u32 = 8;
const COUNT_MAX: u64 = (1 << COUNT_BITS) - 1;
/// 1 MiB of memory at most. The low bits of an id choose its slot, the others
/// fit into the slot with the count.
const SLOT_BITS: std::ops::RangeInclusive<u32> = 10..=17;
/// This many hits are worth a transaction of their own.
#[cfg(feature = "handle")]
const MANY: u64 = 1 << 16;

impl Hits {
    /// About a slot for each KiB of the bound.
    pub(crate) fn new(bound: u64) -> Self {
        let bits = (bound >> 10).max(1).ilog2();
        let index_bits = bits.clamp(*SLOT_BITS.start(), *SLOT_BITS.end());
        Self {
            slots: (0..1_u64 << index_bits)
                .map(|_| AtomicU64::new(0))
                .collect(),
            index_bits,
            since: AtomicU64::new(0),
        }
    }

    fn slot(&self, id: i64) -> Option<(&AtomicU64, u64)> {
        let id = id.cast_unsigned();
        let index = usize::try_from(id & ((1 << self.index_bits) - 1)).ok()?;
        Some((
            self.slots.get(index)?,
            (id >> self.index_bits) << COUNT_BITS,
        ))
    }

    /// True if it is time for [`Hits::drain`].
    #[cfg(feature = "handle")]
    pub(crate) fn are_many(&self) -> bool {
        self.since.load(Ordering::Relaxed) >= MANY
    }

    /// Counts one.
    pub(crate) fn add(&self, id: i64) {
        if let Some((slot, tag)) = self.slot(id) {
            // Not one atomic step: a hit lost between two threads does no harm.
            let seen = slot.load(Ordering::Relaxed);
            let count = seen & COUNT_MAX;
            if seen & !COUNT_MAX == tag {
                if count < COUNT_MAX {
                    slot.store(seen + 1, Ordering::Relaxed);
                }
            } else if count <= 1 {
                slot.store(tag | 1, Ordering::Relaxed);
            } else {
                slot.store(seen - 1, Ordering::Relaxed);
            }
        }
        // As above: an estimate is enough, and costs no locked instruction.
        let since = self.since.load(Ordering::Relaxed);
        self.since.store(since + 1, Ordering::Relaxed);
    }

    /// Takes the hits counted for an entry.
    pub(crate) fn take(&self, id: i64) -> u32 {
        let Some((slot, tag)) = self.slot(id) else {
            return 0;
        };
        let seen = slot.load(Ordering::Relaxed);
        if seen & !COUNT_MAX != tag || seen & COUNT_MAX == 0 {
            return 0;
        }
        slot.store(0, Ordering::Relaxed);
        u32::try_from(seen & COUNT_MAX).unwrap_or(0)
    }

    /// The ids with the most hits, at most `most`; they stay counted.
    pub(crate) fn drain(&self, most: usize) -> Vec<i64> {
        self.since.store(0, Ordering::Relaxed);
        let mut counted: Vec<(u64, i64)> = Vec::new();
        for (index, slot) in self.slots.iter().enumerate() {
            let seen = slot.load(Ordering::Relaxed);
            if seen & COUNT_MAX > 0 {
                let high = (seen >> COUNT_BITS) << self.index_bits;
                counted.push((seen & COUNT_MAX, (high | index as u64).cast_signed()));
            }
        }
        counted.sort_unstable_by(|a, b| b.cmp(a));
        counted.truncate(most);
        counted.into_iter().map(|(_, id)| id).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_score_counts_uses_and_decays() {
        let start = LrfuClock::new(0, 100);
        let once = start.first_use();
        let often = start.after_hits(once, 7);
        assert!(often > once);
        // Three half-lives later eight old uses are worth one new one.
        let later = LrfuClock::new(300 * 4, 100);
        assert_eq!(later.first_use(), often);
        assert!(later.after_hits(once, 1) > often);
        assert!(priority(once, 100) > priority(once, 10_000));
    }

    #[test]
    fn hits_are_counted_per_id_and_taken_once() {
        let hits = Hits::new(1 << 20);
        for id in [i64::MIN, -1, 0, 77, i64::MAX] {
            hits.add(id);
            hits.add(id);
            assert_eq!(hits.take(id), 2, "{id}");
            assert_eq!(hits.take(id), 0);
        }
        hits.add(1 << 30);
        assert_eq!(hits.drain(10), [1 << 30]);
    }
}
