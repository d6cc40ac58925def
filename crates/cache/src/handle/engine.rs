//! What a handle needs of the database behind it: SQLite today, the place where
//! another one can come in.

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;

use super::stats::Stats;
use crate::{Change, Claim, Expiry, Found, Key, Outcome, Result};

/// What an engine answers with. Most gets of the SQLite engine are ready at the
/// first poll; the allocation is a thirtieth of what they cost.
pub(crate) type Reply<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

/// Keeps entries. The tests in `tests/conformance` say what every engine must
/// do.
///
/// A read never fails because of what was kept: what cannot be read is a miss.
pub(crate) trait Engine: Debug + Send + Sync + 'static {
    /// Looks one key up.
    fn get(&self, key: Key) -> Reply<'_, Option<Found>>;
    /// Looks many keys up; not all at the same moment.
    fn get_many(&self, keys: Vec<Key>) -> Reply<'_, Vec<Option<Found>>>;
    /// When an entry expires. Does not count as a use of it.
    fn expiry(&self, key: Key) -> Reply<'_, Expiry>;
    /// Changes one key, atomically.
    fn write(&self, key: Key, change: Change) -> Reply<'_, Outcome>;
    /// Changes many keys, each atomically, in order.
    fn write_many(&self, writes: Vec<(Key, Change)>) -> Reply<'_, Vec<Result<Outcome>>>;
    /// Deletes the entries that have the tag; answers how many those were.
    fn delete_tag(&self, tag: String) -> Reply<'_, u64>;
    /// Deletes a namespace, or everything; answers how many entries those were.
    fn clear(&self, namespace: Option<String>) -> Reply<'_, u64>;
    /// Removes expired entries; answers how many those were.
    fn remove_expired(&self) -> Reply<'_, u64>;
    /// Claims a key, in order to compute its value. The engine renews the claim
    /// until it is settled or abandoned.
    fn claim(&self, key: Key, token: i64) -> Reply<'_, Claim>;
    /// Sets the value and ends the claim, atomically; does nothing if the claim
    /// has ended.
    fn settle(&self, key: Key, token: i64, value: Change) -> Reply<'_, ()>;
    /// Ends the claim soon, without a value. Does not block.
    fn abandon(&self, key: Key, token: i64);
    /// Waits until nobody has a claim on the key.
    fn unclaimed(&self, key: Key) -> Reply<'_, ()>;
    /// Counts and sizes.
    fn stats(&self) -> Reply<'_, Stats>;
    /// See [`crate::Cache::set_bound_bytes`].
    fn set_bound_bytes(&self, bytes: u64) -> Reply<'_, ()>;
    /// Closes it on every handle.
    fn close(&self) -> Reply<'_, ()>;
}
