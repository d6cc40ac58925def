//! `monolite migrate`: own migration files, and a guard for any framework's.

mod apply;
mod check;
mod checked;
mod diff;
mod guarded;
mod new;
mod plan;
mod status;
mod target;

use clap::{Args, Subcommand};

pub(crate) use self::guarded::migration_lock;

use crate::Failure;

#[derive(Args)]
// One of the guard's has the same name.
#[group(skip)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  monolite migrate -- bin/rails db:migrate   # guarded: a loss nobody allowed is put back\n  \
        monolite migrate new add_posts             # migrations/0001_add_posts.sql\n  \
        monolite migrate up                        # apply what is not applied yet\n\n\
        Exit code: 0 done, 1 failed or put back, 2 wrong usage, 3 findings of check."
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Option<Action>,

    #[command(flatten)]
    guarded: guarded::Arguments,
}

#[derive(Subcommand)]
enum Action {
    /// Apply the files that are not applied yet.
    Up(apply::Up),
    /// What is applied, what waits.
    Status(status::Arguments),
    /// What `up` would do, tried on a copy of the live database.
    Plan(plan::Arguments),
    /// Begin a migration file.
    New(new::Arguments),
    /// Call files applied that a database has already.
    Baseline(apply::Baseline),
    /// In development: undo the last file by its copy, and apply it again.
    Redo(apply::Redo),
    /// What is dangerous in the files, and what to do instead.
    Check(check::Arguments),
    /// A migration from the database as it is to a schema file.
    Diff(diff::Arguments),
}

pub(crate) fn migrate(arguments: Arguments) -> Result<(), Failure> {
    match arguments.action {
        None => guarded::run(arguments.guarded),
        Some(Action::Up(arguments)) => apply::up(arguments),
        Some(Action::Status(arguments)) => status::status(arguments),
        Some(Action::Plan(arguments)) => plan::plan(arguments),
        Some(Action::New(arguments)) => new::new(arguments),
        Some(Action::Baseline(arguments)) => apply::baseline(arguments),
        Some(Action::Redo(arguments)) => apply::redo(arguments),
        Some(Action::Check(arguments)) => check::check(arguments),
        Some(Action::Diff(arguments)) => diff::diff(arguments),
    }
}
