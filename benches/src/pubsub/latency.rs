//! How soon a message is in another process, at 1,000 a second.

use crate::peers::program::Program;
use crate::peers::redis::{Durability, Redis};
use crate::pubsub::{honker, ours, redis};
use crate::report::Report;
use crate::rounds::Pace;
use crate::turns::Turns;

pub(crate) fn run(pace: Pace, report: &mut Report) -> anyhow::Result<()> {
    let server = Redis::start(Durability::Memory)?;
    let program = Program::build("honker")?;
    Turns::new("publish to another process, 1,000 a second")
        .ours(ours::ACROSS)
        .peer("Redis, kept nowhere", "", |_, time| {
            redis::waits(&server, time)
        })
        .peer("honker, NORMAL", "", |dir, time| {
            honker::waits(&program, "polling", dir, time)
        })
        .peer("honker, its kernel watcher", "", |dir, time| {
            honker::waits(&program, "kernel", dir, time)
        })
        .waits(["<= 500", "<= 3000"], (pace.long_rounds, pace.load), report)
}

pub(crate) fn fan_out(pace: Pace, report: &mut Report) -> anyhow::Result<()> {
    Turns::new("deliveries to 100 subscribers, one process")
        .wanted(">= 200000")
        .ours(ours::TO_100)
        .rates("messages/s", (pace.rounds, pace.short), report)?;
    Turns::new("the same, 64 publishers")
        .wanted(">= 200000")
        .ours(ours::TO_100_BY_64)
        .rates("messages/s", (pace.rounds, pace.short), report)
}
