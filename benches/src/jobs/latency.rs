//! How soon a job that is enqueued begins, and what waiting for it costs.

use crate::jobs::ours_working as ours;
use crate::report::Report;
use crate::rounds::Pace;
use crate::turns::Turns;

pub(crate) fn run(pace: Pace, report: &mut Report) -> anyhow::Result<()> {
    let rounds = (pace.long_rounds, pace.load);
    Turns::new("enqueue to start, one process")
        .ours(ours::START_HERE)
        .waits(["<= 100", ""], rounds, report)?;
    Turns::new("enqueue to start, two processes")
        .ours(ours::START_ACROSS)
        .waits(["<= 500", ""], rounds, report)
}

pub(crate) fn idle(pace: Pace, report: &mut Report) -> anyhow::Result<()> {
    Turns::new("idle workers, CPU (lower is better)")
        .wanted("< 1")
        .ours(ours::IDLE)
        .rates("ms", (1, pace.long), report)
}
