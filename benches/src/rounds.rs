//! Rounds: peers take turns, since the machine drifts, and medians are kept.

use std::time::{Duration, Instant};

/// How long a bench takes.
#[derive(Clone, Copy)]
pub(crate) struct Pace {
    /// Turns of everyone, for measurements of about a second.
    pub(crate) rounds: usize,
    /// Turns of everyone, for measurements of ten seconds.
    pub(crate) long_rounds: usize,
    /// Length of a short measurement.
    pub(crate) short: Duration,
    /// Length of one turn under load.
    pub(crate) load: Duration,
    /// Length of a long measurement.
    pub(crate) long: Duration,
}

impl Pace {
    pub(crate) const FULL: Self = Self {
        rounds: 5,
        long_rounds: 3,
        short: Duration::from_millis(1500),
        load: Duration::from_secs(4),
        long: Duration::from_secs(10),
    };
    pub(crate) const QUICK: Self = Self {
        rounds: 1,
        long_rounds: 1,
        short: Duration::from_millis(300),
        load: Duration::from_secs(1),
        long: Duration::from_secs(2),
    };
}

/// What one contestant reached, round by round.
#[derive(Default, Clone)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    pub(crate) fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    pub(crate) fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// The value below which a `share` of the samples lie.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        match sorted.len() {
            0 => f64::NAN,
            count if share == 0.5 && count % 2 == 0 => {
                (sorted[count / 2 - 1] + sorted[count / 2]) / 2.0
            }
            count => sorted[((count - 1) as f64 * share).round() as usize],
        }
    }
}

/// Calls `work` for `time`, looking at the clock every `stride` calls; calls
/// per second.
pub(crate) fn rate(time: Duration, stride: u32, mut work: impl FnMut()) -> f64 {
    let started = Instant::now();
    let mut calls = 0_u64;
    loop {
        for _ in 0..stride {
            work();
        }
        calls += u64::from(stride);
        let passed = started.elapsed();
        if passed >= time {
            return calls as f64 / passed.as_secs_f64();
        }
    }
}
