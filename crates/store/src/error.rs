//! Everything that can go wrong with a store.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::ErrorCode;

/// What this crate returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What was being done, to what, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The SQLite linked into this program can lose commits: before 3.51.3 a
    /// WAL reset can race with a checkpoint of another connection.
    #[error(
        "SQLite {found} is too old: versions before 3.51.3 can lose commits when two connections checkpoint at once; link 3.51.3 or newer (the feature `bundled` of the crate `monolite` brings one)"
    )]
    SqliteTooOld {
        /// The version found, for example `3.40.1`.
        found: String,
    },
    /// The directory of the database does not exist.
    #[error("cannot open {}: its directory does not exist; create it, or mount the volume first", .path.display())]
    MissingDirectory {
        /// The database's path.
        path: PathBuf,
    },
    /// The path names something that is no SQLite database. It was not changed.
    #[error("{} is not a SQLite database; it was not changed. Name another path, or restore the file from a backup", .path.display())]
    NotADatabase {
        /// The file's path.
        path: PathBuf,
    },
    /// The file or its directory cannot be written by this user.
    #[error("cannot write {} ({reason}): WAL mode needs to write the file and to create files next to it; make both the file and its directory writable by this user", .path.display())]
    ReadOnly {
        /// The database's path.
        path: PathBuf,
        /// SQLite's message.
        reason: String,
    },
    /// The filesystem has no shared memory, which WAL mode needs.
    #[error("{} cannot use WAL mode (SQLite stayed in {mode:?} mode): its filesystem has no shared memory, as on many network mounts; move the database to a local disk", .path.display())]
    NoWal {
        /// The database's path.
        path: PathBuf,
        /// The journal mode SQLite stayed in.
        mode: String,
    },
    /// The store's file was deleted, moved or replaced.
    #[error("{} is no longer the file that was opened: it was deleted, moved or replaced; close the store and open it again", .path.display())]
    Moved {
        /// The database's path.
        path: PathBuf,
    },
    /// A setting did not take.
    #[error("PRAGMA {name} did not take on {}: asked for {wanted}, SQLite answers {got}", .path.display())]
    Pragma {
        /// The database's path.
        path: PathBuf,
        /// The pragma's name.
        name: &'static str,
        /// The value asked for.
        wanted: String,
        /// The value SQLite reports.
        got: String,
    },
    /// The disk (or the database's size limit) is full. Nothing of this write
    /// was kept; earlier writes are untouched.
    #[error("the disk that holds {} is full: nothing of this write was kept; free some space and try again", .path.display())]
    DiskFull {
        /// The database's path.
        path: PathBuf,
    },
    /// Another process held the write lock for the whole busy timeout.
    #[error("another process held the write lock of {} for {waited_ms} ms; nothing was written. Find the long transaction, or raise the busy timeout", .path.display())]
    Busy {
        /// The database's path.
        path: PathBuf,
        /// The busy timeout, in milliseconds.
        waited_ms: u128,
    },
    /// Too many callers wait. Nothing was run: shed load, or try again later.
    #[error("{queue} queue is full ({capacity} waiting): nothing was run; try again later")]
    QueueFull {
        /// `write` or `read`.
        queue: &'static str,
        /// The limit.
        capacity: usize,
    },
    /// This process was forked from the one that opened the store. It has neither the
    /// store's threads nor SQLite's locks.
    #[error("this store was opened before a fork: open it again in the child process")]
    Forked,
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
    /// The caller's closure panicked. Its part was rolled back.
    #[error("the closure panicked, its writes were rolled back: {0}")]
    Panicked(String),
    /// A blocking call on a store inside a closure of the same store: it would
    /// wait for itself.
    #[error(
        "a {0} inside a closure of the same store would wait for itself; use the connection the closure was given"
    )]
    Nested(&'static str),
    /// The closure left a row whose deferred foreign key points nowhere. Its
    /// part was rolled back: a deferred key must hold at the closure's end.
    #[error(
        "FOREIGN KEY constraint failed: a deferred foreign key did not hold at the end of the closure, its writes were rolled back"
    )]
    ForeignKey,
    /// The closure ran BEGIN, COMMIT or ROLLBACK.
    #[error(
        "the store begins and ends the transaction of a write: BEGIN, COMMIT and ROLLBACK are refused in it; return an error to roll back, or use a SAVEPOINT"
    )]
    TransactionControl,
    /// A statement of another caller in the same transaction made SQLite roll
    /// all of it back (`ON CONFLICT ROLLBACK`, `RAISE(ROLLBACK)`, a full disk).
    /// Nothing of this write was kept; it is safe to try again.
    #[error(
        "another write in the same transaction made SQLite roll all of it back ({cause}): nothing of this write was kept; try again"
    )]
    BatchRolledBack {
        /// What the other write reported.
        cause: Arc<str>,
    },
    /// The commit itself failed. Nothing of this write was kept.
    #[error("commit failed, nothing of this write was kept: {0}")]
    Commit(Arc<rusqlite::Error>),
    /// An error of the caller's own, made by [`Error::app`], to roll back with.
    #[error(transparent)]
    App(Box<dyn std::error::Error + Send + Sync>),
    /// Any other answer of SQLite.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    /// The operating system refused something.
    #[error("cannot {what}: {source}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// The system's answer.
        source: std::io::Error,
    },
}

impl Error {
    /// Wraps an error of the application, so that a closure can roll back with
    /// it. Get it back by matching [`Error::App`] and downcasting.
    pub fn app(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::App(error.into())
    }

    /// A copy, if the store failed and not the caller's closure.
    pub(crate) fn of_the_store(&self) -> Option<Self> {
        Some(match self {
            Self::DiskFull { path } => Self::DiskFull { path: path.clone() },
            Self::Busy { path, waited_ms } => Self::Busy {
                path: path.clone(),
                waited_ms: *waited_ms,
            },
            Self::Commit(error) => Self::Commit(Arc::clone(error)),
            Self::Closed => Self::Closed,
            _ => return None,
        })
    }

    /// Names the errors that a caller can do something about.
    pub(crate) fn classify(self, path: &Path, busy_timeout_ms: u128) -> Self {
        let Self::Sqlite(error) = self else {
            return self;
        };
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::DiskFull { path: path.into() },
            Some(ErrorCode::DatabaseBusy) => Self::Busy {
                path: path.into(),
                waited_ms: busy_timeout_ms,
            },
            Some(ErrorCode::AuthorizationForStatementDenied) => Self::TransactionControl,
            Some(ErrorCode::NotADatabase) => Self::NotADatabase { path: path.into() },
            _ => Self::Sqlite(error),
        }
    }

    /// As [`Error::classify`], for errors met while opening, where a refusal
    /// to write or to create a file has one likely cause each.
    pub(crate) fn classify_open(self, path: &Path, busy_timeout_ms: u128) -> Self {
        let Self::Sqlite(error) = self else {
            return self;
        };
        let extended = error.sqlite_error().map_or(0, |e| e.extended_code);
        match error.sqlite_error_code() {
            Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
                let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
                if parent.is_some_and(|parent| !parent.exists()) {
                    Self::MissingDirectory { path: path.into() }
                } else if path.is_dir() {
                    Self::NotADatabase { path: path.into() }
                } else {
                    Self::ReadOnly {
                        path: path.into(),
                        reason: error.to_string(),
                    }
                }
            }
            Some(ErrorCode::SystemIoFailure) if SHARED_MEMORY_ERRORS.contains(&extended) => {
                Self::NoWal {
                    path: path.into(),
                    mode: "shared memory error".into(),
                }
            }
            _ => Self::Sqlite(error).classify(path, busy_timeout_ms),
        }
    }
}

/// `SQLITE_IOERR_SHMOPEN`, `SHMSIZE`, `SHMLOCK` and `SHMMAP`.
const SHARED_MEMORY_ERRORS: [i32; 4] = [
    rusqlite::ffi::SQLITE_IOERR_SHMOPEN,
    rusqlite::ffi::SQLITE_IOERR_SHMSIZE,
    rusqlite::ffi::SQLITE_IOERR_SHMLOCK,
    rusqlite::ffi::SQLITE_IOERR_SHMMAP,
];
