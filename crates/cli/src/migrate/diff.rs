//! `monolite migrate diff`: a migration from the database as it is to a schema
//! file.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use clap::Args;
use monolite_migrate::diff::{self, Migration, Options};
use monolite_migrate::files;
use rusqlite::Connection;
use serde::Serialize;

use super::target::{Found, Target};
use crate::{Failure, human, print};

#[derive(Args)]
#[command(
    after_help = "Examples:\n  monolite migrate diff schema.sql                       # printed\n  \
        monolite migrate diff schema.sql --new 'total of posts' # migrations/0007_total_of_posts.sql\n\n\
        In the schema file a comment beside a column or before a table says where it comes from:\n  \
        title TEXT NOT NULL,      -- was: name\n  \
        total INTEGER NOT NULL    -- set: price * count\n  \
        -- monolite: drop posts.price\n\n\
        The database is only read; what is printed has been tried on an empty copy of it.\n\n\
        Exit code: 0 done or nothing to do, 1 failed, 2 wrong usage."
)]
pub(crate) struct Arguments {
    /// The wanted schema, as CREATE statements; `-` is the standard input
    #[arg(value_name = "SCHEMA")]
    schema: PathBuf,

    /// What may be dropped with its rows: a table, or a table.column
    #[arg(long, value_name = "NAME")]
    allow_drop: Vec<String>,

    /// Do not rebuild a table only for the order of its columns
    #[arg(long)]
    any_order: bool,

    /// Begin a migration file of these words with it
    #[arg(long, value_name = "WORDS", conflicts_with = "json")]
    new: Option<String>,

    /// Print JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    target: Target,
}

#[derive(Serialize)]
struct Report<'r> {
    database: &'r Path,
    same: bool,
    sql: &'r str,
    notes: &'r [String],
}

pub(crate) fn diff(arguments: Arguments) -> Result<(), Failure> {
    let wanted = read(&arguments.schema)?;
    let found = arguments.target.find()?;
    let live = match found.open()? {
        Some(conn) => conn,
        None => Connection::open_in_memory()?,
    };
    let options = Options::new()
        .allow_drop(arguments.allow_drop)
        .any_order(arguments.any_order);
    let migration = match diff::diff(&live, &wanted, &options) {
        Err(error @ diff::Error::NothingToDrop { .. }) => return Err(Failure::Usage(error.into())),
        other => other?,
    };
    warn_of_waiting(&live, &found);
    if arguments.json {
        return print::json(&Report {
            database: &found.path,
            same: migration.is_empty(),
            sql: &migration.sql,
            notes: &migration.notes,
        });
    }
    for note in &migration.notes {
        print::warning(&anyhow!("{note}"));
    }
    if migration.is_empty() {
        let schema = arguments.schema.display();
        print::warning(&anyhow!("{} is as {schema} says", found.shown()));
        return Ok(());
    }
    match arguments.new {
        Some(words) => print::lines([begin(&found.dir, &words, &migration)?.display().to_string()]),
        None => print::lines([migration.sql]),
    }
}

fn read(path: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let read = match path.to_str() {
        Some("-") => std::io::stdin().read_to_string(&mut text),
        _ => File::open(path).and_then(|mut file| file.read_to_string(&mut text)),
    };
    read.with_context(|| format!("cannot read {}", path.display()))?;
    Ok(text)
}

/// What is not applied yet would be in the new migration once more.
fn warn_of_waiting(live: &Connection, found: &Found) {
    let Ok(migrations) = found.migrations() else {
        return;
    };
    let waiting = files::pending(live, &migrations, false).map_or(0, |waiting| waiting.len());
    if waiting > 0 {
        let files = human::count(waiting, "migration is", "migrations are");
        print::warning(&anyhow!(
            "{files} not applied yet, and not in what was compared: `monolite migrate up` first"
        ));
    }
}

fn begin(dir: &Path, words: &str, migration: &Migration) -> Result<PathBuf, Failure> {
    match files::new_with(dir, words, &migration.sql) {
        Err(error @ files::Error::Words { .. }) => Err(Failure::Usage(error.into())),
        other => Ok(other?),
    }
}
