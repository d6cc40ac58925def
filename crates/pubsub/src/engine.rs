//! The seam: what stands behind a handle. SQLite today.

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use rusqlite::Connection;

use crate::members::Place;
use crate::outbox::RowKey;
use crate::{Ask, Bounds, Member, MessageId, NewMessage, Page, Result};

/// What an engine answers with.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

/// Tells of commits by any process. Wake-ups are merged; one may come for
/// nothing; after the last commit there is always one.
pub trait Commits: Send {
    /// Waits for a commit since the last call, or since it was made.
    fn changed(&mut self) -> Answer<'_, ()>;
}

/// Keeps the messages, in one order for all processes.
///
/// What every engine keeps to is written down as tests, in
/// `tests/conformance`.
pub trait Engine: Debug + Send + Sync + 'static {
    /// Publishes; answers once it is committed.
    fn publish(&self, message: NewMessage) -> Answer<'_, MessageId>;
    /// As [`Engine::publish`], blocking this thread.
    ///
    /// # Errors
    /// Those of publishing.
    fn publish_blocking(&self, message: NewMessage) -> Result<MessageId>;
    /// Publishes all or nothing.
    fn publish_many(&self, messages: Vec<NewMessage>) -> Answer<'_, Vec<MessageId>>;
    /// What is held now.
    fn bounds(&self) -> Answer<'_, Bounds>;
    /// Reads on, expecting few messages: what follows the newest.
    fn tail(&self, ask: Ask) -> Answer<'_, Page>;
    /// Reads on, expecting many.
    fn page(&self, ask: Ask) -> Answer<'_, Page>;
    /// A way to learn of commits.
    ///
    /// # Errors
    /// Where there is none.
    fn commits(&self) -> Result<Box<dyn Commits>>;

    /// Moves a round of messages out of an app's outbox; see
    /// [`outbox::take_in`](crate::outbox::take_in).
    fn take_in(&self, app: Arc<Mutex<Connection>>) -> Answer<'_, Vec<RowKey>>;

    /// See [`members::lease`](crate::members::lease).
    fn lease(&self) -> Answer<'_, i64>;
    /// Renews a lease and takes out what ran out.
    fn beat(&self, lease: i64) -> Answer<'_, ()>;
    /// Takes out what ran out.
    fn reap(&self) -> Answer<'_, ()>;
    /// See [`members::join`](crate::members::join); all or nothing.
    fn join(&self, lease: i64, places: Vec<Place>) -> Answer<'_, ()>;
    /// See [`members::update`](crate::members::update).
    fn update(&self, lease: i64, place: Place) -> Answer<'_, ()>;
    /// See [`members::leave`](crate::members::leave).
    fn leave(&self, lease: i64, places: Vec<i64>) -> Answer<'_, ()>;
    /// See [`members::release`](crate::members::release).
    fn release(&self, lease: i64) -> Answer<'_, ()>;
    /// See [`members::members`](crate::members::members).
    fn members(&self, channel: String) -> Answer<'_, Vec<Member>>;
    /// See [`members::roster`](crate::members::roster).
    fn roster(&self, channel: String) -> Answer<'_, (Bounds, Vec<Member>)>;
    /// See [`members::next_expiry_ms`](crate::members::next_expiry_ms).
    fn next_expiry_ms(&self) -> Answer<'_, Option<i64>>;

    /// Refuses what comes next, ends what runs, and lets go of everything.
    /// Blocks this thread meanwhile.
    fn close_blocking(&self);
}
