//! Everything that can go wrong with a cache.

use std::path::PathBuf;

/// What this crate returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What was being done, to what, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The key, with its namespace, is over [`crate::KEY_MAX_BYTES`].
    #[error(
        "a cache key of {bytes} bytes is over the limit of {}: use a hash of it",
        crate::KEY_MAX_BYTES
    )]
    KeyTooLong {
        /// Its length.
        bytes: usize,
    },
    /// A namespace is any text without NUL.
    #[error("a cache namespace may not contain NUL")]
    NamespaceHasNul,
    /// A tag is any text of at most 255 bytes without NUL, and an entry has at
    /// most 32 of them.
    #[error(
        "the cache tag {tag:?} is refused: a tag has at most 255 bytes and no NUL, an entry at most 32 tags"
    )]
    BadTag {
        /// The tag.
        tag: String,
    },
    /// A value is at most a quarter of the bound.
    #[error(
        "a value of {bytes} bytes for {key:?} is over this cache's limit of {max_bytes}: raise the bound to four times the largest value"
    )]
    TooLarge {
        /// Whose value.
        key: String,
        /// Its length.
        bytes: usize,
        /// The limit.
        max_bytes: u64,
    },
    /// The bound is below [`crate::BOUND_MIN_BYTES`].
    #[error(
        "a bound of {bytes} bytes is too low for a cache: the lowest is {}",
        crate::BOUND_MIN_BYTES
    )]
    BoundTooLow {
        /// The bound asked for.
        bytes: u64,
    },
    /// Increment and decrement need a value that is a whole number in text.
    #[error("the value of {key:?} is not a whole number: delete it, or count under another key")]
    NotANumber {
        /// Whose value.
        key: String,
    },
    /// The sum does not fit into 64 bits. The value was not changed.
    #[error("adding {by} to {key:?} goes beyond 64 bits; the value was not changed")]
    Overflow {
        /// Whose value.
        key: String,
        /// The step.
        by: i64,
    },
    /// A value could not be written as JSON.
    #[error("the value for {key:?} cannot be written as JSON: {source}")]
    Encode {
        /// Whose value.
        key: String,
        /// Why.
        source: serde_json::Error,
    },
    /// The stored value is not of the type asked for.
    #[error(
        "the value of {key:?} is not of the type asked for ({source}): delete it, or use another key when the type changes"
    )]
    Decode {
        /// Whose value.
        key: String,
        /// Why.
        source: serde_json::Error,
    },
    /// The disk is full. The value was not kept; reads go on.
    #[error("the disk that holds the cache {} is full: the value was not kept. Free some space, or lower the cache's bound", .path.display())]
    DiskFull {
        /// The cache's file.
        path: PathBuf,
    },
    /// Another program keeps the WAL from being reset, and the WAL has taken the
    /// space of the cache.
    #[error("the WAL of {} has grown to {wal_bytes} bytes: nothing is cached until the program that holds a long read transaction on it ends it", .path.display())]
    WalHeld {
        /// The cache's file.
        path: PathBuf,
        /// Its size.
        wal_bytes: u64,
    },
    /// The space of evicted entries cannot be used again: the filesystem does not
    /// support holes in files.
    #[error("the cache {} has reached its bound, and its filesystem does not support holes in files (fallocate): move the cache to another filesystem, or raise its bound", .path.display())]
    CannotShrink {
        /// The cache's file.
        path: PathBuf,
    },
    /// A file next to the database cannot be used.
    #[error("cannot {what} {}: {source}", .path.display())]
    Io {
        /// What was being done.
        what: &'static str,
        /// To what.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The tables could not be created, or are of a newer program.
    #[error(transparent)]
    Schema(#[from] monolite_component::SchemaError),
    /// SQLite's own answer.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    /// The store's error.
    #[cfg(feature = "handle")]
    #[error(transparent)]
    Store(monolite_store::Error),
    /// The file could not be opened, locked or replaced.
    #[cfg(feature = "handle")]
    #[error(transparent)]
    File(monolite_component::FileError),
    /// The system gives no thread.
    #[cfg(feature = "handle")]
    #[error("cannot start a thread of the cache: {0}")]
    Thread(std::io::Error),
    /// The cache was closed.
    #[error("the cache is closed")]
    Closed,
}

/// From the store; an error of this crate that passed through it is taken out.
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

/// For a store's closure, which rolls back with it.
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

#[cfg(feature = "handle")]
impl From<monolite_component::FileError> for Error {
    fn from(error: monolite_component::FileError) -> Self {
        match error {
            monolite_component::FileError::Io { path, source, .. }
                if source.kind() == std::io::ErrorKind::StorageFull =>
            {
                Self::DiskFull { path }
            }
            other => Self::File(other),
        }
    }
}

#[cfg(feature = "handle")]
impl From<monolite_component::SpawnError> for Error {
    fn from(error: monolite_component::SpawnError) -> Self {
        match error {
            monolite_component::SpawnError::Stopped => Self::Closed,
            monolite_component::SpawnError::Thread(source) => Self::Thread(source),
        }
    }
}
