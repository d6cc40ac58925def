//! The jobs beside honker, apalis-sqlite and effectum, which keep them in
//! SQLite too, and beside Redis.

mod claim;
mod enqueue;
mod latency;
mod ours;
pub(crate) mod ours_working;
mod redis;
mod work;

use std::path::Path;
use std::time::Duration;

use crate::Choice;
use crate::peers::program::Program;

pub(crate) fn run(choice: &Choice) -> anyhow::Result<()> {
    choice.run(
        "jobs",
        &[
            ("enqueue", &enqueue::at_normal),
            ("full", &enqueue::at_full),
            ("claim", &claim::run),
            ("backlog", &claim::with_backlog),
            ("latency", &latency::run),
            ("idle", &latency::idle),
        ],
    )
}

/// The peers that are programs of their own.
struct Peers {
    honker: Program,
    apalis: Program,
    effectum: Program,
}

impl Peers {
    fn build() -> anyhow::Result<Self> {
        Ok(Self {
            honker: Program::build("honker")?,
            apalis: Program::build("apalis")?,
            effectum: Program::build("effectum")?,
        })
    }

    fn honker(&self, case: &'static str) -> impl Fn(&Path, Duration) -> anyhow::Result<f64> {
        |dir, time| self.honker.measure(case, dir, time)
    }

    fn apalis(&self, case: &'static str) -> impl Fn(&Path, Duration) -> anyhow::Result<f64> {
        |dir, time| self.apalis.measure(case, dir, time)
    }

    fn effectum(&self, case: &'static str) -> impl Fn(&Path, Duration) -> anyhow::Result<f64> {
        |dir, time| self.effectum.measure(case, dir, time)
    }
}
