//! Pub/sub beside Redis and honker.

mod honker;
mod latency;
pub(crate) mod ours;
mod redis;
mod steady;

use crate::Choice;

pub(crate) fn run(choice: &Choice) -> anyhow::Result<()> {
    choice.run(
        "pubsub",
        &[("latency", &latency::run), ("fan-out", &latency::fan_out)],
    )
}
