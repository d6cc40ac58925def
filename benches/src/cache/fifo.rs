//! First in, first out, as a measure for evictions.

use std::collections::VecDeque;

use crate::cache::trace::KEYS;

pub(crate) struct Fifo {
    capacity: usize,
    order: VecDeque<u32>,
    held: Vec<bool>,
}

impl Fifo {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            order: VecDeque::with_capacity(capacity),
            held: vec![false; KEYS as usize],
        }
    }

    /// Asks for a key, and takes it in if it is not held; true if it was.
    pub(crate) fn ask(&mut self, key: u32) -> bool {
        if self.held[key as usize] {
            return true;
        }
        if self.order.len() == self.capacity
            && let Some(first) = self.order.pop_front()
        {
            self.held[first as usize] = false;
        }
        self.order.push_back(key);
        self.held[key as usize] = true;
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_taken_in_first_goes_however_much_used() {
        let mut fifo = Fifo::new(2);
        let hits = [1, 2, 1, 3, 1, 3].map(|key| fifo.ask(key));
        assert_eq!(hits, [false, false, true, false, false, true]);
    }
}
