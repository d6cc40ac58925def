//! The `monolite` binary: arguments to one call each, printing, exit codes.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not fit for production;
//! `run` passes on the app's own.

#![allow(clippy::print_stdout, clippy::print_stderr)]

mod check;
mod demo;
mod log;
mod report;
mod run;
mod settings;
mod surroundings;

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
    /// Is this volume fit for production? Each finding with its mend.
    Check(check::Arguments),
    /// Kills the app should monolite itself be killed.
    #[command(hide = true)]
    Keeper,
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
        Verb::Keeper => monolite_supervisor::keep(std::io::stdin().lock()).map_err(Into::into),
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
    log::last_words(&format!("monolite: {error:#}\n"));
    ExitCode::from(code)
}
