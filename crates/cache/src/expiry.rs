//! When an entry is over.

use std::time::Duration;

/// How long an entry lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ttl {
    /// Until it is evicted.
    #[default]
    Never,
    /// So long after it was set.
    After(Duration),
    /// So long after it was set or read last. Renewed once a quarter of it has
    /// passed, so that most reads do not write.
    Sliding(Duration),
}

/// As the columns `expires_ms` and `ttl_ms` hold it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Expiry {
    pub(crate) expires_ms: Option<i64>,
    pub(crate) ttl_ms: Option<i64>,
}

/// An entry that has more than this left beyond its TTL was set under a clock
/// that has been put back since. It is over as well: nothing may be stuck until
/// that clock's time comes again.
const CLOCK_SLACK_MS: i64 = 60_000;

impl Expiry {
    pub(crate) fn new(ttl: Ttl, now_ms: i64) -> Self {
        let (ttl, sign) = match ttl {
            Ttl::Never => return Self::default(),
            Ttl::After(ttl) => (ttl, 1),
            Ttl::Sliding(ttl) => (ttl, -1),
        };
        // Of a thousand years at most, so that no sum overflows.
        let ms = i64::try_from(ttl.as_millis()).map_or(MS_MAX, |ms| ms.clamp(0, MS_MAX));
        Self {
            expires_ms: Some(now_ms.saturating_add(ms)),
            // One more than nothing: the sign is all that tells them apart.
            ttl_ms: Some(sign * ms.max(1)),
        }
    }

    pub(crate) fn is_over(self, now_ms: i64) -> bool {
        let Some(expires) = self.expires_ms else {
            return false;
        };
        let longest = self.ttl_ms.map_or(MS_MAX, i64::abs);
        expires <= now_ms || expires.saturating_sub(now_ms) > longest + CLOCK_SLACK_MS
    }

    /// The new one, if it is time for that.
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
    fn an_entry_is_over_in_time_whatever_the_clock_does() {
        let hour = 3_600_000;
        let entry = Expiry::new(Ttl::After(Duration::from_secs(10)), hour);
        assert!(!entry.is_over(hour + 9_999));
        assert!(entry.is_over(hour + 10_000));
        assert!(!entry.is_over(hour - 50_000), "a small step back");
        assert!(entry.is_over(0), "a large step back");
        assert!(!Expiry::new(Ttl::Never, hour).is_over(i64::MAX));
        assert!(Expiry::new(Ttl::After(Duration::ZERO), hour).is_over(hour));
        assert!(!Expiry::new(Ttl::After(Duration::MAX), hour).is_over(hour));
    }

    #[test]
    fn a_sliding_one_is_renewed_after_a_quarter() {
        let entry = Expiry::new(Ttl::Sliding(Duration::from_secs(8)), 0);
        assert_eq!(entry.renewed(1_999), None);
        let renewed = entry.renewed(2_000).unwrap();
        assert_eq!(renewed.expires_ms, Some(10_000));
        assert_eq!(
            Expiry::new(Ttl::After(Duration::from_secs(8)), 0).renewed(7_000),
            None
        );
    }
}
