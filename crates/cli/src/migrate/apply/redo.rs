//! `monolite migrate redo`: in development, undo the last `up`, and apply again.

use std::time::Duration;

use anyhow::anyhow;
use clap::Args;
use monolite_migrate::files::{self, Options};

use super::kept;
use super::up::apply;
use crate::migrate::target::{TURN, Target, now_ms};
use crate::{Failure, print, replication};

/// For connections of editors and shells.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Args)]
#[command(
    after_help = "Example:\n  monolite migrate up --keep-copy\n  (edit migrations/0004_add_posts.sql)\n  \
        monolite migrate redo\n\n\
        Migrations go forward only: what undoes one is the copy that `up --keep-copy` took before\n\
        it. Without that copy, and while `monolite run` serves the database, nothing is touched.\n\
        The database as it was before is kept beside the copy.\n\n\
        Exit code: 0 done, 1 failed, 2 wrong usage."
)]
pub(crate) struct Redo {
    /// Print what was applied as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    target: Target,
}

pub(crate) fn redo(arguments: Redo) -> Result<(), Failure> {
    let found = arguments.target.find()?;
    let migrations = found.migrations()?;
    migrations.check()?;
    let _turn = found.turn("monolite migrate redo", TURN)?;
    let Some(mut conn) = found.open()? else {
        return Err(Failure::Error(anyhow!(
            "there is no database {}; `monolite migrate up` makes one",
            found.path.display()
        )));
    };
    let applied = files::applied(&conn)?;
    let Some(last) = applied.last() else {
        return Err(Failure::Error(anyhow!(
            "no migration is applied to {}, so there is none to apply again",
            found.shown()
        )));
    };
    let Some(copy) = kept::find(&found, last.version) else {
        return Err(Failure::Error(anyhow!(
            "there is no copy of {} from before {}.sql, so it cannot be undone: in development, apply with `monolite migrate up --keep-copy`; in production, write a new migration",
            found.shown(),
            last.name
        )));
    };
    // Whoever serves people has it.
    let _lock = match &found.name {
        Some(_) => Some(replication::lock(&found.volume, "migrate redo")?),
        None => None,
    };
    let undone = files::would_undo(&conn, &copy)?;
    let aside = kept::set_aside(&found)?;
    files::undo(&mut conn, &copy, PATIENCE)?;
    if !arguments.json {
        let names: Vec<String> = undone
            .files
            .iter()
            .map(|file| format!("{}.sql", file.name))
            .collect();
        print::lines([format!(
            "undid {}; the database as it was is kept in {}",
            names.join(", "),
            aside.display()
        )])?;
    }
    let applied = apply(&conn, &migrations, &Options::new(now_ms()), &found);
    kept::rename(&copy, &applied.done)?;
    applied.show(&found, &migrations, arguments.json)
}
