//! Everything that can go wrong with a cache, one clear line each.

use std::path::PathBuf;

/// What this crate returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What was being done, to what, and what mends it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The key, with its namespace, is over [`crate::KEY_MAX_BYTES`].
    #[error(
        "a cache key of {bytes} bytes is too long, {} are the most: use a hash of it",
        crate::KEY_MAX_BYTES
    )]
    KeyTooLong {
        /// Its length.
        bytes: usize,
    },
    /// A namespace may be any text without NUL.
    #[error("a cache namespace may not contain NUL")]
    NamespaceHasNul,
    /// A tag may be any text of at most 255 bytes without NUL, and an entry
    /// has at most 32 of them.
    #[error(
        "the cache tag {tag:?} is refused: 255 bytes without NUL, 32 tags an entry are the most"
    )]
    BadTag {
        /// The tag.
        tag: String,
    },
    /// One value may take a quarter of the bound at most.
    #[error(
        "a value of {bytes} bytes for {key:?} is too large for this cache, {max_bytes} are the most: raise the bound to four times the largest value"
    )]
    TooLarge {
        /// Whose value.
        key: String,
        /// Its length.
        bytes: usize,
        /// The most that is taken.
        max_bytes: u64,
    },
    /// [`crate::BOUND_MIN_BYTES`] is the least bound.
    #[error(
        "a bound of {bytes} bytes is too low for a cache, {} are the least",
        crate::BOUND_MIN_BYTES
    )]
    BoundTooLow {
        /// The bound asked for.
        bytes: u64,
    },
    /// Increment and decrement work on values that are whole numbers in text.
    #[error("the value of {key:?} is not a whole number: delete it, or count under another key")]
    NotANumber {
        /// Whose value.
        key: String,
    },
    /// The sum does not fit into 64 bits. The value was left as it is.
    #[error("counting {key:?} by {by} goes beyond 64 bits; it was left as it is")]
    Overflow {
        /// Whose value.
        key: String,
        /// The step.
        by: i64,
    },
    /// A value could not be turned into JSON.
    #[error("the value for {key:?} cannot be turned into JSON: {source}")]
    Encode {
        /// Whose value.
        key: String,
        /// Why.
        source: serde_json::Error,
    },
    /// What is in the cache is not of the type asked for.
    #[error(
        "the value of {key:?} is not of the type asked for ({source}): delete it, or name the key anew when the type changes"
    )]
    Decode {
        /// Whose value.
        key: String,
        /// Why.
        source: serde_json::Error,
    },
    /// The disk is full. Nothing of this write was kept; reads go on.
    #[error("the disk that holds the cache {} is full: the value was not kept. Free some space, or lower the cache's bound", .path.display())]
    DiskFull {
        /// The cache's file.
        path: PathBuf,
    },
    /// Something outside of this crate keeps the WAL from being reset, and it
    /// has taken the cache's room.
    #[error("the WAL of {} has grown to {wal_bytes} bytes: nothing is cached until whoever holds a long read transaction on it ends it", .path.display())]
    WalHeld {
        /// The cache's file.
        path: PathBuf,
        /// What it takes.
        wal_bytes: u64,
    },
    /// What was evicted cannot be used again: the filesystem does not take
    /// room back from within a file.
    #[error("the cache {} has no room left that it may use: its filesystem takes nothing back; move the cache to another, or raise its bound", .path.display())]
    NoRoom {
        /// The cache's file.
        path: PathBuf,
    },
    /// The blob file beside the database cannot be used.
    #[error("cannot {what} {}: {source}", .path.display())]
    Io {
        /// What was being done.
        what: &'static str,
        /// To what.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A newer program has made these tables.
    #[error(transparent)]
    Schema(#[from] monolite_component::SchemaError),
    /// SQLite's own answer.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    /// The store's answer.
    #[cfg(feature = "handle")]
    #[error(transparent)]
    Store(monolite_store::Error),
    /// The cache was closed.
    #[error("the cache is closed")]
    Closed,
}

impl Error {
    /// True if the file is damaged, gone, or not what it should be: made anew, it
    /// serves again.
    pub fn is_corruption(&self) -> bool {
        match self {
            Self::Sqlite(error) => corrupt(error),
            Self::Schema(monolite_component::SchemaError::Sqlite { source, .. }) => corrupt(source),
            Self::Schema(_) => true,
            #[cfg(feature = "handle")]
            Self::Store(error) => match error {
                monolite_store::Error::Sqlite(error) => corrupt(error),
                monolite_store::Error::Commit(error) => corrupt(error),
                monolite_store::Error::NotADatabase { .. }
                | monolite_store::Error::Moved { .. } => true,
                _ => false,
            },
            _ => false,
        }
    }
}

fn corrupt(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase, TypeMismatch};
    match error {
        rusqlite::Error::SqliteFailure(failure, text) => {
            matches!(failure.code, DatabaseCorrupt | NotADatabase | TypeMismatch)
                || matches!(
                    failure.extended_code,
                    rusqlite::ffi::SQLITE_IOERR_SHORT_READ | rusqlite::ffi::SQLITE_IOERR_CORRUPTFS
                )
                || text
                    .as_ref()
                    .is_some_and(|text| text.starts_with("no such table"))
        }
        rusqlite::Error::InvalidColumnType(..)
        | rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::IntegralValueOutOfRange(..)
        | rusqlite::Error::QueryReturnedNoRows => true,
        _ => false,
    }
}

/// From the store, with what the operations put into it taken out again.
#[cfg(feature = "handle")]
impl From<monolite_store::Error> for Error {
    fn from(error: monolite_store::Error) -> Self {
        match error {
            monolite_store::Error::App(inner) => match inner.downcast::<Error>() {
                Ok(own) => *own,
                Err(other) => Self::Store(monolite_store::Error::App(other)),
            },
            monolite_store::Error::DiskFull { path } => Self::DiskFull { path },
            monolite_store::Error::Closed => Self::Closed,
            other => Self::Store(other),
        }
    }
}

/// Into the store: a closure rolls back with it.
#[cfg(feature = "handle")]
impl From<Error> for monolite_store::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Sqlite(error) => Self::Sqlite(error),
            Error::Store(error) => error,
            own => Self::app(own),
        }
    }
}
