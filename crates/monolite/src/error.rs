//! What can go wrong with a volume.

use std::path::PathBuf;

/// What this crate returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What was being done, to what, and what mends it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The volume is not there.
    #[error("{} is not a directory: mount the volume, or create the directory first", .dir.display())]
    MissingDirectory {
        /// Where it should be.
        dir: PathBuf,
    },
    /// The app's file cannot be called that.
    #[error(
        "the app's database cannot be called {name:?}: give the name of a file in the directory, which does not begin with cache.sqlite3 or pubsub.sqlite3"
    )]
    AppName {
        /// The name.
        name: String,
    },
    /// The runtime ended while the files were being opened.
    #[error("the runtime ended while the volume was being opened")]
    Stopped,
    /// The app's database.
    #[error(transparent)]
    Store(#[from] monolite_store::Error),
    /// The migrations.
    #[cfg(feature = "migrations")]
    #[error(transparent)]
    Migrations(#[from] monolite_migrate::files::Error),
    /// The cache.
    #[error("the cache: {0}")]
    Cache(#[from] monolite_cache::Error),
    /// The jobs.
    #[error("the jobs: {0}")]
    Jobs(#[from] monolite_jobs::Error),
    /// Publish and subscribe.
    #[error("pub/sub: {0}")]
    PubSub(#[from] monolite_pubsub::Error),
}
