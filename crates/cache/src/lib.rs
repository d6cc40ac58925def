//! A cache on one SQLite file, shared by all processes of a machine.
//!
//! ```
//! use monolite_cache::{Cache, CacheOptions, EntryOptions, Error};
//! use std::time::Duration;
//!
//! # let dir = tempfile::tempdir().unwrap();
//! # let path = dir.path().join("cache.sqlite3");
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! let cache = Cache::open(path, CacheOptions::default())?;
//! let minute = EntryOptions::new().ttl(Duration::from_secs(60));
//!
//! // Any serde type, or bytes.
//! cache.set("answer", &42, &minute).await?;
//! assert_eq!(cache.get::<i32>("answer").await?, Some(42));
//! cache.set_bytes("raw", vec![1, 2, 3], &minute).await?;
//!
//! // Counting is atomic, also between processes.
//! cache.increment("visits", 1, &EntryOptions::NONE).await?;
//!
//! // Computed once, however many ask for it at a time, in whatever process.
//! let posts: Vec<String> = cache
//!     .get_or_insert_with("posts", &minute.clone().tag("posts"), async || {
//!         Ok::<_, Error>(vec!["Hello".to_string()])
//!     })
//!     .await?;
//! assert_eq!(posts, ["Hello"]);
//!
//! // Gone with whatever else has the tag.
//! assert_eq!(cache.delete_tag("posts").await?, 1);
//! # Ok::<(), Error>(())
//! # })?;
//! # Ok::<(), Error>(())
//! ```
//!
//! # What is promised
//! - **Bounded by bytes on disk**, all files together: never over the bound by
//!   more than a twentieth, in a full cache or one that is being shrunk
//!   (`room.rs`). What has to go is chosen better than by LRU (`heat.rs`).
//! - **One truth for all processes**: who was told of a set or a delete finds
//!   that no get of any process answers what was before (`changes.rs`).
//! - **Computed once**: one task of one process computes a missing value, the
//!   others wait for it; one that fails, is dropped or killed is followed by
//!   the next (`claim.rs`).
//! - **What is over is not answered**, to the millisecond, and an entry whose
//!   clock was put back is over a minute late at most (`expiry.rs`). It is
//!   removed in small steps.
//! - **Never an error because of what is in the file**: missing, damaged, cut
//!   short, of a newer version or no cache at all, it is made anew
//!   ([`Cache::rebuilt`], [`Stats::rebuilds`]). What was never a cache is set
//!   aside, not deleted. The one exception is SQLite's own: a file *cut short
//!   by somebody else* while it is mapped ends the process (`SIGBUS`).
//! - **A full disk** refuses sets with [`Error::DiskFull`]; gets go on.
//!
//! A set that was answered survives the death of the process. The disk is never
//! waited for: after a crash of the *machine* the last half minute may be
//! missing, and a delete of that time undone. The file is checked as a whole
//! when it is first opened after each start of the machine, about 1 s a GiB.
//!
//! # How
//! An entry is one row, found by a keyed hash of its key; values over 3.9 KB
//! are in a file of blocks beside the database (`blobs.rs`). Gets run on the
//! caller's thread, and what was read lately is answered from memory
//! (`near.rs`). Sets of concurrent callers share a transaction.
//!
//! Files beside `cache.sqlite3`: `-wal` and `-shm` are SQLite's, `-blobs` has
//! the large values, `-changes` the counters that processes tell each other
//! changes by, `-lock` is locked by whoever opens. All may be deleted while no
//! process has the cache open.
//!
//! Without the feature `handle` there are only [`Tables`], the operations over
//! a connection.

mod bits;
mod blobs;
mod changes;
mod claim;
mod error;
mod evict;
mod expiry;
mod hash;
mod heat;
mod key;
mod map;
mod near;
mod read;
mod room;
mod sweep;
mod tables;
mod tag;
mod write;

pub use crate::claim::{Claim, Moment};
pub use crate::error::{Error, Result};
pub use crate::expiry::Ttl;
pub use crate::key::{KEY_MAX_BYTES, Key};
pub use crate::read::{Found, Lookup};
pub use crate::sweep::Sweep;
pub use crate::tables::{BOUND_MIN_BYTES, SCHEMA, Tables};
pub use crate::tag::{TAG_MAX_BYTES, TAGS_MAX};
pub use crate::write::{Change, Outcome, Write};

#[cfg(feature = "handle")]
mod handle;
#[cfg(feature = "handle")]
pub use crate::handle::{Cache, CacheOptions, Engine, EntryOptions, Rebuilt, Reply, Stats};
