//! How soon a watcher has read what another process committed.

use std::path::PathBuf;
use std::time::Duration;

use monolite_store::{Options, Store};

use crate::clock::monotonic_ns;
use crate::process::{Running, own, ready_and_wait};
use crate::random::Random;
use crate::report::Report;
use crate::rounds::{Pace, Samples};
use crate::{place, store::raw};

/// Commits the writer makes in one round, about 5 ms apart.
const COMMITS: usize = 1000;

#[derive(clap::Args)]
pub(crate) struct WriterArguments {
    #[arg(long)]
    commits: usize,
    path: PathBuf,
}

/// When a commit began and when it was over, in `CLOCK_MONOTONIC` nanoseconds.
type Commit = (u64, u64);

/// The other process: commits at uneven times, then tells when it did.
pub(crate) fn write(arguments: &WriterArguments) -> anyhow::Result<()> {
    let conn = raw::open(&arguments.path, raw::NORMAL)?;
    let mut random = Random::new(7);
    let mut commits: Vec<Commit> = Vec::with_capacity(arguments.commits);
    ready_and_wait()?;
    for number in 1..=arguments.commits {
        std::thread::sleep(Duration::from_micros(3000 + random.below(4000)));
        conn.execute_batch("BEGIN IMMEDIATE")?;
        conn.prepare_cached("UPDATE stamp SET number = ?1")?
            .execute([number as i64])?;
        let before = monotonic_ns();
        conn.execute_batch("COMMIT")?;
        commits.push((before, monotonic_ns()));
    }
    println!("{}", serde_json::to_string(&commits)?);
    Ok(())
}

pub(crate) fn run(pace: Pace, report: &mut Report) -> anyhow::Result<()> {
    let (mut p50, mut p99) = (Samples::default(), Samples::default());
    let (mut p50_whole, mut p99_whole) = (Samples::default(), Samples::default());
    for _ in 0..pace.long_rounds {
        let (from_answer, from_commit) = round()?;
        p50.push(from_answer.quantile(0.50));
        p99.push(from_answer.quantile(0.99));
        p50_whole.push(from_commit.quantile(0.50));
        p99_whole.push(from_commit.quantile(0.99));
    }
    let mut row = |what: &str, samples: &Samples, wanted| {
        let case = format!("wake-up by another process, {what} (lower is better)");
        report.alone(case, "us", samples.median()).wanted(wanted);
    };
    row("p50 after its commit", &p50, "<= 300");
    row("p99 after its commit", &p99, "<= 2000");
    row("p50 with the commit itself", &p50_whole, "");
    row("p99 with the commit itself", &p99_whole, "");
    Ok(())
}

/// Microseconds until each commit was read, from its end and from its start.
fn round() -> anyhow::Result<(Samples, Samples)> {
    let dir = place::scratch()?;
    let path = dir.path().join("stamp.sqlite3");
    let store = Store::open(&path, Options::default())?;
    store.write_blocking(|tx| {
        tx.execute_batch("CREATE TABLE stamp (number INTEGER); INSERT INTO stamp VALUES (0)")?;
        Ok(())
    })?;
    let mut watch = store.watch()?;
    let mut command = own()?;
    command.args(["writer", "--commits", &COMMITS.to_string()]);
    let mut writer = Running::start_talking(command.arg(&path))?;
    writer.wait_ready()?;
    writer.go()?;

    // When the commit of each number was known here.
    let mut seen_at = Vec::with_capacity(COMMITS);
    while seen_at.len() < COMMITS {
        let woken = watch.changed_blocking(Duration::from_secs(5))?;
        let number: i64 = store.read_blocking(|conn| {
            let mut statement = conn.prepare_cached("SELECT number FROM stamp")?;
            Ok(statement.query_row([], |row| row.get(0))?)
        })?;
        let now = monotonic_ns();
        anyhow::ensure!(woken, "no wake-up for 5 s, at commit {number}");
        // One wake-up may stand for several commits.
        seen_at.resize(seen_at.len().max(number as usize), now);
    }
    let commits: Vec<Commit> = serde_json::from_str(&writer.output()?)?;
    let (mut from_answer, mut from_commit) = (Samples::default(), Samples::default());
    for (seen, (before, after)) in seen_at.into_iter().zip(commits) {
        // It may be seen here before the writer has got to its clock.
        from_answer.push(seen.saturating_sub(after) as f64 / 1000.0);
        from_commit.push(seen.saturating_sub(before) as f64 / 1000.0);
    }
    drop(watch);
    store.close_blocking();
    Ok((from_answer, from_commit))
}
