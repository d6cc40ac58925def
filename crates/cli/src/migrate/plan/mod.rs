//! `monolite migrate plan`: what `up` would do, tried on a copy.

mod scratch;
mod stop;

use std::path::Path;

use clap::Args;
use monolite_migrate::files::{self, Done, Event, Migrations, Options};
use serde::Serialize;

use self::scratch::Scratch;
use self::stop::{Stop, stoppable};
use super::checked::Checked;
use super::target::{Found, Target, now_ms};
use crate::bar::Bar;
use crate::{Failure, human, print};

#[derive(Args)]
#[command(after_help = "Example:\n  monolite migrate plan\n\n\
        A consistent copy is made while the app goes on writing; the files are applied to it, and\n\
        it is removed. It takes as much room as the database, unless the filesystem can share it.\n\n\
        Exit code: 0 they would be applied, 1 one would fail, 2 wrong usage.")]
pub(crate) struct Arguments {
    /// Stop after the file of this number [default: the newest]
    #[arg(long, value_name = "N")]
    to: Option<u32>,

    /// Have nothing to do where a newer version of the app has migrated the database
    #[arg(long)]
    accept_newer: bool,

    /// Print JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    target: Target,
}

#[derive(Serialize)]
struct Report<'r> {
    database: &'r Path,
    /// Bytes of the copy.
    size: u64,
    journal_mode: &'r str,
    files: &'r [Planned],
    /// What `check` finds in the files that wait.
    check: Checked,
    error: Option<String>,
}

#[derive(Serialize)]
struct Planned {
    #[serde(flatten)]
    done: Done,
    locks: Locks,
    /// Bytes the log has grown to, that must be free on the disk.
    log: u64,
}

/// Who waits meanwhile.
#[derive(Serialize, Clone, Copy)]
struct Locks {
    /// Writers, in microseconds.
    writers_us: u64,
    /// Readers: never, or while it is committed.
    readers: Readers,
}

#[derive(Serialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Readers {
    Never,
    Commit,
}

pub(crate) fn plan(arguments: Arguments) -> Result<(), Failure> {
    let found = arguments.target.find()?;
    let migrations = found.migrations()?;
    migrations.check()?;
    found.is_there_if_named()?;
    let options = Options::new(now_ms())
        .up_to(arguments.to)
        .accept_newer(arguments.accept_newer);
    let accept_newer = arguments.accept_newer;
    let json = arguments.json;
    stoppable(move |stop| {
        let scratch = Scratch::of(&found, &stop)?;
        let plan = Plan::of(&scratch, &migrations, &options, accept_newer, &found, &stop)?;
        plan.show(&scratch, &found, json)
    })
}

/// What was tried.
struct Plan {
    mode: String,
    waiting: usize,
    checked: Checked,
    files: Vec<Planned>,
    result: Result<(), files::Error>,
}

impl Plan {
    fn of(
        scratch: &Scratch,
        migrations: &Migrations,
        options: &Options,
        accept_newer: bool,
        found: &Found,
        stop: &Stop,
    ) -> Result<Self, Failure> {
        let conn = scratch.open()?;
        stop.watch(&conn);
        let mode: String = conn.query_row("PRAGMA journal_mode", [], |row| row.get(0))?;
        let waiting = files::pending(&conn, migrations, accept_newer)?;
        let checked = Checked::of(&conn, waiting)?;
        let bar = Bar::new(found.shown());
        let mut planned = Vec::new();
        let result = files::up(&conn, migrations, options, &mut |event| match event {
            Event::Statement { file, line, words } => {
                bar.say(&format!("{}, line {line}: {words} …", file.file_name()));
            }
            Event::Applied(done) => planned.push(Planned {
                done: done.clone(),
                locks: Locks {
                    writers_us: done.locked_us,
                    readers: match mode.as_str() {
                        "wal" | "memory" => Readers::Never,
                        _ => Readers::Commit,
                    },
                },
                log: scratch.log(),
            }),
            _ => {}
        });
        Ok(Self {
            mode,
            waiting: waiting.len(),
            checked,
            files: planned,
            result: result.map(drop),
        })
    }

    fn show(self, scratch: &Scratch, found: &Found, json: bool) -> Result<(), Failure> {
        if json {
            print::json(&Report {
                database: &found.path,
                size: scratch.bytes,
                journal_mode: &self.mode,
                files: &self.files,
                check: self.checked,
                error: self.result.as_ref().err().map(ToString::to_string),
            })?;
            return Ok(self.result?);
        }
        let waiting = match self.waiting {
            0 => "nothing to apply".into(),
            n => format!(
                "{} to apply, tried on {}",
                human::count(n, "migration", "migrations"),
                match scratch.bytes {
                    0 => "an empty database".into(),
                    bytes => format!("a copy of {}", human::size(bytes)),
                }
            ),
        };
        print::lines([format!("{}: {waiting}", found.shown())])?;
        print::lines(self.files.iter().map(Planned::shown))?;
        print::lines(self.checked.shown())?;
        Ok(self.result?)
    }
}

impl Planned {
    fn shown(&self) -> String {
        let took = human::time_us(self.done.locked_us);
        let readers = match self.locks.readers {
            Readers::Never => "readers go on",
            Readers::Commit => "readers wait while it is committed",
        };
        let log = match self.log {
            0 => String::new(),
            bytes => format!("; {} of log", human::size(bytes)),
        };
        let mut text = format!(
            "{}.sql: writers wait {took}, {readers}{log}\n",
            self.done.applied.name
        );
        let rows: Vec<Vec<String>> = (self.done.statements.iter())
            .map(|step| {
                vec![
                    format!("  line {}", step.line),
                    step.words.clone(),
                    human::time_us(step.took_us),
                ]
            })
            .collect();
        text += &human::table(&rows);
        text.trim_end().to_owned()
    }
}
