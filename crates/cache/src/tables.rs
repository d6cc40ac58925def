//! A cache: its tables, the files next to the database, and what is kept of both
//! in memory.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use monolite_component::Schema;
use rusqlite::Connection;

use crate::blobs::Blobs;
use crate::capacity::Slack;
use crate::changes::Changes;
use crate::hash::Secret;
use crate::key::Key;
use crate::local::LocalCache;
use crate::lrfu::{Hits, LrfuClock};
use crate::{Error, Result};

/// The lowest bound, in bytes: below it the WAL would take more than its share.
pub const BOUND_MIN_BYTES: u64 = 8 << 20;

/// The tables of this component.
pub const SCHEMA: Schema = Schema {
    component: "cache",
    versions: &[include_str!("schema.sql")],
};

/// The operations of a cache, over any connection to its file.
///
/// Each operation is given the connection it works on, so that it can be part of a
/// transaction of the caller. Those that write must be called inside a write
/// transaction. Times are those of the wall clock, in milliseconds since 1970.
///
/// After a commit, and before it answers anybody, the caller calls
/// [`Tables::committed`] or [`Tables::committed_many`]: until then, for a second
/// at most, other processes may return the old value.
pub struct Tables {
    pub(crate) path: PathBuf,
    pub(crate) blobs: Blobs,
    pub(crate) changes: Changes,
    pub(crate) local: LocalCache,
    secret: Secret,
    bound: AtomicU64,
    pub(crate) hits: Hits,
    pub(crate) counts: Counts,
    /// Bytes set since the file was created, as far as this process knows.
    pub(crate) written: AtomicU64,
    /// Id after which the search for entries to evict continues.
    pub(crate) hand: AtomicI64,
    pub(crate) slack: Mutex<Option<Slack>>,
}

/// Counts of this process.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) hits: AtomicU64,
    pub(crate) misses: AtomicU64,
    pub(crate) sets: AtomicU64,
    pub(crate) evictions: AtomicU64,
    pub(crate) expirations: AtomicU64,
}

impl Tables {
    /// Creates the tables if they are missing, and opens the files next to
    /// `path`, the connection's file. Up to about `local_bytes` of memory hold
    /// small values that were read recently.
    ///
    /// # Errors
    /// [`Error::BoundTooLow`]; [`Error::Schema`]; [`Error::Io`].
    pub fn attach(
        conn: &Connection,
        path: &Path,
        bound_bytes: u64,
        local_bytes: usize,
    ) -> Result<Self> {
        check_bound(bound_bytes)?;
        SCHEMA.install(conn)?;
        let (secret, written) = conn.query_row(
            "SELECT secret, written FROM _monolite_cache_state",
            [],
            |row| {
                let secret = Secret::from_bytes(row.get_ref(0)?.as_blob()?);
                let secret = secret.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
                Ok((secret, row.get::<_, i64>(1)?))
            },
        )?;
        // A random start: a process that is often started again would otherwise
        // evict the same entries first.
        let hand: i64 = conn.query_row("SELECT random()", [], |row| row.get(0))?;
        Ok(Self {
            path: path.into(),
            blobs: Blobs::open(path)?,
            changes: Changes::open(path)?,
            local: LocalCache::new(local_bytes),
            secret,
            bound: AtomicU64::new(bound_bytes),
            hits: Hits::new(bound_bytes),
            counts: Counts::default(),
            written: AtomicU64::new(written.unsigned_abs()),
            hand: AtomicI64::new(hand),
            slack: Mutex::default(),
        })
    }

    pub(crate) fn id(&self, key: &Key) -> i64 {
        self.secret.id(key.as_bytes())
    }

    /// A change of one key was committed.
    pub fn committed(&self, key: &Key) {
        self.changes.raise(self.id(key));
    }

    /// A change of any keys was committed.
    pub fn committed_many(&self) {
        self.changes.raise_all();
    }

    /// Most bytes on disk, never exceeded by more than 5 %.
    pub fn bound_bytes(&self) -> u64 {
        self.bound.load(Ordering::Relaxed)
    }

    /// Sets the bound. The next writes evict what exceeds it, or
    /// [`Tables::shrink`] does.
    ///
    /// # Errors
    /// [`Error::BoundTooLow`].
    pub fn set_bound_bytes(&self, bytes: u64) -> Result<()> {
        check_bound(bytes)?;
        self.bound.store(bytes, Ordering::Relaxed);
        *self.lock_slack() = None;
        Ok(())
    }

    /// The largest value that can be set, in bytes: a quarter of the bound.
    pub fn value_max_bytes(&self) -> u64 {
        self.bound_bytes() / 4
    }

    pub(crate) fn lrfu_clock(&self) -> LrfuClock {
        LrfuClock::new(self.written.load(Ordering::Relaxed), self.bound_bytes())
    }

    pub(crate) fn lock_slack(&self) -> MutexGuard<'_, Option<Slack>> {
        self.slack.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn count(counter: &AtomicU64, by: u64) {
        counter.fetch_add(by, Ordering::Relaxed);
    }
}

fn check_bound(bytes: u64) -> Result<()> {
    if bytes < BOUND_MIN_BYTES {
        return Err(Error::BoundTooLow { bytes });
    }
    Ok(())
}

impl std::fmt::Debug for Tables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tables").field("path", &self.path).finish()
    }
}
