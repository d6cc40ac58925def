//! Measures the parts of Monolite side by side with their peers, in the same
//! run and on the same work. See `benches/README.md`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr
)]

mod cache;
mod clock;
mod contest;
mod gate;
mod http;
mod jobs;
mod migrate;
mod one_core;
mod peers;
mod place;
mod process;
mod pubsub;
mod random;
mod replica;
mod report;
mod rounds;
mod store;
mod tools;
mod turns;

use clap::{Parser, Subcommand};

use crate::report::Report;
use crate::rounds::Pace;

#[derive(Parser)]
#[command(name = "monolite-bench", about = "Measures Monolite beside its peers")]
struct Arguments {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Subcommand)]
enum Bench {
    /// The store beside raw rusqlite and sqlx
    Store(Choice),
    /// The gate beside nginx, and the cost of `monolite run`
    Gate {
        #[command(flatten)]
        choice: Choice,
        /// Load the gate in a process of its own, without `monolite run`
        #[arg(long)]
        alone: bool,
    },
    /// The cache beside Redis, moka, exact LRU and FIFO
    Cache(Choice),
    /// The jobs beside honker, apalis-sqlite, effectum and Redis
    Jobs(Choice),
    /// Pub/sub beside Redis and honker
    Pubsub(Choice),
    /// Replication, restore and backup beside Litestream
    Replica(Choice),
    /// Migrations: the rebuild beside Rails and sqlite-utils, the guard beside cp
    Migrate(Choice),
    /// One process of the contention bench
    #[command(hide = true)]
    Worker(contest::worker::Arguments),
    /// The process whose commits wake the watcher
    #[command(hide = true)]
    Writer(store::wakeup::WriterArguments),
    /// The process that enqueues for a worker in another one
    #[command(hide = true)]
    Enqueuer(jobs::ours_working::EnqueuerArguments),
    /// The process that publishes to a subscriber in another one
    #[command(hide = true)]
    Publisher(pubsub::ours::PublisherArguments),
    /// Our side of the replication bench
    #[command(hide = true)]
    ReplicaChild(replica::child::Arguments),
    /// The app whose database is replicated
    #[command(hide = true)]
    ReplicaWriter(replica::writer::Arguments),
    /// The nginx that `monolite run` starts as its app
    #[command(hide = true)]
    Upstream(gate::nginx::UpstreamArguments),
    /// The least app, for the cost of `monolite run` itself
    #[command(hide = true)]
    TinyApp(gate::tiny_app::Arguments),
    /// Nothing but a gate
    #[command(hide = true)]
    GateServer(gate::front::ServerArguments),
}

#[derive(clap::Args)]
struct Choice {
    /// Run only the parts whose name contains this; writes no result file
    #[arg(long)]
    only: Option<String>,
    /// One short round of each, to see that it works; writes no result file
    #[arg(long)]
    quick: bool,
}

impl Choice {
    fn pace(&self) -> Pace {
        if self.quick { Pace::QUICK } else { Pace::FULL }
    }

    /// Runs the parts chosen. One that fails does not take the others along,
    /// but the bench fails in the end.
    fn run(&self, name: &'static str, parts: &[Part<'_>]) -> anyhow::Result<()> {
        let mut report = Report::new(name);
        let mut failed = Vec::new();
        for (part, run) in parts {
            if self.only.as_ref().is_some_and(|only| !part.contains(only)) {
                continue;
            }
            eprintln!("{name}: {part}");
            if let Err(error) = run(self.pace(), &mut report) {
                eprintln!("{name}: {part} failed: {error:#}");
                failed.push(*part);
            }
        }
        report.print();
        if self.only.is_none() && !self.quick {
            report.write()?;
        }
        anyhow::ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
        Ok(())
    }
}

/// A name, and what fills the report.
type Part<'a> = (
    &'static str,
    &'a dyn Fn(Pace, &mut Report) -> anyhow::Result<()>,
);

fn main() -> anyhow::Result<()> {
    // First: the tiny app reports when it was entered.
    let entered_ns = clock::monotonic_ns();
    match Arguments::parse().bench {
        Bench::Store(choice) => store::run(&choice),
        Bench::Gate { choice, alone } => gate::run(&choice, alone),
        Bench::Cache(choice) => cache::run(&choice),
        Bench::Jobs(choice) => jobs::run(&choice),
        Bench::Pubsub(choice) => pubsub::run(&choice),
        Bench::Replica(choice) => replica::run(&choice),
        Bench::Migrate(choice) => migrate::run(&choice),
        Bench::Worker(arguments) => contest::worker::run(&arguments),
        Bench::Writer(arguments) => store::wakeup::write(&arguments),
        Bench::Enqueuer(arguments) => jobs::ours_working::enqueue(&arguments),
        Bench::Publisher(arguments) => pubsub::ours::publish(&arguments),
        Bench::ReplicaChild(arguments) => replica::child::run(arguments),
        Bench::ReplicaWriter(arguments) => replica::writer::run(&arguments),
        Bench::Upstream(arguments) => gate::nginx::become_upstream(&arguments),
        Bench::TinyApp(arguments) => gate::tiny_app::run(&arguments, entered_ns),
        Bench::GateServer(arguments) => gate::front::serve(&arguments),
    }
}
