//! The gate beside nginx as a proxy, and what `monolite run` costs an app.

mod footprint;
pub(crate) mod front;
mod load;
pub(crate) mod nginx;
mod start;
pub(crate) mod tiny_app;
mod wrk;

use crate::gate::front::Front;
use crate::{Choice, tools};

pub(crate) fn run(choice: &Choice, alone: bool) -> anyhow::Result<()> {
    tools::need("nginx", "nginx-light")?;
    tools::need("wrk", "wrk")?;
    let front = if alone {
        Front::Alone
    } else {
        Front::monolite()?
    };
    let load = |pace, report: &mut _| load::run(pace, report, &front);
    let start = |pace, report: &mut _| start::run(pace, report, &front);
    let footprint = |pace, report: &mut _| footprint::run(pace, report, &front);
    let parts: [crate::Part<'_>; 3] = [
        ("load", &load),
        ("start", &start),
        ("footprint", &footprint),
    ];
    // The others ask what `monolite run` adds.
    let parts = if alone { &parts[..1] } else { &parts[..] };
    choice.run(if alone { "gate-alone" } else { "gate" }, parts)
}
