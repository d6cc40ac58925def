//! Everything that can go wrong with a copy, one clear line each.

use monolite_platform::cancel::Cancelled;
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

/// What this module returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What was being done, to what, and how to fix it. No error leaves a part of
/// a copy behind.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The database is not there.
    #[error("there is no database at {}", .path.display())]
    Missing {
        /// The database's path.
        path: PathBuf,
    },
    /// A file of 0 bytes, as an app leaves it that has opened a database and
    /// created no table yet.
    #[error("{} is empty: there is nothing to copy yet", .path.display())]
    Empty {
        /// The database's path.
        path: PathBuf,
    },
    /// The bytes are not those of a database. They were not touched.
    #[error("{} is not a SQLite database, or it is encrypted, which SQLite cannot read; it was left as it is", .path.display())]
    NotADatabase {
        /// The file's path.
        path: PathBuf,
    },
    /// Another process kept its lock, as it may in rollback mode.
    #[error("{} was locked by another process for {waited_ms} ms; find its long transaction, or try again", .path.display())]
    Busy {
        /// The database's path.
        path: PathBuf,
        /// How long was waited, in milliseconds.
        waited_ms: u128,
    },
    /// Reading needs SQLite to repair the database, or to create files next to
    /// it, and neither is allowed.
    #[error("{} has a WAL or a journal, and reading it needs to write there; run this as a user who may", .path.display())]
    NeedsWriting {
        /// The database's path.
        path: PathBuf,
    },
    /// Somebody began to write a database that had no writer.
    #[error("{} was changed or replaced while it was copied; try again", .path.display())]
    Changed {
        /// The database's path.
        path: PathBuf,
    },
    /// Any other answer of SQLite about the database.
    #[error("cannot read {}: {source}", .path.display())]
    Read {
        /// The database's path.
        path: PathBuf,
        /// SQLite's words.
        source: rusqlite::Error,
    },
    /// The copy's name is taken.
    #[error("{} exists already; it was left as it is. Name another file, or allow it to be replaced", .path.display())]
    Exists {
        /// The copy's path.
        path: PathBuf,
    },
    /// The copy would replace a directory, a device or a pipe.
    #[error("{} is not the name of a regular file; name a file, or write to standard output", .path.display())]
    NotAFile {
        /// The copy's path.
        path: PathBuf,
    },
    /// The copy would replace what it is made of.
    #[error("{} is the database itself; name another file", .path.display())]
    Itself {
        /// The copy's path.
        path: PathBuf,
    },
    /// SQLite would take this file for a part of the copy, and damage it.
    #[error("{} exists next to the copy's name: a database of that name is in use, or its process was killed. Name another file, or remove it if it is no longer needed", .path.display())]
    LeftoverJournal {
        /// The WAL or the journal.
        path: PathBuf,
    },
    /// Found before anything was written.
    #[error("a copy of {needed} bytes does not fit in {}: {free} bytes are free{}; free some space, or name another path", .dir.display(), reserve(*.kept))]
    NoRoom {
        /// The directory of the copy.
        dir: PathBuf,
        /// Bytes that the copy may take.
        needed: u64,
        /// Bytes free for users other than root.
        free: u64,
        /// Bytes that must stay free.
        kept: u64,
    },
    /// Found while writing.
    #[error("the disk that holds {} is full; the unfinished copy was removed. Free some space, or name another path", .path.display())]
    DiskFull {
        /// The copy's path.
        path: PathBuf,
    },
    /// Any other answer of the system about the copy.
    #[error("cannot {what} {}: {source}", .path.display())]
    File {
        /// What was being done.
        what: &'static str,
        /// To what.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// The writer that takes the copy refused.
    #[error("cannot write the copy: {0}")]
    Writer(#[source] io::Error),
    /// The copy does not hold together. As a copy is made page for page, the
    /// database does not either.
    #[error("the copy of {} is damaged ({}), and the database is likely to be: run PRAGMA integrity_check on it", .path.display(), .findings.join("; "))]
    Damaged {
        /// The database's path.
        path: PathBuf,
        /// What SQLite found, at most ten.
        findings: Vec<String>,
    },
    /// SQLite cannot check the copy: as one may be whose tables need a collation
    /// or a function of the app's own.
    #[error("the copy of {} cannot be checked ({source}); it was removed. Copy without a check, or from the app itself", .path.display())]
    Unchecked {
        /// The database's path.
        path: PathBuf,
        /// SQLite's words.
        source: rusqlite::Error,
    },
    /// Asked for more after it had failed.
    #[error("the copy ended before its last page; what was read of it is of no use")]
    Incomplete,
    /// The caller asked for it.
    #[error("cancelled")]
    Cancelled,
}

fn reserve(kept: u64) -> String {
    match kept {
        0 => String::new(),
        kept => format!(", and {kept} must stay free"),
    }
}

impl From<Cancelled> for Error {
    fn from(_: Cancelled) -> Self {
        Self::Cancelled
    }
}

impl Error {
    /// Names the cases that have a fix of their own.
    pub(super) fn reading(path: &Path, source: rusqlite::Error, waited_ms: u128) -> Self {
        let path = path.into();
        match source.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => Self::NotADatabase { path },
            Some(ErrorCode::DatabaseBusy) => Self::Busy { path, waited_ms },
            // A journal or a WAL that cannot be played back, or not be made.
            Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen) => Self::NeedsWriting { path },
            _ => Self::Read { path, source },
        }
    }

    pub(super) fn file(what: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.into();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull { path },
            _ => Self::File { what, path, source },
        }
    }
}
