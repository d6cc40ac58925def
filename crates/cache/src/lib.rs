//! A cache on one SQLite file, shared by all processes of a machine.
//!
//! ```
//! use monolite_cache::{Cache, CacheOptions, EntryOptions, Error};
//! use std::time::Duration;
//!
//! # let dir = tempfile::tempdir().unwrap();
//! # let path = dir.path().join("cache.sqlite3");
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! let cache = Cache::open(path, CacheOptions::new())?;
//! let minute = EntryOptions::new().ttl(Duration::from_secs(60));
//!
//! // Any serde type, or bytes.
//! cache.set("answer", &42, &minute).await?;
//! assert_eq!(cache.get::<i32>("answer").await?, Some(42));
//! cache.set_bytes("raw", vec![1, 2, 3], &minute).await?;
//!
//! // Counting is atomic, also between processes.
//! cache.increment("visits", 1, &EntryOptions::new()).await?;
//!
//! // Computed once, however many tasks and processes ask at the same time.
//! let posts: Vec<String> = cache
//!     .get_or_insert_with("posts", &minute.clone().tag("posts"), async || {
//!         Ok::<_, Error>(vec!["Hello".to_string()])
//!     })
//!     .await?;
//! assert_eq!(posts, ["Hello"]);
//!
//! // Deletes every entry with the tag.
//! assert_eq!(cache.delete_tag("posts").await?, 1);
//! # Ok::<(), Error>(())
//! # })?;
//! # Ok::<(), Error>(())
//! ```
//!
//! # Guarantees
//! - **Bounded by bytes on disk**, all files together: never over the bound by
//!   more than 5 %, also while a full cache is written to or shrunk. Entries to
//!   evict are chosen better than by LRU (`lrfu.rs`).
//! - **Consistent across processes**: once a set or delete was answered, no get of
//!   any process returns the value before it (`changes.rs`).
//! - **Computed once**: one task of one process computes a missing value, and the
//!   others wait for it. If it fails, is dropped or killed, the next one computes
//!   (`single_flight.rs`).
//! - **An expired entry is not returned**, to the millisecond. If the clock is set
//!   back, it expires at most a minute late (`expiry.rs`). It is removed in small
//!   steps.
//! - **No error because of what is in the file**: if it is missing, damaged, cut
//!   short, of a newer version or no cache at all, it is replaced by an empty one
//!   ([`Cache::opened`], [`Stats::rebuilds`]). A file that never was a cache is
//!   renamed, not deleted. The one exception is SQLite's own: a file *cut short
//!   by another program* while it is mapped ends the process (`SIGBUS`).
//! - **A full disk** refuses sets with [`Error::DiskFull`]; gets go on.
//!
//! A set that was answered survives the death of the process. The disk is never
//! waited for: after a crash of the *machine* the last half minute of sets and
//! deletes may be missing. The file is checked as a whole when it is first opened
//! after each boot, about 1 s for each GiB.
//!
//! # How it works
//! An entry is one row, found by a keyed hash of its key; values over 3.9 KB are in
//! a file of blocks (`blobs.rs`). Gets run on the caller's thread, and small values
//! that were read recently come from memory (`local.rs`). Sets of concurrent
//! callers share a transaction.
//!
//! Files next to `cache.sqlite3`: `-wal` and `-shm` are SQLite's, `-blobs` holds the
//! large values, `-changes` the counters by which processes learn of changes, `-use`
//! the boot in which the file was checked, and `-lock` is locked by the process that
//! opens. All may be deleted while no process has the cache open.
//!
//! Without the feature `handle` the crate has only [`Tables`], the operations over
//! a connection.

mod blobs;
mod block_map;
mod capacity;
mod changes;
mod error;
mod evict;
mod expiry;
mod hash;
mod key;
mod local;
mod lrfu;
mod read;
mod removal;
mod row;
mod single_flight;
mod tables;
mod tag;
mod write;

pub use crate::error::{Error, Result};
pub use crate::expiry::{Expiry, Ttl};
pub use crate::key::{KEY_MAX_BYTES, Key};
pub use crate::read::{Found, Lookup};
pub use crate::removal::Sweep;
pub use crate::single_flight::{Claim, Moment};
pub use crate::tables::{BOUND_MIN_BYTES, SCHEMA, Tables};
pub use crate::tag::{TAG_MAX_BYTES, TAGS_MAX};
pub use crate::write::{Change, Outcome, Write};

#[cfg(feature = "handle")]
mod handle;
#[cfg(feature = "handle")]
pub use crate::handle::{Cache, CacheOptions, EntryOptions, Stats};
#[cfg(feature = "handle")]
pub use monolite_component::{FileError, Opened};

/// The examples of the page `docs/cache.md` are compiled with the tests.
#[cfg(all(doctest, feature = "handle"))]
#[doc = include_str!("../../../docs/cache.md")]
struct Guide;
