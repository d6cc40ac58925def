//! `monolite migrate check`: what is dangerous in the files, and what to do
//! instead.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use monolite_migrate::files::{self, File, Migrations, State};
use monolite_migrate::lint::{Finding, Level, Linter};
use rusqlite::Connection;
use serde::Serialize;

use super::target::{Found, Target};
use crate::{Failure, human, print};

#[derive(Args)]
#[command(
    after_help = "Examples:\n  monolite migrate check                     # the files that are not applied yet\n  \
        monolite migrate check migrations/0007_*.sql\n  \
        monolite migrate check --no-database       # all files, as a CI without a database\n\n\
        What is meant is allowed in a comment of its statement, with the reason:\n  \
        -- monolite: allow drop-column: replaced by title in 0007\n\n\
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

    /// Print JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    target: Target,
}

#[derive(Serialize)]
struct Report<'r> {
    database: Option<&'r Path>,
    files: Vec<&'r str>,
    errors: usize,
    warnings: usize,
    findings: &'r [Finding],
    /// Why `up` would apply none of them.
    error: Option<String>,
}

/// A file to be judged.
struct Input {
    name: String,
    text: String,
    /// Its place among the migrations, if it is one.
    version: Option<u32>,
}

pub(crate) fn check(arguments: Arguments) -> Result<(), Failure> {
    let (found, dir) = match arguments.no_database {
        true => (None, arguments.target.dir()?),
        false => {
            let found = arguments.target.find()?;
            let dir = found.dir.clone();
            (Some(found), dir)
        }
    };
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
    let wrong = match &conn {
        Some(conn) => files::pending(conn, &migrations, false).err(),
        None => None,
    };
    let applied = applied(conn.as_ref(), &migrations)?;
    let targets = match arguments.files.is_empty() {
        true => waiting(&migrations, &applied),
        false => named(&arguments.files, &dir, &migrations)?,
    };
    let findings = judge(conn.as_ref(), &migrations, &applied, &targets)?;
    let count = |level| {
        let of = |finding: &&Finding| finding.level == level && finding.allowed.is_none();
        findings.iter().filter(of).count()
    };
    let (errors, warnings) = (count(Level::Error), count(Level::Warning));
    let database = found.as_ref().filter(|_| conn.is_some());
    if arguments.json {
        print::json(&Report {
            database: database.map(|found| found.path.as_path()),
            files: targets.iter().map(|target| target.name.as_str()).collect(),
            errors,
            warnings,
            findings: &findings,
            error: wrong.as_ref().map(ToString::to_string),
        })?;
    } else {
        let colour = print::in_colour(&std::io::stdout());
        print::lines(findings.iter().map(|finding| shown(finding, colour)))?;
        let by = database.map_or("the files alone".into(), Found::shown);
        print::lines([format!(
            "{}, judged by {by}: {}, {}",
            human::count(targets.len(), "file", "files"),
            human::count(errors, "error", "errors"),
            human::count(warnings, "warning", "warnings")
        )])?;
    }
    match (wrong, errors) {
        (Some(error), _) => Err(error.into()),
        (None, 0) => Ok(()),
        (None, _) => Err(Failure::Code(3)),
    }
}

/// The numbers of the files that the database has.
fn applied(conn: Option<&Connection>, migrations: &Migrations) -> Result<BTreeSet<u32>, Failure> {
    let Some(conn) = conn else {
        return Ok(BTreeSet::new());
    };
    let all = files::status(conn, migrations)?;
    let applied = all.iter().filter(|entry| entry.state != State::Pending);
    Ok(applied.map(|entry| entry.version).collect())
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
        let mut linter = Linter::new(None)?;
        let mut files = migrations
            .files()
            .iter()
            .take_while(|file| file.version() <= last);
        go(&mut linter, &mut files)?;
    }
    let mut linter = Linter::new(conn)?;
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

fn shown(finding: &Finding, colour: bool) -> String {
    let (word, paint) = match (finding.level, &finding.allowed) {
        (_, Some(_)) => ("allowed", "32"),
        (Level::Error, None) => ("error", "31"),
        (Level::Warning, None) => ("warning", "33"),
        (Level::Note, None) => ("note", "36"),
    };
    let (on, off) = match colour {
        true => (format!("\x1b[{paint}m"), "\x1b[0m"),
        false => (String::new(), ""),
    };
    let mut text = format!(
        "{}, line {}: {on}{word}{off} {}: {}\n",
        finding.file, finding.line, finding.rule.name, finding.what
    );
    if !finding.statement.is_empty() {
        text += &format!("    in       {} …\n", finding.statement);
    }
    match &finding.allowed {
        Some(reason) => text += &format!("    because  {reason}"),
        None => text += &format!("    instead  {}", finding.instead),
    }
    text
}
