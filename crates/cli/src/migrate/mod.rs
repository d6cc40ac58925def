//! `monolite migrate`: own migration files, and a guard for any framework's.

mod baseline;
mod check;
mod diff;
mod findings;
mod guarded;
mod host;
mod migration_lock;
mod new;
mod redo;
mod scratch;
mod stop;
mod target;
mod trial;
mod up;

use std::ffi::OsString;

use anyhow::anyhow;
use clap::{Args, Subcommand, ValueEnum};
use monolite_guard::Interrupted;

pub(crate) use self::migration_lock::migration_lock;

use crate::Failure;
use crate::flags::{self, Flags};

#[derive(Args)]
#[command(
    subcommand_negates_reqs = true,
    after_help = "Examples:\n  monolite migrate -- bin/rails db:migrate   # guarded: a loss nobody allowed is put back\n  \
        monolite migrate new add_posts             # migrations/0001_add_posts.sql\n  \
        monolite migrate up                        # apply what is not applied yet, guarded as well\n\n\
        What is meant to go is named in the migration file, in a comment of the statement:\n  \
        -- monolite: allow posts.body: replaced by text in 0007\n\
        and for migrations of a framework by --allow-loss, with the same names.\n\n\
        Exit code: 0 done, 1 failed or put back, 2 wrong usage, 3 findings that nobody allowed."
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Option<Action>,

    #[command(flatten)]
    common: Common,

    /// What to do with a migration that was interrupted [default: put back and keep a copy of what
    /// is there, unless a database was used since]
    #[arg(long, value_name = "HOW")]
    interrupted: Option<How>,

    /// The command [default: `migrate` of monolite.toml]
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// What all verbs take, before the verb or after it.
#[derive(Args)]
pub(crate) struct Common {
    #[command(flatten)]
    flags: Flags<flags::Migrate>,

    /// Print the report as JSON, on standard output
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum How {
    /// Put the databases back in any case; a copy of what is there is kept if there is room.
    PutBack,
    /// Take the databases as they are.
    Keep,
}

impl How {
    fn of(how: Option<Self>) -> Interrupted {
        match how {
            None => Interrupted::default(),
            Some(Self::PutBack) => Interrupted::RollBack,
            Some(Self::Keep) => Interrupted::Keep,
        }
    }
}

#[derive(Subcommand)]
enum Action {
    /// Apply the files that are not applied yet.
    Up(up::Arguments),
    /// What is applied, what waits, what is dangerous in it, and what to do instead.
    Check(check::Arguments),
    /// Begin a migration file.
    New(new::Arguments),
    /// A migration from the database as it is to a schema file.
    Diff(diff::Arguments),
}

pub(crate) fn migrate(arguments: Arguments) -> Result<(), Failure> {
    let Arguments {
        action,
        common,
        interrupted,
        command,
    } = arguments;
    let Some(action) = action else {
        return guarded::run(
            &common,
            How::of(interrupted),
            interrupted.is_some(),
            command,
        );
    };
    if interrupted.is_some() && !matches!(action, Action::Up(_)) {
        return Err(Failure::Usage(anyhow!(
            "--interrupted is for `monolite migrate --interrupted HOW`, with or without a command, and for `up`"
        )));
    }
    match action {
        Action::Up(arguments) => up::up(&arguments, &common, How::of(interrupted)),
        Action::Check(arguments) => check::check(&arguments, &common),
        Action::New(arguments) => new::new(&arguments, &common),
        Action::Diff(arguments) => diff::diff(&arguments, &common),
    }
}
