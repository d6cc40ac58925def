//! How soon, and how often, an app that died is started again.

use std::time::Duration;

/// The wait after the first death; each further one waits twice as long.
const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(10);
/// An app that lived this long has not died of its start.
const FORGIVEN: Duration = Duration::from_secs(60);
/// Deaths in a row that make a crash loop.
const DEATHS: u32 = 5;

#[derive(Default)]
pub(crate) struct Backoff {
    pub(crate) deaths: u32,
}

impl Backoff {
    /// Counts a death after `lived`; how long to wait, or `None` to give up.
    pub(crate) fn died(&mut self, lived: Duration) -> Option<Duration> {
        if lived >= FORGIVEN {
            self.deaths = 0;
        }
        self.deaths += 1;
        if self.deaths >= DEATHS {
            return None;
        }
        Some((FIRST * 2_u32.pow(self.deaths - 1)).min(LONGEST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_longer_each_time_then_gives_up() {
        let mut backoff = Backoff::default();
        let quick = Duration::from_secs(1);
        let waits: Vec<_> = (0..5).map(|_| backoff.died(quick)).collect();
        let ms = |ms| Some(Duration::from_millis(ms));
        assert_eq!(waits, [ms(100), ms(200), ms(400), ms(800), None]);
    }

    #[test]
    fn a_long_life_is_not_a_loop() {
        let mut backoff = Backoff::default();
        for _ in 0..100 {
            assert_eq!(backoff.died(FORGIVEN), Some(FIRST));
        }
    }
}
