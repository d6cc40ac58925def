//! When an entry expires.

use std::time::Duration;

/// The time to live of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ttl {
    /// It does not expire; it lives until it is evicted.
    #[default]
    Never,
    /// It expires this long after it was set.
    After(Duration),
    /// It expires this long after it was last set or read. A read renews it once
    /// a quarter of the time has passed, so that most reads do not write.
    Sliding(Duration),
}

impl From<Duration> for Ttl {
    fn from(ttl: Duration) -> Self {
        Self::After(ttl)
    }
}

/// How long an entry still lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// There is no such entry.
    Missing,
    /// It does not expire; it lives until it is evicted.
    Never,
    /// It expires after this time, to the millisecond.
    In(Duration),
}

/// The columns `expires_ms` and `ttl_ms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Deadline {
    pub(crate) expires_ms: Option<i64>,
    pub(crate) ttl_ms: Option<i64>,
}

/// An entry with this much more than its TTL left was set before the clock was
/// set back. It has expired as well: otherwise it would live until the clock has
/// caught up.
const CLOCK_SLACK_MS: i64 = 60_000;

impl Deadline {
    pub(crate) fn new(ttl: Ttl, now_ms: i64) -> Self {
        let (ttl, sign) = match ttl {
            Ttl::Never => return Self::default(),
            Ttl::After(ttl) => (ttl, 1),
            Ttl::Sliding(ttl) => (ttl, -1),
        };
        // At most a thousand years, so that no sum overflows.
        let ms = i64::try_from(ttl.as_millis()).map_or(MS_MAX, |ms| ms.clamp(0, MS_MAX));
        Self {
            expires_ms: Some(now_ms.saturating_add(ms)),
            // At least 1: the sign tells the two kinds apart.
            ttl_ms: Some(sign * ms.max(1)),
        }
    }

    /// What is left of it, for a deadline that has not passed.
    pub(crate) fn left(self, now_ms: i64) -> Expiry {
        match self.expires_ms {
            None => Expiry::Never,
            Some(at) => {
                let left = u64::try_from(at.saturating_sub(now_ms)).unwrap_or(0);
                Expiry::In(Duration::from_millis(left))
            }
        }
    }

    pub(crate) fn has_expired(self, now_ms: i64) -> bool {
        let Some(expires) = self.expires_ms else {
            return false;
        };
        let longest = self.ttl_ms.map_or(MS_MAX, i64::abs);
        expires <= now_ms || expires.saturating_sub(now_ms) > longest + CLOCK_SLACK_MS
    }

    /// The new deadline, if it is time to renew it.
    pub(crate) fn renewed(self, now_ms: i64) -> Option<Self> {
        let (expires, ttl) = (self.expires_ms?, self.ttl_ms?);
        if ttl >= 0 || expires.saturating_sub(now_ms) > -ttl / 4 * 3 {
            return None;
        }
        Some(Self {
            expires_ms: Some(now_ms.saturating_sub(ttl)),
            ttl_ms: Some(ttl),
        })
    }
}

const MS_MAX: i64 = 1000 * 366 * 24 * 3600 * 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_expires_in_time_whatever_the_clock_does() {
        let hour = 3_600_000;
        let entry = Deadline::new(Ttl::After(Duration::from_secs(10)), hour);
        assert!(!entry.has_expired(hour + 9_999));
        assert!(entry.has_expired(hour + 10_000));
        assert!(!entry.has_expired(hour - 50_000), "a small step back");
        assert!(entry.has_expired(0), "a large step back");
        assert!(!Deadline::new(Ttl::Never, hour).has_expired(i64::MAX));
        assert!(Deadline::new(Ttl::After(Duration::ZERO), hour).has_expired(hour));
        assert!(!Deadline::new(Ttl::After(Duration::MAX), hour).has_expired(hour));
    }

    #[test]
    fn a_sliding_one_is_renewed_after_a_quarter() {
        let entry = Deadline::new(Ttl::Sliding(Duration::from_secs(8)), 0);
        assert_eq!(entry.renewed(1_999), None);
        let renewed = entry.renewed(2_000).unwrap();
        assert_eq!(renewed.expires_ms, Some(10_000));
        assert_eq!(
            Deadline::new(Ttl::After(Duration::from_secs(8)), 0).renewed(7_000),
            None
        );
    }
}
