//! Everything that can go wrong, one clear line each.

use monolite_component::SchemaError;

/// What this crate returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What was being done, to what, and what mends it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A channel, pattern or member that cannot be one.
    #[error("{what} {name:?} is refused: {why}")]
    Name {
        /// `channel`, `pattern` or `member`.
        what: &'static str,
        /// The name given.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The payload is larger than may be.
    #[error(
        "a payload of {bytes} bytes for {channel:?} is over the bound of {max} bytes: publish a reference to it instead, or raise `max_payload_bytes`"
    )]
    TooLarge {
        /// The channel it was for.
        channel: String,
        /// Its size.
        bytes: usize,
        /// The bound.
        max: usize,
    },
    /// More in one call than may be.
    #[error("{count} {what} in one call are over the bound of {max}: split them")]
    TooMany {
        /// What there are too many of.
        what: &'static str,
        /// How many.
        count: usize,
        /// The bound.
        max: usize,
    },
    /// A value could not be turned into JSON or back.
    #[error("cannot {what}: {source}")]
    Json {
        /// What was being done.
        what: &'static str,
        /// Serde's answer.
        source: serde_json::Error,
    },
    /// A resume token that is none.
    #[error(
        "{0:?} is no message id: expected what `MessageId` prints, as in `7d2f6c01a9e4b358-42`"
    )]
    MessageId(String),
    /// The tables could not be made ready.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// The outbox tables are missing in the app's file.
    #[error(
        "the app's database has no outbox: call `PubSub::relay` with its store, or `outbox::install` with a connection, before publishing in its transactions"
    )]
    NoOutbox,
    /// The lease of this process ran out, and another process has taken its
    /// members out.
    #[error("the presence lease {0} is gone: take a new one and join again")]
    LeaseLost(i64),
    /// The file is not whole, and other processes have it open.
    #[error(
        "{} cannot be used ({reason}) and other processes have it open: stop them, the next start makes it anew", .path.display()
    )]
    InUse {
        /// The file.
        path: std::path::PathBuf,
        /// What is wrong with it.
        reason: String,
    },
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
    /// The operating system refused something.
    #[error("cannot {what} {}: {source}", .path.display())]
    Io {
        /// What was being done.
        what: &'static str,
        /// To which file.
        path: std::path::PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The store's answer: a full disk, a full queue, a lock held too long.
    #[cfg(feature = "handle")]
    #[error("cannot {what}: {source}")]
    Store {
        /// What was being done.
        what: &'static str,
        /// The store's answer.
        source: monolite_store::Error,
    },
}

/// Names what was being done when SQLite refused.
pub(crate) fn sqlite(what: &'static str) -> impl Fn(rusqlite::Error) -> Error {
    move |source| Error::Sqlite { what, source }
}

#[cfg(feature = "handle")]
impl Error {
    /// Through a store's closure, where only its own errors can pass: those of
    /// SQLite as such, so that the store names them.
    pub(crate) fn into_store(self) -> monolite_store::Error {
        match self {
            Self::Sqlite { source, .. } => monolite_store::Error::Sqlite(source),
            other => monolite_store::Error::app(other),
        }
    }

    /// Out of a store's closure again.
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
