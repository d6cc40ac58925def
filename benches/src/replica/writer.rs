//! The app: one process with one connection, that commits small transactions.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};

use super::data;
use crate::clock::monotonic_ns;
use crate::contest::histogram::Histogram;
use crate::process::{Running, own, ready_and_wait};
use crate::random::Random;
use crate::store::raw;

/// No stall makes a writer give up: it is to be measured.
const PATIENCE: Duration = Duration::from_secs(600);
/// Commits that took so long are told one by one.
const SLOW: Duration = Duration::from_millis(10);
const MOST_SLOW: usize = 1000;
const PAYLOAD: &str = r#"{"job":"SendWelcomeMail","user":42,"try":1}"#;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Commits a second; without, as fast as it can.
    #[arg(long)]
    rate: Option<u32>,
    path: PathBuf,
}

/// What the writer did, from `go` to the second one.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Wrote {
    pub(super) commits: u64,
    pub(super) seconds: f64,
    /// From before a transaction's begin to after its commit.
    pub(super) waits: Histogram,
    /// Of a slow one: when it was over, and how long it took.
    pub(super) slow: Vec<(u64, u64)>,
    /// When each commit was over, in nanoseconds of the monotonic clock; for a
    /// writer with a rate. The first is that of the stamp 1.
    pub(super) ends: Vec<u64>,
}

impl Wrote {
    pub(super) fn rate(&self) -> f64 {
        self.commits as f64 / self.seconds
    }
}

/// The app's process: writes from its start on.
pub(super) struct Writer(Running);

impl Writer {
    pub(super) fn start(path: &Path, rate: Option<u32>) -> anyhow::Result<Self> {
        let mut command = own()?;
        command.arg("replica-writer");
        if let Some(rate) = rate {
            command.args(["--rate", &rate.to_string()]);
        }
        let mut running = Running::start_talking(command.arg(path))?;
        running.wait_ready()?;
        running.go()?;
        Ok(Self(running))
    }

    pub(super) fn stop(mut self) -> anyhow::Result<Wrote> {
        self.0.go()?;
        Ok(serde_json::from_str(&self.0.output()?)?)
    }
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let conn = raw::open(&arguments.path, raw::NORMAL)?;
    conn.busy_timeout(PATIENCE)?;
    // As in nearly every app.
    raw::without_blocking_locks(&conn);
    ready_and_wait()?;
    let stop = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&stop);
    std::thread::spawn(move || {
        let mut line = String::new();
        let _ = std::io::stdin().read_line(&mut line);
        told.store(true, Ordering::Relaxed);
    });
    let wrote = match arguments.rate {
        None => flood(&conn, &stop)?,
        Some(rate) => pace(&conn, rate, &stop)?,
    };
    println!("{}", serde_json::to_string(&wrote)?);
    Ok(())
}

const APPEND: &str = "INSERT INTO event (kind, payload) VALUES ('default', ?1)";

/// As fast as it can: a row is appended.
fn flood(conn: &Connection, stop: &AtomicBool) -> anyhow::Result<Wrote> {
    let mut append = conn.prepare(APPEND)?;
    let mut wrote = Wrote::default();
    let started = Instant::now();
    let mut since = started;
    while !stop.load(Ordering::Relaxed) {
        append.execute([PAYLOAD])?;
        let now = Instant::now();
        wrote.waits.record(now - since);
        wrote.commits += 1;
        since = now;
    }
    wrote.seconds = started.elapsed().as_secs_f64();
    Ok(wrote)
}

/// At an even pace, as a web app does it: the stamp is raised, a row is
/// appended, and one of the items is changed. What it is late it does not make
/// up for.
fn pace(conn: &Connection, rate: u32, stop: &AtomicBool) -> anyhow::Result<Wrote> {
    let items: i64 = conn.query_row("SELECT max(id) FROM item", [], |row| row.get(0))?;
    let mut begin = conn.prepare("BEGIN IMMEDIATE")?;
    let mut raise = conn.prepare("UPDATE stamp SET text = ?1")?;
    let mut append = conn.prepare(APPEND)?;
    let mut change = conn.prepare("UPDATE item SET hits = hits + 1 WHERE id = ?1")?;
    let mut commit = conn.prepare("COMMIT")?;
    let mut random = Random::new(7);
    let mut wrote = Wrote::default();
    let started = Instant::now();
    let mut due = started;
    while !stop.load(Ordering::Relaxed) {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let stamp = data::stamp(wrote.commits + 1);
        let item = random.below(items.cast_unsigned()).cast_signed() + 1;
        let since = Instant::now();
        begin.execute([])?;
        raise.execute([stamp])?;
        append.execute([PAYLOAD])?;
        change.execute(params![item])?;
        commit.execute([])?;
        let took = since.elapsed();
        wrote.commits += 1;
        wrote.waits.record(took);
        let end = monotonic_ns();
        wrote.ends.push(end);
        if took >= SLOW && wrote.slow.len() < MOST_SLOW {
            wrote.slow.push((end, took.as_micros() as u64));
        }
        due = (due + Duration::from_secs(1) / rate).max(Instant::now());
    }
    wrote.seconds = started.elapsed().as_secs_f64();
    Ok(wrote)
}
