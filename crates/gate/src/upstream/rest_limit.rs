//! How long a connection may have been idle to carry a request that must not be
//! sent twice.
//!
//! An app closes idle connections by a timer that it does not announce. Half of
//! the youngest age at which it was ever found to have closed one keeps away
//! from that timer, so that it hardly fires just as a request is written.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// An idle connection is closed at this age, whatever the app does with it: it
/// may occupy a worker of the app.
pub(crate) const IDLE_AGE_MAX: Duration = Duration::from_secs(1);
/// A limit that was learnt doubles in this time, since an app also closes
/// connections for other reasons than their age (a worker that is replaced), and
/// on a busy machine the gate may read an answer long after the app sent it.
const DOUBLING_TIME: Duration = Duration::from_secs(2);
const UNKNOWN: u64 = u64::MAX;

/// The limit for one instance of the app, learnt from its own closing.
pub(crate) struct RestLimit {
    start: Instant,
    /// Half of the youngest age, in µs.
    limit_us: AtomicU64,
    /// When that was learnt, in ms since the start.
    learnt_ms: AtomicU64,
}

impl RestLimit {
    pub(crate) fn new() -> Self {
        Self {
            start: Instant::now(),
            limit_us: AtomicU64::new(UNKNOWN),
            learnt_ms: AtomicU64::new(0),
        }
    }

    /// A connection that is idle longer must not be used for a request that
    /// changes something.
    pub(crate) fn now(&self) -> Duration {
        let limit = self.limit_us.load(Ordering::Relaxed);
        if limit == UNKNOWN {
            return IDLE_AGE_MAX;
        }
        let learnt = Duration::from_millis(self.learnt_ms.load(Ordering::Relaxed));
        let since = self.start.elapsed().saturating_sub(learnt);
        let doublings = (since.as_secs() / DOUBLING_TIME.as_secs()).min(20);
        Duration::from_micros(limit.saturating_mul(1 << doublings)).min(IDLE_AGE_MAX)
    }

    /// The app was found to have closed a connection after it was idle for
    /// `age`, or says that it will.
    pub(crate) fn closed_at(&self, age: Duration) {
        let half = age / 2;
        if half < self.now() {
            let micros = u64::try_from(half.as_micros()).unwrap_or(UNKNOWN);
            let learnt = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.limit_us.store(micros, Ordering::Relaxed);
            self.learnt_ms.store(learnt, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_half_of_the_youngest_age_and_recovers_slowly() {
        let limit = RestLimit::new();
        assert_eq!(limit.now(), IDLE_AGE_MAX);
        limit.closed_at(Duration::from_secs(5));
        assert_eq!(limit.now(), IDLE_AGE_MAX);
        limit.closed_at(Duration::from_millis(200));
        assert_eq!(limit.now(), Duration::from_millis(100));
        limit.closed_at(Duration::from_millis(300));
        assert_eq!(limit.now(), Duration::from_millis(100));
        limit.closed_at(Duration::from_millis(3));
        assert_eq!(limit.now(), Duration::from_micros(1500));
        tokio::time::advance(DOUBLING_TIME).await;
        assert_eq!(limit.now(), Duration::from_millis(3));
        tokio::time::advance(DOUBLING_TIME * 100).await;
        assert_eq!(limit.now(), IDLE_AGE_MAX);
    }
}
