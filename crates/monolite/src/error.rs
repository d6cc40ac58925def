//! What can go wrong with a volume.

use std::path::PathBuf;

use monolite_store::rusqlite;

/// What this crate returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What was being done, to what, and how to fix it.
///
/// The errors of the parts, and rusqlite's, become this one by `?`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The volume is not there.
    #[error("{} is not a directory: mount the volume, or create the directory first", .dir.display())]
    MissingDirectory {
        /// Where it should be.
        dir: PathBuf,
    },
    /// The app's database cannot have that name.
    #[error(
        "the app's database cannot be called {name:?}: give the name of a file in the directory, which does not begin with cache.sqlite3 or pubsub.sqlite3"
    )]
    DatabaseName {
        /// The name.
        name: String,
    },
    /// The runtime ended while the files were being opened, or migrated.
    #[error("the runtime ended while the volume was being opened")]
    Stopped,
    /// The app's database: busy, full, closed, or an error of SQLite's own.
    #[error(transparent)]
    Store(#[from] monolite_store::Error),
    /// The migrations.
    #[cfg(feature = "migrations")]
    #[error(transparent)]
    Migrations(#[from] monolite_migrate::files::Error),
    /// The cache.
    #[cfg(feature = "cache")]
    #[error("the cache: {0}")]
    Cache(#[from] monolite_cache::Error),
    /// The jobs.
    #[cfg(feature = "jobs")]
    #[error("the jobs: {0}")]
    Jobs(#[from] monolite_jobs::Error),
    /// Publish and subscribe.
    #[cfg(feature = "pubsub")]
    #[error("pub/sub: {0}")]
    PubSub(#[from] monolite_pubsub::Error),
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}
