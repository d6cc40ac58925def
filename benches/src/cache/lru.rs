//! Exactly least recently used, as a measure for evictions.

use crate::cache::trace::KEYS;

const NONE: u32 = u32::MAX;

/// A ring through the keys held, the latest used after the head.
pub(crate) struct Lru {
    capacity: usize,
    held: usize,
    /// The neighbours of each key; the head is one more. `NONE` if not held.
    newer: Vec<u32>,
    older: Vec<u32>,
}

const HEAD: u32 = KEYS;

impl Lru {
    pub(crate) fn new(capacity: usize) -> Self {
        let mut newer = vec![NONE; KEYS as usize + 1];
        let mut older = newer.clone();
        newer[HEAD as usize] = HEAD;
        older[HEAD as usize] = HEAD;
        Self {
            capacity,
            held: 0,
            newer,
            older,
        }
    }

    /// Asks for a key, and takes it in if it is not held; true if it was.
    pub(crate) fn ask(&mut self, key: u32) -> bool {
        let hit = self.newer[key as usize] != NONE;
        if hit {
            self.unlink(key);
        } else if self.held == self.capacity {
            self.unlink(self.newer[HEAD as usize]);
        } else {
            self.held += 1;
        }
        let latest = self.older[HEAD as usize];
        self.newer[latest as usize] = key;
        self.older[key as usize] = latest;
        self.newer[key as usize] = HEAD;
        self.older[HEAD as usize] = key;
        hit
    }

    fn unlink(&mut self, key: u32) {
        let (newer, older) = (self.newer[key as usize], self.older[key as usize]);
        self.older[newer as usize] = older;
        self.newer[older as usize] = newer;
        self.newer[key as usize] = NONE;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_unused_for_longest_goes() {
        let mut lru = Lru::new(2);
        let hits = [1, 2, 1, 3, 1, 2].map(|key| lru.ask(key));
        assert_eq!(hits, [false, false, true, false, true, false]);
    }
}
