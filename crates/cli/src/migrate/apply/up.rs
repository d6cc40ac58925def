//! `monolite migrate up`: apply what is not applied yet.

use std::time::Duration;

use clap::Args;
use monolite_migrate::files::{self, Done, Event, File, Migrations, Options};
use rusqlite::Connection;
use serde::Serialize;

use super::kept;
use crate::bar::Bar;
use crate::migrate::checked::Checked;
use crate::migrate::target::{Found, Target, now_ms};
use crate::{Failure, human, print};

#[derive(Args)]
#[command(
    after_help = "Examples:\n  monolite migrate up\n  monolite migrate up --to 3\n  \
        monolite migrate up --keep-copy           # in development: `monolite migrate redo` undoes it\n\n\
        Each file is one transaction with its record: it is applied whole, or not at all. What is\n\
        wrong with any of the files is said before the first one runs. Where two run at once, one\n\
        waits and finds it done. What `monolite migrate check` finds is counted, and keeps no file\n\
        from being applied: have CI run it.\n\n\
        Exit code: 0 done, 1 failed, 2 wrong usage."
)]
pub(crate) struct Up {
    /// Stop after the file of this number [default: the newest]
    #[arg(long, value_name = "N")]
    to: Option<u32>,

    /// Keep a copy of the database as it was, for `monolite migrate redo`: in development
    #[arg(long)]
    keep_copy: bool,

    /// Have nothing to do where a newer version of the app has migrated the database
    #[arg(long)]
    accept_newer: bool,

    /// Longest wait for another process that writes, for each file [default: 10m]
    #[arg(long, value_name = "TIME", value_parser = monolite_app::settings::parse_duration)]
    wait: Option<Duration>,

    /// Begin an empty database where there is none, without asking a replica
    #[arg(long)]
    create: bool,

    /// Print what was applied as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    target: Target,
}

pub(crate) fn up(arguments: Up) -> Result<(), Failure> {
    let found = arguments.target.find()?;
    let migrations = found.migrations()?;
    // Before there is a file that was made for nothing.
    migrations.check()?;
    // Before it is opened: that alone may change its file.
    let wait = arguments.wait.unwrap_or(Options::LOCK_WAIT_DEFAULT);
    let _turn = found.turn("monolite migrate up", wait)?;
    let conn = found.open_or_create(arguments.create)?;
    let options = Options::new(now_ms())
        .up_to(arguments.to)
        .accept_newer(arguments.accept_newer)
        .lock_wait(wait);
    let waiting = files::pending(&conn, &migrations, arguments.accept_newer)?;
    let checked = Checked::of(&conn, up_to(waiting, arguments.to))?;
    let copy = match arguments.keep_copy && !waiting.is_empty() {
        true => Some(kept::Copy::take(&found)?),
        false => None,
    };
    let mut applied = apply(&conn, &migrations, &options, &found);
    applied.checked = checked;
    if let Some(copy) = copy {
        copy.keep(&applied.done)?;
    }
    applied.show(&found, &migrations, arguments.json)
}

/// Those that are to be applied now.
fn up_to(waiting: &[File], to: Option<u32>) -> &[File] {
    let is_wanted = |file: &File| to.is_none_or(|to| file.version() <= to);
    let count = waiting.iter().take_while(|file| is_wanted(file)).count();
    waiting.get(..count).unwrap_or_default()
}

/// What was applied before all was done, or something failed.
pub(super) struct Applying {
    pub(super) done: Vec<Done>,
    /// What was found in them before; they are applied all the same.
    checked: Checked,
    pub(super) result: Result<(), files::Error>,
}

#[derive(Serialize)]
struct Report<'r> {
    database: &'r std::path::Path,
    applied: &'r [Done],
    check: Checked,
    error: Option<String>,
}

pub(super) fn apply(
    conn: &Connection,
    migrations: &Migrations,
    options: &Options,
    found: &Found,
) -> Applying {
    let bar = Bar::new(found.shown());
    let mut done = Vec::new();
    let result = files::up(conn, migrations, options, &mut |event| match event {
        Event::Waiting { file } => bar.say(&format!(
            "another process writes; {} waits",
            file.file_name()
        )),
        Event::Statement { file, line, words } => {
            bar.say(&format!("{}, line {line}: {words} …", file.file_name()));
        }
        Event::Applied(one) => done.push(one.clone()),
        _ => {}
    });
    Applying {
        done,
        checked: Checked::default(),
        result: result.map(drop),
    }
}

impl Applying {
    pub(super) fn show(
        self,
        found: &Found,
        migrations: &Migrations,
        json: bool,
    ) -> Result<(), Failure> {
        if json {
            print::json(&Report {
                database: &found.path,
                applied: &self.done,
                check: self.checked,
                error: self.result.as_ref().err().map(ToString::to_string),
            })?;
        } else {
            print::lines(self.done.iter().map(|one| {
                let took = human::time_us(one.locked_us);
                format!(
                    "applied {}.sql to {} in {took}",
                    one.applied.name,
                    found.shown()
                )
            }))?;
            print::lines(self.checked.shown())?;
            if self.done.is_empty() && self.result.is_ok() {
                let all = migrations.files().len();
                let all = human::count(all, "migration", "migrations");
                print::lines([format!("{}: nothing to apply of {all}", found.shown())])?;
            }
        }
        Ok(self.result?)
    }
}
