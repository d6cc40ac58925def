//! How replication is doing, for people and for graphs.

use std::sync::{Mutex, PoisonError};

use monolite_ltx::Txid;

/// One database in one destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The database, by its path in the volume.
    pub database: String,
    /// The destination, without secrets.
    pub destination: String,
    /// What is being done.
    pub state: State,
    /// The newest transaction that is stored there; 0 before the first.
    pub txid: Txid,
    /// When the state that it leads to was read, in milliseconds since 1970.
    pub stored_ms: Option<i64>,
    /// How long the oldest commit that is not stored yet has been waiting; 0 if
    /// all are.
    pub lag_ms: u64,
    /// Bytes sent since the start.
    pub sent_bytes: u64,
    /// Files sent since the start.
    pub sent_files: u64,
    /// Whether nobody else can write there meanwhile; not so with a provider
    /// that has no conditional writes.
    pub leased: bool,
    /// The last error, until something works again.
    pub error: Option<String>,
    /// What could be better about a database that is stored all the same: it is
    /// not in WAL mode, or its old files could not be merged.
    pub advice: Option<String>,
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
    /// It did not work, and is tried again.
    Retrying,
    /// Another machine writes there, or was the last to: nothing is sent until
    /// somebody decides.
    Refused,
}

/// A status that is kept up to date by one, and read by many.
#[derive(Debug)]
pub(super) struct Board(Mutex<Status>);

impl Board {
    pub(super) fn new(database: String, destination: String) -> Self {
        Self(Mutex::new(Status {
            database,
            destination,
            state: State::Starting,
            txid: Txid(0),
            stored_ms: None,
            lag_ms: 0,
            sent_bytes: 0,
            sent_files: 0,
            leased: true,
            error: None,
            advice: None,
        }))
    }

    pub(super) fn update<T>(&self, update: impl FnOnce(&mut Status) -> T) -> T {
        update(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn read(&self) -> Status {
        self.update(|status| status.clone())
    }
}
