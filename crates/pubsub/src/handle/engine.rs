//! What a handle needs of the database behind it: SQLite today, the place where
//! another one can come in.

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use rusqlite::Connection;

use crate::members::{LeaseId, Slot};
use crate::outbox::RowKey;
use crate::{Ask, Bounds, Member, MessageId, NewMessage, Page, Result};

/// What an engine answers with.
pub(crate) type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

/// Wakes when any process commits. Wake-ups are merged, and one may come
/// without a commit; after the last commit there is always one.
pub(crate) trait Commits: Send {
    /// Waits for a commit since the last call, or since this was made.
    fn changed(&mut self) -> Answer<'_, ()>;
}

/// Keeps the messages, in one order for all processes.
///
/// The tests in `tests/conformance` say what every engine must do.
pub(crate) trait Engine: Debug + Send + Sync + 'static {
    /// Publishes; answers once it is committed.
    fn publish(&self, message: NewMessage) -> Answer<'_, MessageId>;
    /// As [`Engine::publish`], blocking this thread.
    ///
    /// # Errors
    /// Those of publishing.
    fn publish_blocking(&self, message: NewMessage) -> Result<MessageId>;
    /// Publishes all or nothing.
    fn publish_many(&self, messages: Vec<NewMessage>) -> Answer<'_, Vec<MessageId>>;
    /// Which messages are held now.
    fn bounds(&self) -> Answer<'_, Bounds>;
    /// Reads the messages after `ask.after`, expecting few: those just
    /// committed.
    fn tail(&self, ask: Ask) -> Answer<'_, Page>;
    /// As [`Engine::tail`], expecting many.
    fn page(&self, ask: Ask) -> Answer<'_, Page>;
    /// A way to wait for commits.
    ///
    /// # Errors
    /// The file cannot be watched.
    fn commits(&self) -> Result<Box<dyn Commits>>;

    /// Publishes a round of messages of an app's outbox; see
    /// [`outbox::take_in`](crate::outbox::take_in).
    fn take_in(&self, app: Arc<Mutex<Connection>>) -> Answer<'_, Vec<RowKey>>;

    /// See [`members::lease`](crate::members::lease).
    fn lease(&self) -> Answer<'_, LeaseId>;
    /// See [`members::beat`](crate::members::beat).
    fn beat(&self, lease: LeaseId) -> Answer<'_, ()>;
    /// Removes the members of all leases that ran out.
    fn reap(&self) -> Answer<'_, ()>;
    /// See [`members::join`](crate::members::join); all or nothing.
    fn join(&self, lease: LeaseId, slots: Vec<Slot>) -> Answer<'_, ()>;
    /// See [`members::update`](crate::members::update).
    fn update(&self, lease: LeaseId, slot: Slot) -> Answer<'_, ()>;
    /// See [`members::leave`](crate::members::leave).
    fn leave(&self, lease: LeaseId, slots: Vec<i64>) -> Answer<'_, ()>;
    /// See [`members::release`](crate::members::release).
    fn release(&self, lease: LeaseId) -> Answer<'_, ()>;
    /// See [`members::members`](crate::members::members).
    fn members(&self, channel: String) -> Answer<'_, Vec<Member>>;
    /// See [`members::roster`](crate::members::roster).
    fn roster(&self, channel: String) -> Answer<'_, (Bounds, Vec<Member>)>;
    /// See [`members::next_expiry_ms`](crate::members::next_expiry_ms).
    fn next_expiry_ms(&self) -> Answer<'_, Option<i64>>;

    /// Refuses new calls, waits for the running ones, and closes the database.
    /// Blocks this thread.
    fn close_blocking(&self);
}
