//! One thing there is to say of a replication.

use std::time::Duration;

use monolite_replica::{State, Status};

use crate::human;

/// One line of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum News {
    /// It is stored up to here, and goes on.
    Follows(Status),
    /// It does not work.
    Fails {
        status: Status,
        /// For so long already.
        since: Duration,
        /// So many more databases, in the same destination.
        more: usize,
    },
    /// It works again.
    Works { status: Status, after: Duration },
    /// It works, and is late.
    Behind(Status),
    /// It is late no more.
    CaughtUp(Status),
    /// It is stored, and could be with less effort: the mend.
    Slow(Status, String),
    /// Another machine could write this destination, too.
    Unleased(String),
    /// What was sent since the last account.
    Sent {
        files: u64,
        bytes: u64,
        lag_ms: u64,
        databases: usize,
    },
}

impl News {
    /// Writes it to the log.
    pub(super) fn log(&self) {
        match self {
            Self::Follows(Status {
                database,
                destination,
                txid,
                ..
            }) => tracing::info!(database, destination, %txid, "replicating"),
            Self::Fails {
                status,
                since,
                more,
            } => {
                let (database, destination) = (&status.database, &status.destination);
                let error = status.error().unwrap_or("not known");
                let refused = status.state == State::Refused;
                let what = match (refused, *more) {
                    (true, _) => "not replicated until somebody decides",
                    (false, 0) => "cannot replicate, trying on",
                    (false, _) => "cannot replicate this and others, trying on",
                };
                let others = (*more > 0).then_some(*more);
                let for_s = (!since.is_zero()).then_some(since.as_secs());
                tracing::error!(database, destination, others, for_s, error, "{what}");
            }
            Self::Works { status, after } => {
                let (database, destination) = (&status.database, &status.destination);
                let after_s = after.as_secs();
                tracing::info!(database, destination, after_s, "replicating again");
            }
            Self::Behind(status) => tracing::warn!(
                database = status.database,
                destination = status.destination,
                lag_s = status.lag_ms / 1000,
                "the replica is behind"
            ),
            Self::CaughtUp(status) => tracing::info!(
                database = status.database,
                destination = status.destination,
                lag_ms = status.lag_ms,
                "the replica has caught up"
            ),
            Self::Slow(status, advice) => {
                let destination = &status.destination;
                tracing::warn!(destination, "{advice}");
            }
            Self::Unleased(destination) => tracing::warn!(
                destination,
                "this provider has no conditional writes: nothing keeps another machine from writing there"
            ),
            Self::Sent {
                files,
                bytes,
                lag_ms,
                databases,
            } => tracing::info!(
                databases,
                files,
                sent = %human::size(*bytes),
                lag_ms,
                "stored in the last hour"
            ),
        }
    }
}
