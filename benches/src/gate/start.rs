//! From starting `monolite run` to its first answer, less the app's own start.

use crate::clock::monotonic_ns;
use crate::gate::front::Front;
use crate::gate::tiny_app::{self, Times};
use crate::http::free_port;
use crate::place;
use crate::process::own;
use crate::report::Report;
use crate::rounds::{Pace, Samples};

pub(crate) fn run(pace: Pace, report: &mut Report, front: &Front) -> anyhow::Result<()> {
    let mut overheads = Samples::default();
    for _ in 0..pace.rounds * 3 {
        overheads.push(once(front)?);
    }
    report
        .alone(
            "monolite run, start to first answer less the app's own start (lower is better)",
            "ms",
            overheads.median(),
        )
        .wanted("< 100");
    Ok(())
}

/// Milliseconds.
fn once(front: &Front) -> anyhow::Result<f64> {
    let dir = place::scratch()?;
    let dir = dir.path();
    let port = free_port()?;
    let mut app = own()?;
    app.arg("tiny-app").arg(dir);
    let spawned_ns = monotonic_ns();
    let mut gate = front
        .run(dir, port, &app)?
        .also_ends(tiny_app::pid_file(dir));
    front.wait(dir, port, &mut gate)?;
    let answered_ns = monotonic_ns();
    let app = Times::read(dir)?;
    let whole = (answered_ns - spawned_ns) as f64;
    Ok((whole - (app.listening_ns - app.entered_ns) as f64) / 1e6)
}
