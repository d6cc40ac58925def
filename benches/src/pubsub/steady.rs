//! Messages at an even pace, each with the moment it was sent; and when they
//! arrived. Also compiled into `peers/honker`.

use std::time::{Duration, Instant};

use crate::clock::monotonic_ns;
use crate::contest::histogram::Histogram;

/// Messages a second.
const RATE: u32 = 1000;
/// The text of the last one.
const END: &str = "end";
/// Messages that only warm up.
const WARM_UP: u64 = 100;

/// Publishes for `time`, and then the end.
pub(crate) fn publish(
    time: Duration,
    mut publish: impl FnMut(&str) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let started = Instant::now();
    let messages = (time.as_secs_f64() * f64::from(RATE)) as u32;
    for number in 1..=messages {
        let due = started + Duration::from_secs(1) * number / RATE;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        publish(&monotonic_ns().to_string())?;
    }
    publish(END)
}

/// What has arrived.
#[derive(Default)]
pub(crate) struct Arrivals {
    count: u64,
    waits: Histogram,
}

impl Arrivals {
    /// Takes a message's text; false after the last.
    pub(crate) fn take(&mut self, text: &str) -> anyhow::Result<bool> {
        let now = monotonic_ns();
        if text == END {
            return Ok(false);
        }
        self.count += 1;
        if self.count > WARM_UP {
            let wait = now.saturating_sub(text.parse()?);
            self.waits.record(Duration::from_nanos(wait));
        }
        Ok(true)
    }

    /// How long they were under way; all that were published in `time`.
    pub(crate) fn waits(self, time: Duration) -> anyhow::Result<Histogram> {
        let expected = (time.as_secs_f64() * f64::from(RATE)) as u64;
        let count = self.count;
        anyhow::ensure!(count == expected, "{count} messages of {expected} arrived");
        Ok(self.waits)
    }
}
