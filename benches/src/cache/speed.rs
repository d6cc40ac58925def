//! Values stored and found per second, beside Redis and beside a cache that is
//! nothing but memory.

use std::path::Path;

use crate::cache::load::Load;
use crate::cache::{ours, redis};
use crate::one_core::OneCore;
use crate::peers::program::Program;
use crate::peers::redis::{Durability, Redis};
use crate::report::Report;
use crate::rounds::Pace;
use crate::turns::Turns;

const SIZES: [(usize, &str); 4] = [
    (100, "100 B"),
    (1024, "1 KB"),
    (10 * 1024, "10 KB"),
    (100 * 1024, "100 KB"),
];

pub(crate) fn run(pace: Pace, report: &mut Report) -> anyhow::Result<()> {
    let redis = Redis::start(Durability::Memory)?;
    let beside_client = {
        let _core = OneCore::enter()?;
        Redis::start(Durability::Memory)?
    };
    let moka = Program::build("moka")?;
    for (value_bytes, size) in SIZES {
        for callers in redis::COUNTS {
            let load = Load {
                value_bytes,
                callers,
            };
            let small = value_bytes <= 1024;
            for verb in ["get", "set"] {
                let wanted = match (small, verb, callers) {
                    (true, "get", 1) => ">= 30",
                    (true, "set", 1) => ">= 3",
                    (true, "get", _) => ">= 4",
                    (true, ..) => ">= 2",
                    _ => ">= 1",
                };
                let mokas = format!("{verb} {value_bytes} {callers}");
                let who = if callers == 1 { "caller" } else { "callers" };
                let case = Turns::new(format!("{verb}, {size}, {callers} {who}"))
                    .ours(Some(move |dir: &Path, time| {
                        ours::speed(dir, verb, load, time)
                    }))
                    .peer("Redis, memory only", wanted, |_, time| {
                        redis::best(&redis, verb, load, time)
                    });
                let case = if callers == 1 {
                    case.peer("Redis, on its client's core", wanted, |_, time| {
                        let _core = OneCore::enter()?;
                        redis::best(&beside_client, verb, load, time)
                    })
                } else {
                    case
                };
                let case = if small {
                    case.peer("moka, memory of the process", "", |dir, time| {
                        moka.measure(&mokas, dir, time)
                    })
                } else {
                    case
                };
                case.rates("ops/s", (pace.long_rounds, pace.short), report)?;
            }
        }
    }
    Ok(())
}

/// How long a `set` takes while each must push something out.
pub(crate) fn while_evicting(pace: Pace, report: &mut Report) -> anyhow::Result<()> {
    Turns::new("set, 1 KB, 1 caller, while evicting")
        .ours(ours::SET_WHILE_EVICTING)
        .waits(["", ""], (pace.rounds, pace.short), report)
}
