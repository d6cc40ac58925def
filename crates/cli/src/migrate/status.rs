//! `monolite migrate status`: what is applied, what waits.

use anyhow::anyhow;
use clap::Args;
use monolite_migrate::files::{self, Entry, State};
use rusqlite::Connection;
use serde::Serialize;

use super::target::Target;
use crate::{Failure, human, print, timestamp};

#[derive(Args)]
#[command(after_help = "Example:\n  monolite migrate status\n\n\
        Exit code: 0 all is well, 1 what was applied and the files do not fit together, 2 wrong usage.")]
pub(crate) struct Arguments {
    /// Print JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    target: Target,
}

#[derive(Serialize)]
struct Report<'r> {
    database: &'r std::path::Path,
    exists: bool,
    pending: usize,
    migrations: &'r [Entry],
    error: Option<String>,
}

pub(crate) fn status(arguments: Arguments) -> Result<(), Failure> {
    let found = arguments.target.find()?;
    let migrations = found.migrations()?;
    found.is_there_if_named()?;
    let conn = found.open()?;
    let exists = conn.is_some();
    let conn = match conn {
        Some(conn) => conn,
        None => Connection::open_in_memory()?,
    };
    let entries = files::status(&conn, &migrations)?;
    let is_pending = |entry: &&Entry| entry.state == State::Pending;
    let pending = entries.iter().filter(is_pending).count();
    let wrong = files::pending(&conn, &migrations, false)
        .and_then(|_| migrations.check())
        .err();
    if arguments.json {
        print::json(&Report {
            database: &found.path,
            exists,
            pending,
            migrations: &entries,
            error: wrong.as_ref().map(ToString::to_string),
        })?;
    } else {
        let there = match exists {
            true => "",
            false => ", which is not there yet",
        };
        let mut rows = vec![
            ["MIGRATION", "STATE", "WHEN", "TOOK"]
                .map(str::to_owned)
                .to_vec(),
        ];
        rows.extend(entries.iter().map(row));
        let of = human::count(entries.len(), "migration", "migrations");
        print::lines([
            format!("{}{there}: {pending} of {of} to apply", found.shown()),
            human::table(&rows).trim_end().to_owned(),
        ])?;
    }
    match wrong {
        Some(error) => Err(Failure::Error(anyhow!(error))),
        None => Ok(()),
    }
}

fn row(entry: &Entry) -> Vec<String> {
    let state = match entry.state {
        State::Applied => "applied",
        State::Pending => "waits",
        State::Edited => "CHANGED",
        State::Gone => "GONE",
    };
    let took = match (entry.took_ms, entry.applied_at_ms) {
        // It is recorded in whole milliseconds.
        (Some(0), _) => "< 1 ms".into(),
        (Some(ms), _) => human::time_us(u64::try_from(ms).unwrap_or(0).saturating_mul(1000)),
        (None, Some(_)) => "baseline".into(),
        (None, None) => String::new(),
    };
    vec![
        format!("{}.sql", entry.name),
        state.into(),
        entry.applied_at_ms.map(timestamp::show).unwrap_or_default(),
        took,
    ]
}
