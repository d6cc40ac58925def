//! How replication is doing, for people and for graphs.

use std::sync::{Mutex, PoisonError};

use monolite_ltx::Txid;

use crate::class::ErrorClass;
use crate::error::Error;

/// One database in one destination.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// The database, by its path in the volume.
    pub database: String,
    /// The destination, without secrets.
    pub destination: String,
    /// What is being done.
    pub state: State,
    /// The newest transaction that is known to be stored there; 0: none is.
    /// Known from the volume's own records before the destination is reached.
    pub txid: Txid,
    /// When the newest stored state was read from the database, in milliseconds
    /// since 1970. `None`: nothing is stored, or the destination was not reached
    /// since the start.
    pub stored_ms: Option<i64>,
    /// How long the oldest commit that is not stored yet has been waiting, in
    /// milliseconds; 0 if all are stored.
    pub lag_ms: u64,
    /// Bytes sent since the start.
    pub sent_bytes: u64,
    /// The file that is being sent, if it is a large one.
    pub sending: Option<Sending>,
    /// Files sent since the start.
    pub sent_files: u64,
    /// Whether a lease keeps other machines from writing there; `false` with a
    /// provider that has no conditional writes.
    pub leased: bool,
    /// Why it does not work now; `None` once it works again.
    pub failure: Option<Failure>,
    /// The last time that the replica turned out not to lead to its newest state.
    pub repair: Option<Repair>,
    /// What could be better about a database that is stored all the same: it is
    /// not in WAL mode, or its old files could not be merged.
    pub advice: Option<String>,
}

/// A file on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sending {
    /// Bytes sent so far.
    pub bytes: u64,
    /// Its bytes.
    pub total: u64,
}

/// A replica that did not lead to its newest state any more, because files are
/// missing or damaged. A new snapshot makes it whole again; states before it may be
/// lost.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Repair {
    /// What was found.
    pub why: String,
    /// When, in milliseconds since 1970.
    pub found_ms: i64,
    /// The transaction of the new snapshot, once that is stored.
    pub done: Option<Txid>,
}

impl Repair {
    pub(super) fn new(why: String, found_ms: i64) -> Self {
        Self {
            why,
            found_ms,
            done: None,
        }
    }
}

/// An error that lasts until something works again.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Failure {
    /// What failed last, in one line, with what to do about it.
    pub error: String,
    /// Whether waiting helps.
    pub class: ErrorClass,
    /// Since when nothing has worked, in milliseconds since 1970.
    pub since_ms: i64,
}

impl Failure {
    /// A failure that began at `since_ms`.
    #[must_use]
    pub fn new(error: impl Into<String>, class: ErrorClass, since_ms: i64) -> Self {
        Self {
            error: error.into(),
            class,
            since_ms,
        }
    }

    /// `error`, met at `now_ms`, after `before` or after a success.
    pub(super) fn of(error: &Error, now_ms: i64, before: Option<&Self>) -> Self {
        let since_ms = before.map_or(now_ms, |before| before.since_ms);
        Self::new(error.to_string(), error.class(), since_ms)
    }
}

/// What is being done for a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Finding out what the destination holds.
    Starting,
    /// Comparing all pages with what was sent.
    Comparing,
    /// Sending what is committed.
    Following,
    /// It did not work, and is tried again: often after a transient error,
    /// seldom after a permanent one ([`Failure::class`]).
    Retrying,
    /// Another machine writes there, or was the last to: nothing is sent until
    /// somebody decides.
    Refused,
}

impl Status {
    /// A database of which nothing is known yet.
    #[must_use]
    pub fn new(database: impl Into<String>, destination: impl Into<String>) -> Self {
        Self {
            database: database.into(),
            destination: destination.into(),
            state: State::Starting,
            txid: Txid(0),
            stored_ms: None,
            lag_ms: 0,
            sent_bytes: 0,
            sent_files: 0,
            sending: None,
            leased: true,
            failure: None,
            repair: None,
            advice: None,
        }
    }

    /// The last error, until something works again.
    #[must_use]
    pub fn error(&self) -> Option<&str> {
        Some(&self.failure.as_ref()?.error)
    }

    /// Whether no byte of the database is known to be stored there.
    #[must_use]
    pub fn never_stored(&self) -> bool {
        self.txid.0 == 0
    }

    /// Whether everything that was committed is stored.
    #[must_use]
    pub fn is_stored(&self) -> bool {
        self.state == State::Following && self.lag_ms == 0 && self.failure.is_none()
    }

    /// Whether it does not work, and will not until somebody acts.
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        let lasts = |failure: &Failure| failure.class == ErrorClass::Permanent;
        self.state == State::Refused || self.failure.as_ref().is_some_and(lasts)
    }
}

/// A status that is kept up to date by one, and read by many.
#[derive(Debug)]
pub(super) struct Board(Mutex<Status>);

impl Board {
    pub(super) fn new(database: String, destination: String) -> Self {
        Self(Mutex::new(Status::new(database, destination)))
    }

    pub(super) fn update<T>(&self, update: impl FnOnce(&mut Status) -> T) -> T {
        update(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn read(&self) -> Status {
        self.update(|status| status.clone())
    }
}
