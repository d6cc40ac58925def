//! Jobs enqueued per second.

use std::path::Path;

use monolite_store::Synchronous;

use crate::jobs::redis::enqueue;
use crate::jobs::{Peers, ours};
use crate::one_core::OneCore;
use crate::peers::redis::{CLIENTS, Durability, Redis};
use crate::report::Report;
use crate::rounds::Pace;
use crate::store::{commits, raw};
use crate::turns::Turns;

/// At `synchronous` NORMAL: nothing is lost unless power is.
pub(crate) fn at_normal(pace: Pace, report: &mut Report) -> anyhow::Result<()> {
    let peers = Peers::build()?;
    let memory = Redis::start(Durability::Memory)?;
    let second = Redis::start(Durability::EverySecond)?;
    let beside_client = {
        let _core = OneCore::enter()?;
        Redis::start(Durability::Memory)?
    };
    let pace = (pace.rounds, pace.short);

    Turns::new("enqueue, 1 caller, one commit each, NORMAL")
        .ours(ours::ENQUEUE)
        .peer("honker 0.5, NORMAL", ">= 1.5", peers.honker("enqueue"))
        .peer("Redis LPUSH, 1 client, memory", ">= 3", |_, time| {
            enqueue(&memory, 1, time)
        })
        .peer("Redis LPUSH, on its client's core", ">= 3", |_, time| {
            let _core = OneCore::enter()?;
            enqueue(&beside_client, 1, time)
        })
        .peer("Redis LPUSH, AOF everysec", "", |_, time| {
            enqueue(&second, 1, time)
        })
        .peer("apalis-sqlite, NORMAL", "", peers.apalis("enqueue"))
        .peer("effectum, rollback journal", "", peers.effectum("enqueue"))
        .rates("jobs/s", pace, report)?;

    Turns::new("enqueue, 100 in one call, NORMAL")
        .ours(ours::ENQUEUE_MANY)
        .peer(
            "honker, 100 per transaction",
            ">= 5",
            peers.honker("enqueue-many"),
        )
        .peer(
            "apalis-sqlite, 100 pushed",
            "",
            peers.apalis("enqueue-many"),
        )
        .peer("effectum, 100 added", "", peers.effectum("enqueue-many"))
        .rates("jobs/s", pace, report)?;

    Turns::new("enqueue, 1,000 in one call, NORMAL")
        .ours(ours::ENQUEUE_THOUSAND)
        .peer(
            "honker, 100 per transaction",
            ">= 5",
            peers.honker("enqueue-many"),
        )
        .rates("jobs/s", pace, report)?;

    Turns::new("enqueue, 64 callers, one commit each, NORMAL")
        .ours(ours::ENQUEUE_BY_64)
        .peer("honker, 1 caller, NORMAL", ">= 10", peers.honker("enqueue"))
        .peer("Redis LPUSH, 50 clients, memory", ">= 2", |_, time| {
            enqueue(&memory, CLIENTS, time)
        })
        .peer("Redis LPUSH, 50, AOF everysec", "", |_, time| {
            enqueue(&second, CLIENTS, time)
        })
        .peer("effectum, 64 callers", "", peers.effectum("enqueue-by-64"))
        .rates("jobs/s", pace, report)
}

/// At `synchronous` FULL: nothing is lost.
pub(crate) fn at_full(pace: Pace, report: &mut Report) -> anyhow::Result<()> {
    let always = Redis::start(Durability::Always)?;
    Turns::new("enqueue, 64 callers, one commit each, FULL")
        .ours(ours::ENQUEUE_BY_64_FULL)
        .peer(
            "rusqlite autocommit, 1 caller",
            ">= 20",
            |dir: &Path, time| {
                let path = dir.join("q.sqlite3");
                raw::open(&path, Synchronous::Full)?.execute_batch(commits::SCHEMA)?;
                commits::autocommit(&path, Synchronous::Full, time)
            },
        )
        .peer("Redis LPUSH, 50, AOF always", "", |_, time| {
            enqueue(&always, CLIENTS, time)
        })
        .rates("jobs/s", (pace.rounds, pace.short), report)
}
