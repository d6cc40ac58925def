//! Waits, counted in buckets 3 % wide. Also compiled into `peers/sqlx`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Buckets between one power of two and the next.
const STEPS: u64 = 32;

/// How often each wait occurred; can be sent and merged.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Histogram {
    /// Lower edge of the bucket in microseconds, and its count.
    counts: BTreeMap<u64, u64>,
    max_us: u64,
}

impl Histogram {
    pub(crate) fn record(&mut self, wait: Duration) {
        let us = wait.as_micros() as u64;
        self.max_us = self.max_us.max(us);
        *self.counts.entry(edge(us)).or_default() += 1;
    }

    #[allow(dead_code, reason = "not every peer has several")]
    pub(crate) fn merge(&mut self, other: &Self) {
        self.max_us = self.max_us.max(other.max_us);
        for (edge, count) in &other.counts {
            *self.counts.entry(*edge).or_default() += count;
        }
    }

    /// The wait, in microseconds, that a `share` of the callers stayed below.
    #[allow(dead_code, reason = "peers only send it")]
    pub(crate) fn quantile_us(&self, share: f64) -> u64 {
        let total: u64 = self.counts.values().sum();
        let rank = (total as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (edge, count) in &self.counts {
            seen += count;
            if seen >= rank {
                return *edge;
            }
        }
        0
    }

    #[allow(dead_code, reason = "peers only send it")]
    pub(crate) fn max_us(&self) -> u64 {
        self.max_us
    }
}

/// Lower edge of the bucket `us` falls into.
fn edge(us: u64) -> u64 {
    if us < STEPS {
        return us;
    }
    let width = 1 << (us.ilog2() - STEPS.ilog2());
    us / width * width
}
