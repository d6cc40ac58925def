//! What can keep the app from starting or serving.

use std::path::PathBuf;

/// What was being done, to what, and what mends it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file of the directory cannot be opened, read or written.
    #[error(transparent)]
    Monolite(#[from] monolite::Error),
    /// The file holds the tables of another app. It was left as it is.
    #[error(
        "{} holds a table named {table:?}, so it belongs to another app; it was left as it is. Name a new directory for the demo", .path.display()
    )]
    Foreign {
        /// The database's path.
        path: PathBuf,
        /// One table that is not the demo's.
        table: String,
    },
    /// The file was made by a newer version of this program.
    #[error(
        "{} has schema version {found}, this program knows {known}; it was left as it is. Use the newer monolite, or name a new directory", .path.display()
    )]
    Newer {
        /// The database's path.
        path: PathBuf,
        /// The version in the file.
        found: i64,
        /// The version this program knows.
        known: i64,
    },
    /// The listener failed.
    #[error("cannot serve the demo: {0}")]
    Serve(#[source] std::io::Error),
    /// A thread of the runtime could not be used.
    #[error("cannot open the database in the background: {0}")]
    Runtime(#[source] tokio::task::JoinError),
}
