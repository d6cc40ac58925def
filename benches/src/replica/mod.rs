//! Replication, restore and backup beside Litestream, `sqlite3` and `cp`. Both
//! sides are processes of their own and speak to one S3 server in this process.

mod arrivals;
mod backup;
pub(crate) mod child;
mod commits;
mod cost;
mod data;
mod lag;
mod litestream;
mod log;
mod markdown;
mod memory;
mod restore;
mod site;
mod stall;
mod timed;
mod who;
pub(crate) mod writer;

use std::time::Duration;

use crate::Choice;
use crate::rounds::Pace;

/// How much is moved, and for how long it is looked at.
#[derive(Clone, Copy)]
struct Scale {
    /// The database of which a snapshot is made beside a writer.
    stall_bytes: u64,
    /// With a writer, for each side, and longer if its snapshots take longer.
    stall: Duration,
    /// The database that is restored, and how many changes it had.
    restore_bytes: u64,
    increments: u64,
    backup_bytes: u64,
    /// After so long a copy is given up.
    backup_limit: Duration,
    lag: Duration,
    /// One commit a second for so long, then nothing for so long.
    cost: Duration,
    idle: Duration,
    /// Databases of one volume.
    databases: usize,
    /// From the last work to a look at memory.
    settle: Duration,
}

impl Scale {
    const FULL: Self = Self {
        stall_bytes: 2 << 30,
        stall: Duration::from_secs(60),
        restore_bytes: 1 << 30,
        increments: 1000,
        backup_bytes: 1 << 30,
        backup_limit: Duration::from_secs(40),
        lag: Duration::from_secs(15),
        // Over five minutes: both sides merge files at least once.
        cost: Duration::from_secs(315),
        idle: Duration::from_secs(60),
        databases: 500,
        settle: Duration::from_secs(10),
    };
    const QUICK: Self = Self {
        stall_bytes: 200 << 20,
        stall: Duration::from_secs(25),
        restore_bytes: 100 << 20,
        increments: 100,
        backup_bytes: 100 << 20,
        backup_limit: Duration::from_secs(10),
        lag: Duration::from_secs(5),
        cost: Duration::from_secs(20),
        idle: Duration::from_secs(15),
        databases: 50,
        settle: Duration::from_secs(3),
    };
}

pub(crate) fn run(choice: &Choice) -> anyhow::Result<()> {
    litestream::program()?;
    let scale = if choice.quick {
        Scale::QUICK
    } else {
        Scale::FULL
    };
    let stall = |_: Pace, report: &mut _| stall::run(scale, report);
    let lag = |_: Pace, report: &mut _| lag::run(scale, report);
    let restore = |pace, report: &mut _| restore::run(pace, scale, report);
    let backup = |pace, report: &mut _| backup::run(pace, scale, report);
    let cost = |_: Pace, report: &mut _| cost::run(scale, report);
    let memory = |_: Pace, report: &mut _| memory::run(scale, report);
    let ran = choice.run(
        "replica",
        &[
            ("commits", &commits::run),
            ("stall", &stall),
            ("lag", &lag),
            ("restore", &restore),
            ("backup", &backup),
            ("cost", &cost),
            ("memory", &memory),
        ],
    );
    if choice.only.is_none() && !choice.quick {
        markdown::print("replica")?;
    }
    ran
}
