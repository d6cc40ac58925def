//! Everything that can go wrong with jobs, one clear line each.

use crate::JobId;

/// What this crate returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What was being done, to what, and how to fix it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A job with the same unique key is there, and the new one asked to be
    /// refused then.
    #[error("a job with the unique key {key:?} is there already (job {id}): nothing was enqueued")]
    NotUnique {
        /// The key.
        key: String,
        /// The job that holds it.
        id: JobId,
    },
    /// A value that cannot be used; nothing was done.
    #[error("{what}: {why}")]
    Invalid {
        /// What was being set up.
        what: &'static str,
        /// Why it is refused.
        why: String,
    },
    /// A payload or result that does not match its type.
    #[error("cannot {what} as JSON: {source}")]
    Json {
        /// What was being done.
        what: &'static str,
        /// serde's error.
        source: serde_json::Error,
    },
    /// No job with this id, or it was removed since.
    #[error("there is no job {0}; finished jobs are removed after a while")]
    NotFound(JobId),
    /// The job is not in a state in which that can be done.
    #[error("job {id} is {state}: cannot {what} it")]
    WrongState {
        /// The job.
        id: JobId,
        /// Its state.
        state: crate::State,
        /// What was asked for.
        what: &'static str,
    },
    /// The wait for a job's end took longer than allowed. The job goes on.
    #[error("job {0} had not ended in time; it was left as it is")]
    NotEnded(JobId),
    /// The tables could not be made, or are of a newer version.
    #[error(transparent)]
    Schema(#[from] monolite_component::SchemaError),
    /// SQLite's own error.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    /// The store's error: full, busy, closed.
    #[cfg(feature = "handle")]
    #[error(transparent)]
    Store(monolite_store::Error),
}

impl Error {
    pub(crate) fn invalid(what: &'static str, why: impl Into<String>) -> Self {
        let why = why.into();
        Self::Invalid { what, why }
    }

    pub(crate) fn json(what: &'static str) -> impl FnOnce(serde_json::Error) -> Self {
        move |source| Self::Json { what, source }
    }
}

/// Through a closure of the store and back, unchanged.
#[cfg(feature = "handle")]
impl From<Error> for monolite_store::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Sqlite(error) => Self::Sqlite(error),
            Error::Store(error) => error,
            other => Self::app(other),
        }
    }
}

#[cfg(feature = "handle")]
impl From<monolite_store::Error> for Error {
    fn from(error: monolite_store::Error) -> Self {
        match error {
            monolite_store::Error::App(error) => match error.downcast() {
                Ok(error) => *error,
                Err(error) => Self::Store(monolite_store::Error::App(error)),
            },
            other => Self::Store(other),
        }
    }
}
