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
    /// Another machine writes a replica, and did not stop in time.
    #[error(
        "{destination} is written by {holder}, and its lease was not free within {} s; the app was not started. Start this one when that one has stopped, wait longer with --restore-timeout, or give this one a replica of its own", waited.as_secs()
    )]
    Lease {
        /// The destination.
        destination: String,
        /// Who writes it.
        holder: String,
        /// For how long it was waited for.
        waited: std::time::Duration,
    },
    /// The volume is a copy of the one that writes a replica.
    #[error("{why}; the app was not started")]
    Copied {
        /// Which one, and what to do.
        why: String,
    },
    /// Another machine went on with a database, and what it stored cannot be restored here.
    #[error(
        "{database} is older here than in its replica, and cannot be brought up to date: {why}; the app was not started. Repair that, or go without a replica: --replica none"
    )]
    Behind {
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
