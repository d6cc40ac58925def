//! A bitmap of the blocks of one segment.

use crate::blobs::Run;
use crate::map::SEGMENT;

pub(crate) const WORDS: usize = SEGMENT as usize / 64;

/// A bit for each block of a segment.
#[derive(Clone, Copy)]
pub(crate) struct Bits(pub(crate) [u64; WORDS]);

impl Bits {
    pub(crate) fn read(bytes: &[u8]) -> Self {
        let mut words = [0; WORDS];
        for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        Self(words)
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    pub(crate) fn count(&self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }

    pub(crate) fn set(&mut self, first: u32, count: u32, to: bool) {
        for bit in first..first + count {
            if let Some(word) = self.0.get_mut(bit as usize / 64) {
                let mask = 1 << (bit % 64);
                *word = if to { *word | mask } else { *word & !mask };
            }
        }
    }
}

/// The first run of set bits of `words` from `from` on, at most `most` long.
pub(crate) fn next_run(words: &[u64; WORDS], from: u32, most: u32) -> Option<Run> {
    let mut first = from;
    loop {
        let word = words.get(first as usize / 64)? >> (first % 64);
        if word == 0 {
            first = (first / 64 + 1) * 64;
            continue;
        }
        first += word.trailing_zeros();
        break;
    }
    let mut end = first;
    while end - first < most
        && let Some(word) = words.get(end as usize / 64)
    {
        let ones = (!(word >> (end % 64))).trailing_zeros();
        // Past the top of the word come zeros, which are not its bits.
        let ones = ones.min(64 - end % 64);
        end += ones;
        if ones == 0 || !end.is_multiple_of(64) {
            break;
        }
    }
    Some(Run {
        first,
        count: (end - first).min(most),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_found_across_words() {
        let mut bits = Bits([0; WORDS]);
        bits.set(60, 140, true);
        bits.set(SEGMENT - 1, 1, true);
        let run = |first, count| Some(Run { first, count });
        assert_eq!(next_run(&bits.0, 0, SEGMENT), run(60, 140));
        assert_eq!(next_run(&bits.0, 0, 70), run(60, 70));
        assert_eq!(next_run(&bits.0, 130, 3), run(130, 3));
        assert_eq!(next_run(&bits.0, 200, 9), run(SEGMENT - 1, 1));
        assert_eq!(next_run(&bits.0, SEGMENT, 9), None);
        assert_eq!(bits.count(), 141);
        bits.set(61, 138, false);
        assert_eq!(next_run(&bits.0, 0, 9), run(60, 1));
        assert_eq!(Bits::read(&bits.bytes()).0, bits.0);
    }
}
