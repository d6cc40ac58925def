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

use super::Common;
use super::target::Found;
use crate::{Failure, human, print};

#[derive(Args)]
#[command(
    after_help = "Examples:\n  monolite migrate diff schema.sql                       # printed\n  \
        monolite migrate diff schema.sql total of posts         # migrations/0007_total_of_posts.sql\n\n\
        In the schema file a comment next to a column or before a table says where it comes from, and\n\
        one anywhere what may be dropped:\n  \
        title TEXT NOT NULL,      -- was: name\n  \
        total INTEGER NOT NULL    -- set: price * count\n  \
        -- monolite: allow posts.price, posts.count: both are in total\n\n\
        The database is only read; what is printed has been tried on an empty copy of it.\n\n\
        Exit code: 0 done or nothing to do, 1 failed, 2 wrong usage."
)]
pub(crate) struct Arguments {
    /// The wanted schema, as CREATE statements; `-` is the standard input
    #[arg(value_name = "SCHEMA")]
    schema: PathBuf,

    /// Begin a migration file of these words with it [default: print it]
    #[arg(value_name = "WORDS")]
    words: Vec<String>,
}

#[derive(Serialize)]
struct Report<'r> {
    database: &'r Path,
    same: bool,
    sql: &'r str,
    notes: &'r [String],
    /// The file that was begun with it.
    file: Option<PathBuf>,
}

pub(crate) fn diff(arguments: &Arguments, common: &Common) -> Result<(), Failure> {
    let wanted = read(&arguments.schema)?;
    let found = Found::of(common)?;
    let live = match found.open()? {
        Some(conn) => conn,
        None => Connection::open_in_memory()?,
    };
    let options = Options::new().allow_loss(found.settings.allow_loss.clone());
    let migration = diff::diff(&live, &wanted, &options)?;
    warn_of_waiting(&live, &found);
    let is_wanted = !migration.is_empty() && !arguments.words.is_empty();
    let file = match is_wanted {
        true => Some(begin(&found.dir, &arguments.words.join(" "), &migration)?),
        false => None,
    };
    if common.json {
        return print::json(&Report {
            database: &found.path,
            same: migration.is_empty(),
            sql: &migration.sql,
            notes: &migration.notes,
            file,
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
    match file {
        Some(file) => print::lines([file.display().to_string()]),
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
