//! `monolite migrate check`: what is applied, what waits, what is dangerous in it, and what to do
//! instead.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use monolite_migrate::files::{self, Entry, File, Migrations, State};
use monolite_migrate::lint::{Finding, Linter};
use rusqlite::Connection;
use serde::Serialize;

use super::Common;
use super::findings::{self, Counts};
use super::target::{self, Found};
use crate::{Failure, human, print, timestamp};

#[derive(Args)]
#[command(
    after_help = "Examples:\n  monolite migrate check                     # the files that are not applied yet\n  \
        monolite migrate check migrations/0007_*.sql\n  \
        monolite migrate check --no-database       # all files, as a CI without a database\n\n\
        What is meant is allowed in a comment of its statement, by the name that is reported, with\n\
        the reason:\n  \
        -- monolite: allow column:posts.body: replaced by text in 0007\n\n\
        With a database, rows are counted in it; nothing is written.\n\n\
        Exit code: 0 no errors, 1 failed, or what was applied and the files do not fit together,\n\
        2 wrong usage, 3 errors found."
)]
pub(crate) struct Arguments {
    /// Files, of the directory or of any other [default: those not applied yet; all, without a
    /// database]
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Judge by the files alone
    #[arg(long)]
    no_database: bool,

    /// Code of the release before still runs next to the new schema: what only breaks such code is
    /// an error, too
    #[arg(long)]
    rolling: bool,
}

#[derive(Serialize)]
struct Report<'r> {
    database: Option<&'r Path>,
    /// Every file and every record, by number.
    migrations: &'r [Entry],
    pending: usize,
    files: Vec<&'r str>,
    #[serde(flatten)]
    counts: Counts,
    findings: &'r [Finding],
    /// Why `up` would apply none of them.
    error: Option<String>,
}

/// How files are judged.
struct Rules {
    allow: Vec<String>,
    rolling: bool,
}

impl Rules {
    fn linter<'c>(&self, conn: Option<&'c Connection>) -> rusqlite::Result<Linter<'c>> {
        Ok(Linter::new(conn)?.allow(&self.allow).rolling(self.rolling))
    }
}

/// A file to be judged.
struct Input {
    name: String,
    text: String,
    /// Its place among the migrations, if it is one.
    version: Option<u32>,
}

pub(crate) fn check(arguments: &Arguments, common: &Common) -> Result<(), Failure> {
    let settings = common.flags.settings()?;
    let found = match arguments.no_database {
        true => None,
        false => Some(Found::of(common)?),
    };
    let dir = target::dir(&settings);
    let migrations = match Migrations::read(&dir) {
        // Files of another place need none.
        Err(files::Error::NoDirectory { .. }) if !arguments.files.is_empty() => {
            Migrations::default()
        }
        other => other?,
    };
    let conn = match &found {
        Some(found) => {
            found.is_there_if_named()?;
            found.open()?
        }
        None => None,
    };
    let entries = entries(conn.as_ref(), &migrations)?;
    let wrong = match &conn {
        Some(conn) => files::pending(conn, &migrations, false).err(),
        None => None,
    };
    let applied = entries.iter().filter(|entry| entry.state != State::Pending);
    let applied: BTreeSet<u32> = applied.map(|entry| entry.version).collect();
    let targets = match arguments.files.is_empty() {
        true => waiting(&migrations, &applied),
        false => named(&arguments.files, &dir, &migrations)?,
    };
    let rules = Rules {
        allow: settings.allow_loss.clone(),
        rolling: arguments.rolling,
    };
    let findings = judge(conn.as_ref(), &migrations, &applied, &targets, &rules)?;
    let counts = Counts::of(&findings);
    let database = found.as_ref().filter(|_| conn.is_some());
    if common.json {
        print::json(&Report {
            database: database.map(|found| found.path.as_path()),
            migrations: &entries,
            pending: entries.len() - applied.len(),
            files: targets.iter().map(|target| target.name.as_str()).collect(),
            counts,
            findings: &findings,
            error: wrong.as_ref().map(ToString::to_string),
        })?;
    } else {
        print::lines(database.map(|found| status(found, &entries)))?;
        let colour = print::in_colour(&std::io::stdout());
        print::lines(findings.iter().map(|one| findings::shown(one, colour)))?;
        let by = database.map_or("the files alone".into(), Found::shown);
        print::lines([format!(
            "{}, judged by {by}: {}",
            human::count(targets.len(), "file", "files"),
            counts.shown()
        )])?;
    }
    match (wrong, counts.errors) {
        (Some(error), _) => Err(error.into()),
        (None, 0) => Ok(()),
        (None, _) => Err(Failure::Code(3)),
    }
}

fn entries(conn: Option<&Connection>, migrations: &Migrations) -> Result<Vec<Entry>, Failure> {
    let none;
    let conn = match conn {
        Some(conn) => conn,
        None => {
            none = Connection::open_in_memory()?;
            &none
        }
    };
    Ok(files::status(conn, migrations)?)
}

/// What is applied, and what is not as it was when it was applied.
fn status(found: &Found, entries: &[Entry]) -> String {
    let applied: Vec<&Entry> = entries
        .iter()
        .filter(|entry| entry.state != State::Pending)
        .collect();
    let of = human::count(entries.len(), "migration", "migrations");
    let mut text = format!("{}: {} of {of} applied", found.shown(), applied.len());
    if let Some(newest) = applied.last() {
        let when = newest
            .applied_at_ms
            .map(timestamp::show)
            .unwrap_or_default();
        let took = match newest.took_ms {
            // It is recorded in whole milliseconds.
            Some(0) => "in less than 1 ms".into(),
            Some(ms) => {
                let us = u64::try_from(ms).unwrap_or(0).saturating_mul(1000);
                format!("in {}", human::time_us(us))
            }
            None => "as a baseline".into(),
        };
        text += &format!(", the newest {}.sql at {when} {took}", newest.name);
    }
    for entry in applied {
        let state = match entry.state {
            State::Edited => "was changed since",
            State::Gone => "is missing",
            _ => continue,
        };
        text += &format!("\n  {}.sql {state}", entry.name);
    }
    text
}

fn waiting(migrations: &Migrations, applied: &BTreeSet<u32>) -> Vec<Input> {
    let waiting = migrations.files().iter();
    waiting
        .filter(|file| !applied.contains(&file.version()))
        .map(|file| Input {
            name: file.file_name(),
            text: file.text().into(),
            version: Some(file.version()),
        })
        .collect()
}

fn named(paths: &[PathBuf], dir: &Path, migrations: &Migrations) -> Result<Vec<Input>, Failure> {
    let whole = |path: &Path| path.canonicalize().ok();
    let mut targets = Vec::new();
    for path in paths {
        let bytes =
            std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let text = files::text_of(&path.display().to_string(), bytes)?;
        let is_here = path
            .parent()
            .and_then(whole_parent)
            .is_some_and(|parent| whole(dir) == Some(parent));
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let file = migrations
            .files()
            .iter()
            .find(|file| is_here && file.file_name() == name);
        targets.push(match file {
            Some(file) => Input {
                name: name.into_owned(),
                text: file.text().into(),
                version: Some(file.version()),
            },
            None => Input {
                name: path.display().to_string(),
                text,
                version: None,
            },
        });
    }
    targets.sort_by_key(|target| target.version.unwrap_or(u32::MAX));
    Ok(targets)
}

fn whole_parent(parent: &Path) -> Option<PathBuf> {
    match parent.as_os_str().is_empty() {
        true => Path::new(".").canonicalize().ok(),
        false => parent.canonicalize().ok(),
    }
}

/// Each by the schema as it is when its turn comes: what the database has
/// already, by the files before it alone.
fn judge(
    conn: Option<&Connection>,
    migrations: &Migrations,
    applied: &BTreeSet<u32>,
    targets: &[Input],
    rules: &Rules,
) -> Result<Vec<Finding>, Failure> {
    let is_applied = |version: u32| applied.contains(&version);
    let of = |version: u32| {
        targets
            .iter()
            .find(|target| target.version == Some(version))
    };
    let last = |is: &dyn Fn(u32) -> bool| {
        let versions = targets.iter().filter_map(|target| target.version);
        versions.filter(|version| is(*version)).max()
    };
    let mut findings = Vec::new();
    let mut go = |linter: &mut Linter<'_>, files: &mut dyn Iterator<Item = &File>| {
        for file in files {
            let found = linter.file(&file.file_name(), file.text())?;
            if of(file.version()).is_some() {
                findings.extend(found);
            }
        }
        Ok::<_, rusqlite::Error>(())
    };
    if let Some(last) = last(&|version| is_applied(version)) {
        let mut by_files = rules.linter(None)?;
        let mut files = migrations
            .files()
            .iter()
            .take_while(|file| file.version() <= last);
        go(&mut by_files, &mut files)?;
    }
    let mut linter = rules.linter(conn)?;
    let mut pending = migrations
        .files()
        .iter()
        .filter(|file| !is_applied(file.version()));
    go(&mut linter, &mut pending)?;
    for target in targets.iter().filter(|target| target.version.is_none()) {
        findings.extend(linter.file(&target.name, &target.text)?);
    }
    Ok(findings)
}
