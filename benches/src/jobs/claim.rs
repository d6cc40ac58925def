//! Jobs that do nothing, claimed, run and acknowledged per second.

use std::path::Path;
use std::time::Duration;

use crate::jobs::redis::{WORKERS, claim};
use crate::jobs::{Peers, ours_working as ours};
use crate::peers::redis::{CLIENTS, Durability, Redis};
use crate::report::Report;
use crate::rounds::Pace;
use crate::turns::Turns;

/// Jobs in the file beside those that are measured.
#[derive(Clone, Copy)]
pub(crate) struct Backlog {
    pub(crate) pending: u64,
    pub(crate) done: u64,
}

pub(crate) fn run(pace: Pace, report: &mut Report) -> anyhow::Result<()> {
    let peers = Peers::build()?;
    let memory = Redis::start(Durability::Memory)?;
    let second = Redis::start(Durability::EverySecond)?;
    let best_of = |redis: &Redis, time: Duration| {
        let rates = [1, WORKERS, CLIENTS].map(|workers| claim(redis, workers, time / 2));
        rates
            .into_iter()
            .try_fold(0.0, |best, rate| Ok(f64::max(best, rate?)))
    };
    Turns::new("claim + run + ack, no-op jobs, NORMAL")
        .ours(ours::CLAIM)
        .peer(
            "honker, batches of 128",
            ">= 2",
            peers.honker("claim-batch"),
        )
        .peer("honker, claim_one", "", peers.honker("claim-one"))
        .peer("Redis BLMOVE + LREM, memory", "> 1", |_, time| {
            best_of(&memory, time)
        })
        .peer("the same, AOF everysec", "", |_, time| {
            best_of(&second, time)
        })
        .peer(
            "apalis-sqlite, batches of 10",
            ">= 20",
            peers.apalis("work 10"),
        )
        .peer("apalis-sqlite, of 128", ">= 20", peers.apalis("work 128"))
        .peer("effectum, 128 at once", "", peers.effectum("work"))
        .rates("jobs/s", (pace.rounds, pace.short), report)?;
    Turns::new("the same, done ones removed at once as honker does")
        .ours(ours::CLAIM_REMOVE)
        .peer(
            "honker, batches of 128",
            ">= 2",
            peers.honker("claim-batch"),
        )
        .rates("jobs/s", (pace.rounds, pace.short), report)
}

/// Whether many jobs in the file slow the claims down: ours beside ours.
pub(crate) fn with_backlog(pace: Pace, report: &mut Report) -> anyhow::Result<()> {
    const FEW: u64 = 1_000;
    const MILLION: u64 = 1_000_000;
    let of = |pending, done| {
        move |dir: &Path, time| ours::claim_beside(dir, Backlog { pending, done }, time)
    };
    for (case, pending, done) in [
        ("claim + ack, a million pending", MILLION, 0),
        ("claim + ack, a million done", FEW, MILLION),
    ] {
        Turns::new(case)
            .ours(Some(of(pending, done)))
            .peer("ours, a thousand pending", ">= 0.8", of(FEW, 0))
            .rates("jobs/s", (pace.long_rounds, pace.short), report)?;
    }
    Ok(())
}
