//! A map of hashes that needs no more memory than it is allowed: beyond that it keeps every second
//! one, then every fourth, by the hash itself, so that two maps keep the same ones.

use std::collections::HashMap;

/// Entries that are kept: below that all counts are exact.
const ENTRIES_MAX: usize = 1 << 14;
/// Entries of the samples of one kind in all columns of a table, and how many one has at least.
const ALL_ENTRIES_MAX: usize = 1 << 20;
const ENTRIES_MIN: usize = 1 << 8;

#[derive(Debug)]
pub(super) struct Sample<V> {
    map: HashMap<u64, V>,
    /// Entries that are kept.
    max: usize,
    /// Hashes that end in that many zeros are kept.
    level: u32,
}

impl<V> Default for Sample<V> {
    fn default() -> Self {
        Self {
            map: HashMap::new(),
            max: ENTRIES_MAX,
            level: 0,
        }
    }
}

impl<V: Default> Sample<V> {
    /// One of as many as there are columns in a table.
    pub(super) fn one_of(columns: usize) -> Self {
        Self {
            max: (ALL_ENTRIES_MAX / columns.max(1)).clamp(ENTRIES_MIN, ENTRIES_MAX),
            ..Self::default()
        }
    }

    /// The entry of this hash, if it is one that is kept.
    pub(super) fn entry(&mut self, hash: u64) -> Option<&mut V> {
        if !is_kept(hash, self.level) {
            return None;
        }
        while self.map.len() >= self.max && !self.map.contains_key(&hash) {
            self.level += 1;
            let level = self.level;
            self.map.retain(|hash, _| is_kept(*hash, level));
            if !is_kept(hash, level) {
                return None;
            }
        }
        Some(self.map.entry(hash).or_default())
    }

    pub(super) fn get(&self, hash: u64) -> Option<&V> {
        self.map.get(&hash)
    }

    /// Those that both maps keep, of this one.
    pub(super) fn kept_by<'s, W>(
        &'s self,
        other: &Sample<W>,
    ) -> impl Iterator<Item = (u64, &'s V)> {
        let level = self.level.max(other.level);
        let all = self.map.iter().map(|(hash, value)| (*hash, value));
        all.filter(move |(hash, _)| is_kept(*hash, level))
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &V> {
        self.map.values()
    }

    /// How many different hashes there were, about.
    pub(super) fn distinct(&self) -> u64 {
        (self.map.len() as u64) << self.level
    }

    pub(super) fn is_exact(&self) -> bool {
        self.level == 0
    }

    /// `17`, or `about 70000`.
    pub(super) fn shown(&self) -> String {
        match self.is_exact() {
            true => self.distinct().to_string(),
            false => format!("about {}", self.distinct()),
        }
    }
}

fn is_kept(hash: u64, level: u32) -> bool {
    hash.trailing_zeros() >= level
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_samples_keep_the_same() {
        let mixed = |n: u64| {
            n.wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .rotate_left(29)
                .wrapping_mul(0xbf58_476d_1ce4_e5b9)
        };
        let (mut one, mut other) = (Sample::<u64>::default(), Sample::<u64>::default());
        for n in 0..200_000 {
            one.entry(mixed(n))
                .into_iter()
                .for_each(|count| *count += 1);
        }
        for n in 100_000..150_000 {
            other
                .entry(mixed(n))
                .into_iter()
                .for_each(|count| *count += 1);
        }
        assert!(!one.is_exact() && one.map.len() <= ENTRIES_MAX);
        let distinct = one.distinct();
        assert!((170_000..230_000).contains(&distinct), "{distinct}");
        for (hash, _) in other.kept_by(&one) {
            assert!(one.get(hash).is_some());
        }
        assert!(other.kept_by(&one).count() > 1000);
    }
}
