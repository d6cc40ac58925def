//! What the cases of the jobs bench have in common. Also compiled into
//! `peers/*`.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// Jobs waiting when claiming begins.
#[allow(dead_code, reason = "not every peer claims in batches")]
pub(crate) const WAITING: u64 = 20_000;
/// Jobs claimed, and acknowledged, at once.
#[allow(dead_code, reason = "not every peer claims in batches")]
pub(crate) const BATCH: usize = 128;
/// Jobs enqueued in one transaction.
#[allow(dead_code, reason = "not every peer has it")]
pub(crate) const MANY: u64 = 100;

/// A small job, as an app has thousands of.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Mail {
    pub(crate) job: String,
    pub(crate) user: u64,
    pub(crate) number: u64,
}

impl Mail {
    pub(crate) fn new(number: u64) -> Self {
        Self {
            job: "SendWelcomeMail".into(),
            user: 42,
            number,
        }
    }
}

/// Jobs per second: puts [`WAITING`] in place, untimed, and takes the time
/// until `drain` has done them all; again and again.
#[allow(dead_code, reason = "not every peer drains")]
pub(crate) fn drain_rate<C>(
    time: Duration,
    context: &mut C,
    mut fill: impl FnMut(&mut C) -> anyhow::Result<()>,
    mut drain: impl FnMut(&mut C) -> anyhow::Result<u64>,
) -> anyhow::Result<f64> {
    let (mut spent, mut jobs) = (Duration::ZERO, 0);
    // Filling takes as long again for some.
    let end = Instant::now() + time * 4;
    while spent < time && Instant::now() < end {
        fill(context)?;
        let started = Instant::now();
        let drained = drain(context)?;
        spent += started.elapsed();
        anyhow::ensure!(drained == WAITING, "{drained} jobs of {WAITING} were done");
        jobs += drained;
    }
    Ok(jobs as f64 / spent.as_secs_f64())
}
