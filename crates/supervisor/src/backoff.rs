//! How soon, and how often, an app or a worker that died is started again.

use std::time::Duration;

/// The wait after the first death; each further one waits twice as long.
const FIRST: Duration = Duration::from_millis(100);
/// The longest wait. A worker that dies at once, over and over, takes one start of it a minute from
/// the app.
const LONGEST: Duration = Duration::from_secs(60);
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
        let wait = self.wait_after(lived);
        (!self.is_loop()).then_some(wait)
    }

    /// As [`died`](Self::died), of what is never given up.
    pub(crate) fn wait_after(&mut self, lived: Duration) -> Duration {
        if lived >= FORGIVEN {
            self.deaths = 0;
        }
        self.deaths = self.deaths.saturating_add(1);
        let doubled = 2_u32.saturating_pow(self.deaths - 1);
        FIRST.saturating_mul(doubled).min(LONGEST)
    }

    /// It died so often in a row that it does not get anywhere.
    pub(crate) fn is_loop(&self) -> bool {
        self.deaths >= DEATHS
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
    fn what_is_never_given_up_waits_a_minute_at_most() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..200)
            .map(|_| backoff.wait_after(Duration::ZERO))
            .collect();
        assert!(waits.is_sorted() && waits.last() == Some(&LONGEST));
        assert!(backoff.is_loop());
        assert_eq!(backoff.wait_after(FORGIVEN), FIRST);
        assert!(!backoff.is_loop());
    }

    #[test]
    fn a_long_life_is_not_a_loop() {
        let mut backoff = Backoff::default();
        for _ in 0..100 {
            assert_eq!(backoff.died(FORGIVEN), Some(FIRST));
        }
    }
}
