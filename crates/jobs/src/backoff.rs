//! How long a failed job waits for its next attempt.

use std::time::Duration;

use crate::new_job::millis;

/// Exponential, with jitter so that jobs that failed together do not come
/// back together.
///
/// The defaults wait 10 s, 20 s, 40 s … up to 1 h, each ± 20 %: twenty
/// attempts span about twelve hours.
///
/// ```
/// use monolite_jobs::Backoff;
/// use std::time::Duration;
/// let backoff = Backoff::new().first(Duration::from_secs(1)).max(Duration::from_secs(60));
/// # let _ = backoff;
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Backoff {
    first: Duration,
    factor: f64,
    max: Duration,
    jitter: f64,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(10),
            factor: 2.0,
            max: Duration::from_secs(3600),
            jitter: 0.2,
        }
    }
}

impl Backoff {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// The wait before the second attempt.
    #[must_use]
    pub fn first(mut self, wait: Duration) -> Self {
        self.first = wait;
        self
    }

    /// What each wait is multiplied with for the next.
    #[must_use]
    pub fn factor(mut self, factor: f64) -> Self {
        self.factor = factor;
        self
    }

    /// No wait is longer.
    #[must_use]
    pub fn max(mut self, wait: Duration) -> Self {
        self.max = wait;
        self
    }

    /// Share of the wait by which chance may lengthen or shorten it, 0 to 1.
    #[must_use]
    pub fn jitter(mut self, share: f64) -> Self {
        self.jitter = share;
        self
    }

    /// The same wait each time, without jitter.
    pub fn fixed(wait: Duration) -> Self {
        Self {
            first: wait,
            factor: 1.0,
            max: wait,
            jitter: 0.0,
        }
    }

    /// Milliseconds to wait after `attempt` (the first is 1) has failed;
    /// `chance` is from 0 to 1.
    pub(crate) fn wait_ms(&self, attempt: u32, chance: f64) -> i64 {
        let exponent = i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX);
        let max = millis(self.max) as f64;
        let wait = (millis(self.first) as f64 * self.factor.powi(exponent)).min(max);
        let jittered = wait * (1.0 + self.jitter.clamp(0.0, 1.0) * (2.0 * chance - 1.0));
        // `as` saturates, and turns what is not a number into 0.
        jittered.clamp(0.0, max.max(0.0)) as i64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_up_to_its_bound() {
        let backoff = Backoff::default();
        let waits: Vec<i64> = (1..=12)
            .map(|attempt| backoff.wait_ms(attempt, 0.5) / 1000)
            .collect();
        assert_eq!(
            waits,
            [10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600, 3600]
        );
        assert_eq!(backoff.wait_ms(u32::MAX, 0.5), 3_600_000);
    }

    #[test]
    fn jitter_stays_within_its_share() {
        let backoff = Backoff::default();
        assert_eq!(backoff.wait_ms(1, 0.0), 8_000);
        assert_eq!(backoff.wait_ms(1, 1.0), 12_000);
        assert_eq!(
            Backoff::fixed(Duration::from_secs(3)).wait_ms(9, 0.7),
            3_000
        );
    }
}
