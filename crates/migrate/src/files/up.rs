//! Applying the files that wait.
//!
//! For each file: BEGIN IMMEDIATE; what is recorded is read again, since
//! another process may have been faster; the statements; the check for rows
//! without a parent; the record; COMMIT. Whatever ends this before the commit
//! leaves the database without a trace of the file.
//!
//! With a rollback journal a COMMIT that waits for one who reads keeps all
//! others from beginning to read. It therefore waits for seconds only; then
//! ROLLBACK, a moment for the others, and the file from its BEGIN on.

use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde::Serialize;

use super::error::{Error, Result};
use super::file::File;
use super::record::{Applied, applied};
use super::script::Script;
use super::session::Session;
use super::set::Migrations;
use super::state::compare;
use super::turn::{PAUSE, Turn, is_busy};

/// How files are applied.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// What time it is, in milliseconds since 1970: recorded.
    pub now_ms: i64,
    /// How long to wait for the write lock, for each file, and for those who
    /// read at its commit with a rollback journal. Another process
    /// that migrates may keep it for as long as its longest file takes.
    /// Default: 10 minutes.
    pub patience: Duration,
    /// How long a commit waits at a time for those who read, with a rollback
    /// journal: meanwhile nobody else begins to read. Then the file is undone,
    /// the others get on, and it begins again. Default: 10 seconds.
    pub commit_patience: Duration,
    /// Take a database that a newer version of the app has migrated for one
    /// with nothing to do. Default: no.
    pub accept_newer: bool,
    /// Stop after the file of this number. Default: the newest.
    pub to: Option<u32>,
}

impl Options {
    /// The defaults, at a time in milliseconds since 1970.
    pub fn at(now_ms: i64) -> Self {
        Self {
            now_ms,
            patience: Duration::from_secs(600),
            commit_patience: Duration::from_secs(10),
            accept_newer: false,
            to: None,
        }
    }
}

/// What is happening.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Event<'e> {
    /// Another process has the write lock; or, with a rollback journal, reads
    /// while a file is to be committed.
    Waiting {
        /// What waits.
        file: &'e File,
    },
    /// A statement begins.
    Statement {
        /// Of which file.
        file: &'e File,
        /// Its line, from 1.
        line: usize,
        /// Its first words.
        words: &'e str,
    },
    /// A file is applied, for good.
    Applied(&'e Done),
    /// Another process has applied it meanwhile.
    Elsewhere {
        /// What was applied.
        file: &'e File,
    },
}

/// A file that was applied, and how long its statements took.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Done {
    /// Its record.
    #[serde(flatten)]
    pub applied: Applied,
    /// Its statements.
    pub statements: Vec<Step>,
    /// How long the write lock was held, in microseconds: from BEGIN to the
    /// end of COMMIT.
    pub locked_us: u64,
}

/// A statement that was run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Step {
    /// Its line, from 1.
    pub line: usize,
    /// Its first words.
    pub words: String,
    /// How long it took, in microseconds.
    pub took_us: u64,
}

/// Applies the files that wait, in order, each with its record in one
/// transaction. Files that another process applies meanwhile are left to it.
///
/// # Errors
/// Everything of [`Error`]: before the first file runs, what is wrong with any
/// of them or with what is recorded; afterwards, what one of them met. The
/// files before that one stay applied.
pub fn up(
    conn: &Connection,
    migrations: &Migrations,
    options: &Options,
    progress: &mut dyn FnMut(Event<'_>),
) -> Result<Vec<Done>> {
    if !conn.is_autocommit() {
        return Err(Error::InTransaction);
    }
    let setting = Error::sqlite("set up the connection");
    let session = Session::begin(conn).map_err(&setting)?;
    if let Some(to) = options.to.filter(|to| migrations.get(*to).is_none()) {
        let newest = migrations.newest();
        return Err(Error::NoSuch {
            version: to,
            newest,
        });
    }
    let begun = Instant::now();
    let records = patient(options, || applied(conn))?;
    let waiting = compare(&records, migrations, options.accept_newer)?;
    // All of them, before the first one runs.
    let scripts = waiting.iter().map(Script::of).collect::<Result<Vec<_>>>()?;
    let last = options.to.unwrap_or(u32::MAX);
    let mut done = Vec::new();
    for script in scripts
        .iter()
        .filter(|script| script.file.version() <= last)
    {
        session.foreign_keys(script.enforced).map_err(&setting)?;
        let turn = Turn {
            conn,
            migrations,
            options,
            begun,
            script,
        };
        match turn.take(progress)? {
            Some(one) => {
                progress(Event::Applied(&one));
                done.push(one);
            }
            None => progress(Event::Elsewhere { file: script.file }),
        }
    }
    Ok(done)
}

/// Tries again while another process makes the database.
fn patient<T>(options: &Options, mut read: impl FnMut() -> Result<T>) -> Result<T> {
    let since = Instant::now();
    loop {
        match read() {
            Err(Error::Sqlite { source, .. })
                if is_busy(&source) && since.elapsed() < options.patience =>
            {
                std::thread::sleep(PAUSE);
            }
            other => return other,
        }
    }
}
