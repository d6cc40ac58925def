//! Everything that can go wrong with pub/sub.

use monolite_component::SchemaError;

/// What this crate returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What was being done, to what, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not allowed as the name of a channel or member, or as a pattern.
    #[error("{what} {name:?} is refused: {why}")]
    Name {
        /// `channel`, `pattern` or `member`.
        what: &'static str,
        /// The name given.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The payload is too large.
    #[error(
        "a payload of {bytes} bytes for {channel:?} is over the limit of {max} bytes: publish a reference to it instead, or raise `max_payload_bytes`"
    )]
    TooLarge {
        /// The channel it was for.
        channel: String,
        /// Its size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// Too many in one call.
    #[error("{count} {what} in one call are over the limit of {max}: split them")]
    TooMany {
        /// What there are too many of.
        what: &'static str,
        /// How many.
        count: usize,
        /// The limit.
        max: usize,
    },
    /// A value could not be written as JSON or read from it.
    #[error("cannot {what}: {source}")]
    Json {
        /// What was being done.
        what: &'static str,
        /// Serde's answer.
        source: serde_json::Error,
    },
    /// A text that is no message id.
    #[error(
        "{0:?} is no message id: expected what `MessageId` prints, as in `7d2f6c01a9e4b358-42`"
    )]
    MessageId(String),
    /// The tables could not be created or upgraded.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// The app's file has no outbox tables.
    #[error(
        "the app's database has no outbox: call `PubSub::relay` with its store, or `outbox::install` with a connection, before publishing in its transactions"
    )]
    NoOutbox,
    /// The lease of this process ran out, and another process has removed its
    /// members.
    #[error("the presence lease ran out: take a new one and join again")]
    LeaseLost,
    /// The file could not be opened, locked, replaced or closed.
    #[cfg(feature = "handle")]
    #[error(transparent)]
    File(#[from] monolite_component::FileError),
    /// The system gives no thread.
    #[cfg(feature = "handle")]
    #[error("cannot start the thread of pub/sub: {0}")]
    Thread(std::io::Error),
    /// The handle was closed.
    #[error("the pub/sub handle is closed")]
    Closed,
    /// This process was forked from the one that opened the handle.
    #[error("this pub/sub handle was opened before a fork: open it again in the child process")]
    Forked,
    /// SQLite's own answer, from an operation over a connection.
    #[error("cannot {what}: {source}")]
    Sqlite {
        /// What was being done.
        what: &'static str,
        /// SQLite's answer.
        source: rusqlite::Error,
    },
    /// The store's error: a full disk, a full queue, a lock held for too long.
    #[cfg(feature = "handle")]
    #[error("cannot {what}: {source}")]
    Store {
        /// What was being done.
        what: &'static str,
        /// The store's answer.
        source: monolite_store::Error,
    },
}

/// Adds what was being done to an error of SQLite.
pub(crate) fn sqlite(what: &'static str) -> impl Fn(rusqlite::Error) -> Error {
    move |source| Error::Sqlite { what, source }
}

#[cfg(feature = "handle")]
impl Error {
    /// For a store's closure, which returns the store's errors. Those of SQLite
    /// stay what they are, so that the store can name them.
    pub(crate) fn into_store(self) -> monolite_store::Error {
        match self {
            Self::Sqlite { source, .. } => monolite_store::Error::Sqlite(source),
            other => monolite_store::Error::app(other),
        }
    }

    /// What [`Error::into_store`] wrapped, taken out of the store's error.
    pub(crate) fn from_store(what: &'static str) -> impl Fn(monolite_store::Error) -> Self {
        move |error| match error {
            monolite_store::Error::Closed => Self::Closed,
            monolite_store::Error::Forked => Self::Forked,
            monolite_store::Error::App(inner) => match inner.downcast::<Self>() {
                Ok(own) => *own,
                Err(inner) => Self::Store {
                    what,
                    source: monolite_store::Error::App(inner),
                },
            },
            source => Self::Store { what, source },
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
