//! Four processes write to one file at once.

pub(crate) mod histogram;
pub(crate) mod rules;
pub(crate) mod worker;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use clap::ValueEnum;

use crate::contest::rules::{COUNTERS, Outcome, PROCESSES};
use crate::contest::worker::Mode;
use crate::peers::program::Program;
use crate::process::{Running, own};
use crate::report::Report;
use crate::rounds::{Pace, Samples};
use crate::store::raw;
use crate::{place, process};

/// Who writes: this program in one of its modes, or sqlx.
enum Contestant {
    Here(Mode),
    Sqlx { begin: &'static str },
}

impl Contestant {
    fn name(&self) -> String {
        match self {
            Self::Here(Mode::Ours) => "ours".into(),
            Self::Here(Mode::Immediate) => "rusqlite, BEGIN IMMEDIATE".into(),
            Self::Here(Mode::BlockingLocks) => "rusqlite, IMMEDIATE + setlk".into(),
            Self::Here(Mode::Deferred) => "rusqlite, BEGIN".into(),
            Self::Sqlx { begin } => format!("sqlx pool, {begin}"),
        }
    }

    fn command(&self, sqlx: &Path) -> anyhow::Result<Command> {
        Ok(match self {
            Self::Here(mode) => {
                let mode = mode.to_possible_value().unwrap();
                let mut command = own()?;
                command.args(["worker", "--mode", mode.get_name()]);
                command
            }
            Self::Sqlx { begin } => {
                let mut command = Command::new(sqlx);
                command.args(["--begin", begin]);
                command
            }
        })
    }
}

/// What one contestant reached, round by round.
#[derive(Default)]
struct Score {
    rate: Samples,
    fewest: Samples,
    busy_errors: Samples,
    p50: Samples,
    p99: Samples,
    max: Samples,
}

pub(crate) fn run(pace: Pace, report: &mut Report) -> anyhow::Result<()> {
    let sqlx = Program::build("sqlx")?;
    let contestants = [
        Contestant::Here(Mode::Ours),
        Contestant::Here(Mode::Immediate),
        Contestant::Here(Mode::BlockingLocks),
        Contestant::Here(Mode::Deferred),
        Contestant::Sqlx {
            begin: "BEGIN IMMEDIATE",
        },
        Contestant::Sqlx { begin: "BEGIN" },
    ];
    let mut scores: Vec<Score> = contestants.iter().map(|_| Score::default()).collect();
    for _ in 0..pace.long_rounds {
        for (contestant, score) in contestants.iter().zip(&mut scores) {
            let outcome = compete(&contestant.command(sqlx.path())?, pace.long)
                .with_context(|| contestant.name())?;
            score
                .rate
                .push(outcome.writes as f64 / pace.long.as_secs_f64());
            let fewest = outcome.by_writer.iter().min();
            score
                .fewest
                .push(*fewest.unwrap() as f64 / pace.long.as_secs_f64());
            score.busy_errors.push(outcome.busy_errors as f64);
            score.p50.push(outcome.waits.quantile_us(0.50) as f64);
            score.p99.push(outcome.waits.quantile_us(0.99) as f64);
            score.max.push(outcome.waits.max_us() as f64);
        }
    }

    let (ours, peers) = scores.split_first().unwrap();
    for (contestant, peer) in contestants.iter().skip(1).zip(peers) {
        let mut row = |what: &str, unit, of: fn(&Score) -> &Samples, wanted| {
            let case = format!("4 processes x 8 writers, {what}");
            let (ours, peer) = (of(ours).median(), of(peer).median());
            report
                .versus(case, unit, ours, contestant.name(), peer)
                .wanted(wanted);
        };
        let lower = "(lower is better)";
        row("writes", "writes/s", |s| &s.rate, "");
        // The waits count each write alike, and one who starves makes few.
        row(
            "writes of the slowest writer",
            "writes/s",
            |s| &s.fewest,
            "",
        );
        row(
            &format!("busy errors {lower}"),
            "errors",
            |s| &s.busy_errors,
            "0",
        );
        row(&format!("wait p50 {lower}"), "us", |s| &s.p50, "");
        row(&format!("wait p99 {lower}"), "us", |s| &s.p99, "");
        row(&format!("wait max {lower}"), "us", |s| &s.max, "");
    }
    Ok(())
}

/// Starts the processes, lets them go together, and adds up what they tell.
fn compete(command: &Command, time: Duration) -> anyhow::Result<Outcome> {
    let dir = place::scratch()?;
    let path = dir.path().join("contest.sqlite3");
    let file = raw::open(&path, raw::NORMAL)?;
    file.execute_batch(
        "CREATE TABLE counter (id INTEGER PRIMARY KEY, n INTEGER NOT NULL);
         CREATE TABLE q (id INTEGER PRIMARY KEY, queue TEXT, payload TEXT);
         CREATE INDEX qi ON q (queue, id)",
    )?;
    for id in 0..COUNTERS {
        file.execute("INSERT INTO counter VALUES (?1, 0)", [id as i64])?;
    }

    let mut workers = Vec::new();
    for seed in 0..PROCESSES {
        let mut this = Command::new(command.get_program());
        this.args(command.get_args())
            .args(["--seed", &seed.to_string()])
            .args(["--time-ms", &time.as_millis().to_string()])
            .arg(&path);
        workers.push(Running::start_talking(&mut this)?);
    }
    for worker in &mut workers {
        worker.wait_ready()?;
    }
    for worker in &mut workers {
        worker.go()?;
    }
    let mut total = Outcome::default();
    for worker in workers {
        total.merge(&serde_json::from_str(&worker.output()?)?);
    }

    let count = |sql| file.query_row(sql, [], |row| row.get::<_, i64>(0));
    let jobs = count("SELECT count(*) FROM q")?;
    let raised = count("SELECT sum(n) FROM counter")?;
    anyhow::ensure!(
        jobs == raised && jobs == total.writes as i64,
        "{} writes were answered, the file has {jobs} jobs and counted {raised}",
        total.writes
    );
    Ok(total)
}

/// The child's side, common to all modes.
pub(crate) fn serve(run: impl FnOnce() -> anyhow::Result<Outcome>) -> anyhow::Result<()> {
    process::ready_and_wait()?;
    println!("{}", serde_json::to_string(&run()?)?);
    Ok(())
}
