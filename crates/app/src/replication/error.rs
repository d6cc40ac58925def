//! Why replication did not start.

use std::io;

/// Why replication did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplicationError {
    /// A database is missing, and no replica can be asked whether it has it.
    #[error(
        "{database} is not on the volume, and what its replica holds cannot be found out: {why}; the app was not started. Repair that, or go without a replica: --replica none"
    )]
    Inventory {
        /// The database.
        database: String,
        /// Why not.
        why: String,
    },
    /// A database is missing, and cannot be restored.
    #[error(
        "{database} is not on the volume, and cannot be restored: {why}; the app was not started"
    )]
    Restore {
        /// The database.
        database: String,
        /// Why not.
        why: String,
    },
    /// The volume cannot be followed.
    #[error("cannot replicate the volume: {0}")]
    Follow(#[source] monolite_replica::Error),
    /// The operating system refused something.
    #[error("cannot {what}: {source}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// The system's answer.
        source: io::Error,
    },
}

impl ReplicationError {
    pub(super) fn io(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what, source }
    }
}
