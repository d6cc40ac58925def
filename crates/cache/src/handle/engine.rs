//! The seam: what a handle needs of whatever keeps the entries.

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;

use crate::{Change, Claim, Found, Key, Outcome, Result, Stats};

/// An answer to come. A get of the SQLite engine is there when first asked
/// for: the allocation is a thirtieth of what it costs.
pub type Reply<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

/// Keeps entries. One conformance suite runs against each engine.
///
/// A read never fails because of what was kept: what cannot be read is a miss.
pub trait Engine: Debug + Send + Sync + 'static {
    /// Looks one key up.
    fn get(&self, key: Key) -> Reply<'_, Option<Found>>;
    /// Looks many keys up, each at its own moment.
    fn get_many(&self, keys: Vec<Key>) -> Reply<'_, Vec<Option<Found>>>;
    /// As [`crate::Tables::expires_ms`].
    fn expires_ms(&self, key: Key) -> Reply<'_, Option<Option<i64>>>;
    /// Changes one key, atomically.
    fn write(&self, key: Key, change: Change) -> Reply<'_, Outcome>;
    /// Changes many keys, each atomically, in order.
    fn write_many(&self, writes: Vec<(Key, Change)>) -> Reply<'_, Vec<Result<Outcome>>>;
    /// Deletes what has the tag; answers how many entries that were.
    fn delete_tag(&self, tag: String) -> Reply<'_, u64>;
    /// Deletes a namespace, or all; answers how many entries that were.
    fn clear(&self, namespace: Option<String>) -> Reply<'_, u64>;
    /// Takes out what is over; answers how many entries that were.
    fn remove_expired(&self) -> Reply<'_, u64>;
    /// Claims a key, to compute its value. The engine keeps the claim alive
    /// until it is settled, or abandoned.
    fn claim(&self, key: Key, token: i64) -> Reply<'_, Claim>;
    /// Puts the value in and ends the claim, in one.
    fn settle(&self, key: Key, token: i64, value: Change) -> Reply<'_, ()>;
    /// Ends the claim some time soon, without a value. Never waits.
    fn abandon(&self, key: Key, token: i64);
    /// Waits until nobody has a claim on the key.
    fn unclaimed(&self, key: Key) -> Reply<'_, ()>;
    /// What was done, and what there is.
    fn stats(&self) -> Reply<'_, Stats>;
    /// See [`crate::Cache::set_bound_bytes`].
    fn set_bound_bytes(&self, bytes: u64) -> Reply<'_, ()>;
    /// Ends it on every handle.
    fn close(&self) -> Reply<'_, ()>;
}
