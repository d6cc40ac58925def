//! The write-ahead log of a database that somebody else writes.

mod changes;
mod read_lock;
mod reader;
mod scan;
mod snapshot;

use crate::error::{Error, Result};

pub(crate) use changes::{Budget, Changes};
pub(crate) use reader::{Advance, WalReader, checkpoint};
pub(crate) use snapshot::{Opened, Snapshot};

/// SQLite's first version with `wal_checkpoint(NOOP)`, as a number and as people
/// write it. An older one takes the unknown word for `PASSIVE`, and copies the
/// log into the database each time it is asked how long the log is.
const NOOP_SINCE: (i32, &str) = (3_051_000, "3.51.0");

/// Whether the SQLite of this program has all that following a log needs.
///
/// # Errors
/// It has not: which version, and what it lacks.
pub(crate) fn check_sqlite() -> Result<()> {
    check_version(rusqlite::version_number(), rusqlite::version())
}

fn check_version(number: i32, version: &'static str) -> Result<()> {
    if number >= NOOP_SINCE.0 {
        return Ok(());
    }
    Err(Error::OldSqlite {
        version,
        needed: NOOP_SINCE.1,
        what: "PRAGMA wal_checkpoint(NOOP)",
    })
}

#[cfg(test)]
#[allow(clippy::print_stdout, reason = "a benchmark prints")]
mod tests;
