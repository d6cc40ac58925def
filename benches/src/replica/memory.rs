//! What following takes while nothing happens: memory, files, CPU.

use std::time::Duration;

use anyhow::Context;
use rusqlite::Connection;

use super::site::{PREFIX, Site};
use super::who::Who;
use super::{Scale, data};
use crate::clock::cpu_of;
use crate::report::Report;
use crate::store::raw;

const LIMIT: Duration = Duration::from_secs(90);

/// What a process takes.
struct Footprint {
    resident_mb: f64,
    files: f64,
    cpu_ms: f64,
}

pub(super) fn run(scale: Scale, report: &mut Report) -> anyhow::Result<()> {
    for count in [1, scale.databases] {
        let ours = footprint(Who::OURS, count, scale)?;
        let theirs = footprint(Who::LITESTREAM, count, scale)?;
        let databases = if count == 1 { "database" } else { "databases" };
        let mut row = |what: &str, unit, of: fn(&Footprint) -> f64| {
            let case = format!("{count} {databases} followed, idle, {what} (lower is better)");
            report.versus(case, unit, of(&ours), "Litestream", of(&theirs));
        };
        row("resident memory", "MB", |of| of.resident_mb);
        row("open files", "files", |of| of.files);
        let cpu = format!("CPU in {} s", scale.settle.as_secs());
        row(&cpu, "ms", |of| of.cpu_ms);
    }
    Ok(())
}

fn footprint(who: Who, count: usize, scale: Scale) -> anyhow::Result<Footprint> {
    let site = Site::new()?;
    let names: Vec<String> = (0..count).map(|n| format!("tenant-{n}.sqlite3")).collect();
    let model = site.dir().join("model.sqlite3");
    data::make(&model, 0)?;
    for name in &names {
        std::fs::copy(&model, site.volume().join(name))?;
    }
    let mut following = who.follow(&site)?.context("somebody follows")?;
    for name in &names {
        following.wait_stored(&site, name, LIMIT)?;
    }
    // Idle as it is in life: after some work, in each.
    let changes = |name: &String| {
        let keys = site.server().keys(&format!("{PREFIX}/{name}/"));
        keys.iter().filter(|key| key.ends_with(".ltx")).count()
    };
    let before: Vec<usize> = names.iter().map(changes).collect();
    for name in &names {
        let conn: Connection = raw::open(&site.volume().join(name), raw::NORMAL)?;
        conn.busy_timeout(LIMIT)?;
        conn.execute("UPDATE stamp SET text = ?1", [data::stamp(1)])?;
    }
    for (name, before) in names.iter().zip(before) {
        following.wait(&site, LIMIT, "a change is stored", || {
            changes(name) > before
        })?;
    }
    std::thread::sleep(scale.settle);
    let pid = following.pid();
    let resident_mb = resident_bytes(pid)? as f64 / 1e6;
    let files = std::fs::read_dir(format!("/proc/{pid}/fd"))?.count() as f64;
    let spent = cpu_of(pid)?;
    std::thread::sleep(scale.settle);
    let spent = cpu_of(pid)?.saturating_sub(spent);
    following.wait(&site, Duration::ZERO, "it lives to the end", || true)?;
    Ok(Footprint {
        resident_mb,
        files,
        cpu_ms: spent.as_secs_f64() * 1000.0,
    })
}

fn resident_bytes(pid: u32) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: u64 = line
        .context("no VmRSS")?
        .trim()
        .trim_end_matches(" kB")
        .parse()?;
    Ok(kib * 1024)
}
