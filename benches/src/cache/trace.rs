//! The keys a cache is asked for, by Zipf's law: the `r`-th most wanted key is
//! wanted `r^-s` as often as the first. The same in every run.

use crate::random::Random;

/// Different keys.
pub(crate) const KEYS: u32 = 1_000_000;
/// A prime that does not divide [`KEYS`]: neighbours in rank are not in number.
const STEP: u64 = 611_953;

pub(crate) struct Trace {
    /// The share of requests for the keys up to each rank.
    shares: Vec<f64>,
    random: Random,
    left: u64,
}

impl Trace {
    pub(crate) fn new(s: f64, requests: u64) -> Self {
        let mut sum = 0.0;
        let mut shares: Vec<f64> = (1..=KEYS)
            .map(|rank| {
                sum += f64::from(rank).powf(-s);
                sum
            })
            .collect();
        shares.iter_mut().for_each(|share| *share /= sum);
        Self {
            shares,
            random: Random::new(3),
            left: requests,
        }
    }
}

impl Iterator for Trace {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        self.left = self.left.checked_sub(1)?;
        // 53 bits, what a fraction holds; one number has 31.
        let high = self.random.below(1 << 26) << 27;
        let bits = high | self.random.below(1 << 27);
        let fraction = bits as f64 / (1_u64 << 53) as f64;
        let rank = self.shares.partition_point(|share| *share <= fraction);
        let rank = (rank as u64).min(u64::from(KEYS) - 1);
        Some((rank * STEP % u64::from(KEYS)) as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rank_is_wanted_as_often_as_the_law_says() {
        let trace = Trace::new(1.0, 100_000);
        let expected = trace.shares[0] * 100_000.0;
        // Rank 0 is key 0.
        let seen = trace.filter(|key| *key == 0).count() as f64;
        assert!(
            (seen - expected).abs() < expected / 20.0,
            "{seen} {expected}"
        );
    }

    #[test]
    fn it_is_the_same_in_every_run() {
        let once: Vec<u32> = Trace::new(0.9, 1000).collect();
        assert!(once.iter().copied().eq(Trace::new(0.9, 1000)));
    }
}
