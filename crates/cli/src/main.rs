//! The `monolite` binary: arguments to one call each, printing, exit codes.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not fit for production;
//! `run` passes on the app's own.

#![allow(clippy::print_stdout, clippy::print_stderr)]

mod backup;
mod bar;
mod check;
mod demo;
mod descriptors;
mod flags;
mod human;
mod log;
mod migrate;
mod print;
mod replicate;
mod replication;
mod report;
mod restore;
mod run;
mod selection;
mod snapshots;
mod store_once;
mod task;
mod timestamp;
mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// One SQLite volume as a web app's whole production stack.
#[derive(Parser)]
#[command(name = "monolite", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Try it: the whole stack with a bundled app, nothing to set up.
    Demo(demo::Arguments),
    /// Run an app for real users: check the volume, migrate, start, serve.
    Run(Box<run::Arguments>),
    /// Is this volume fit for production? Each finding with its remedy.
    Check(check::Arguments),
    /// Store every commit of a volume elsewhere, for as long as it runs.
    Replicate(Box<replicate::Arguments>),
    /// Make a consistent copy of a live database: a file, a pipe, object storage.
    Backup(Box<backup::Arguments>),
    /// Bring databases back, as they are now or were at any moment.
    Restore(Box<restore::Arguments>),
    /// What can be restored, from when to when, how large.
    Snapshots(Box<snapshots::Arguments>),
    /// Run migrations that cannot lose data: your own files, or any framework's.
    Migrate(Box<migrate::Arguments>),
    /// Prove that a replica can be restored, before it has to be.
    Verify(Box<verify::Arguments>),
    /// Kills the app if monolite itself is killed.
    #[command(hide = true)]
    Watchdog,
    /// The bundled app alone, as `run` starts it.
    #[command(hide = true)]
    DemoApp,
}

/// How a verb ended that did not simply succeed.
enum Failure {
    /// Printed already, or nothing to print: only the code.
    Code(u8),
    /// To be printed; exit code 1.
    Error(anyhow::Error),
    /// To be printed; exit code 2.
    Usage(anyhow::Error),
}

impl Failure {
    /// What is printed of it.
    fn into_error(self) -> anyhow::Error {
        match self {
            Self::Code(code) => anyhow::anyhow!("failed with exit code {code}"),
            Self::Error(error) | Self::Usage(error) => error,
        }
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Error(error.into())
    }
}

fn main() -> ExitCode {
    let verb = Cli::parse().verb;
    let result = match verb {
        Verb::Demo(arguments) => demo::demo(arguments),
        Verb::Run(arguments) => run::run(*arguments),
        Verb::Check(arguments) => check::check(&arguments),
        Verb::Replicate(arguments) => replicate::replicate(*arguments),
        Verb::Backup(arguments) => backup::backup(*arguments),
        Verb::Restore(arguments) => restore::restore(*arguments),
        Verb::Snapshots(arguments) => snapshots::snapshots(*arguments),
        Verb::Migrate(arguments) => migrate::migrate(*arguments),
        Verb::Verify(arguments) => verify::verify(*arguments),
        Verb::Watchdog => {
            monolite_supervisor::watch_parent(std::io::stdin().lock()).map_err(Into::into)
        }
        Verb::DemoApp => demo::app(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Code(code)) => ExitCode::from(code),
        Err(Failure::Error(error)) => failed(&error, 1),
        Err(Failure::Usage(error)) => failed(&error, 2),
    }
}

fn failed(error: &anyhow::Error, code: u8) -> ExitCode {
    log::last_words(&format!("monolite: {}\n", print::with_causes(error)));
    ExitCode::from(code)
}
