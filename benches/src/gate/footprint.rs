//! What `monolite run` takes while nothing happens, without its app.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;

use crate::clock::cpu_of;
use crate::gate::front::Front;
use crate::gate::tiny_app;
use crate::http::free_port;
use crate::place;
use crate::process::own;
use crate::report::Report;
use crate::rounds::Pace;

pub(crate) fn run(pace: Pace, report: &mut Report, front: &Front) -> anyhow::Result<()> {
    let dir = place::scratch()?;
    let dir = dir.path();
    let port = free_port()?;
    let mut app = own()?;
    app.arg("tiny-app").arg(dir);
    let mut gate = front
        .run(dir, port, &app)?
        .also_ends(tiny_app::pid_file(dir));
    front.wait(dir, port, &mut gate)?;
    std::thread::sleep(pace.long / 2);
    let resident = resident_bytes(gate.pid())?;
    let all = processes(gate.pid(), dir)?;
    let mut resident_all = 0;
    for pid in &all {
        resident_all += resident_bytes(*pid)?;
    }
    let before = cpu(&all)?;
    anyhow::ensure!(!before.is_zero(), "this kernel does not count CPU time");
    std::thread::sleep(pace.long);
    let spent = cpu(&all)?.saturating_sub(before);
    anyhow::ensure!(gate.lives(), "monolite run has ended");
    report
        .alone(
            "monolite run, resident memory when idle (lower is better)",
            "MB",
            resident as f64 / 1e6,
        )
        .wanted("< 20");
    report.alone(
        "monolite run, the same with its helper processes (lower is better)",
        "MB",
        resident_all as f64 / 1e6,
    );
    report.alone(
        format!(
            "monolite run, CPU over {} s idle (lower is better)",
            Duration::as_secs(&pace.long)
        ),
        "ms",
        spent.as_secs_f64() * 1000.0,
    );
    Ok(())
}

/// `monolite run` and those it started beside the app.
fn processes(pid: u32, dir: &Path) -> anyhow::Result<Vec<u32>> {
    let app = std::fs::read_to_string(tiny_app::pid_file(dir))?;
    let mut found = vec![pid];
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let children = std::fs::read_to_string(task?.path().join("children"))?;
        let others = children.split_whitespace().filter(|child| *child != app);
        found.extend(
            others
                .map(str::parse::<u32>)
                .collect::<Result<Vec<_>, _>>()?,
        );
    }
    Ok(found)
}

fn cpu(pids: &[u32]) -> anyhow::Result<Duration> {
    pids.iter().map(|pid| cpu_of(*pid)).sum()
}

fn resident_bytes(pid: u32) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .context("no VmRSS")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").trim().parse()?;
    Ok(kib * 1024)
}
