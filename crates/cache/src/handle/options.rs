//! The settings of a cache, and those of an entry.

use std::sync::Arc;
use std::time::Duration;

use monolite_component::{Clock, SystemClock};

use crate::Ttl;

/// The settings of one cache.
///
/// ```
/// use monolite_cache::CacheOptions;
/// let options = CacheOptions::new().bound_bytes(512 << 20);
/// # let _ = options;
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct CacheOptions {
    pub(crate) bound_bytes: u64,
    pub(crate) ttl: Ttl,
    pub(crate) lease: Duration,
    pub(crate) readers: Option<usize>,
    pub(crate) local_bytes: usize,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Default for CacheOptions {
    fn default() -> Self {
        Self {
            bound_bytes: 128 << 20,
            ttl: Ttl::Never,
            lease: Duration::from_secs(10),
            readers: None,
            local_bytes: 16 << 20,
            clock: Arc::new(SystemClock),
        }
    }
}

impl CacheOptions {
    /// The defaults, each named at its setter.
    pub fn new() -> Self {
        Self::default()
    }

    /// Most bytes on disk, all files together; never exceeded by more than 5 %.
    /// At least [`BOUND_MIN_BYTES`](crate::BOUND_MIN_BYTES). Each process has
    /// its own bound: give all of them the same. Default 128 MiB.
    pub fn bound_bytes(mut self, bytes: u64) -> Self {
        self.bound_bytes = bytes;
        self
    }

    /// The time to live of entries that are set without one. Default
    /// [`Ttl::Never`]: until evicted.
    pub fn ttl(mut self, ttl: impl Into<Ttl>) -> Self {
        self.ttl = ttl.into();
        self
    }

    /// How long other processes wait for one that computes a value and was
    /// killed. A living one renews this lease every third of it. Default 10 s.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// Read-only connections. Default: one per core, at least 2, at most 8.
    pub fn readers(mut self, readers: usize) -> Self {
        self.readers = Some(readers);
        self
    }

    /// Memory of this process for small values that were read recently, in
    /// bytes; taken as needed. Reading them is several times faster, and never
    /// returns a value from before an answered write. Default 16 MiB; 0 turns it
    /// off.
    pub fn local_bytes(mut self, bytes: usize) -> Self {
        self.local_bytes = bytes;
        self
    }

    /// The source of time; for tests. Default [`SystemClock`].
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }
}

/// The settings of one entry.
///
/// ```
/// use monolite_cache::{EntryOptions, Ttl};
/// use std::time::Duration;
/// let minute = EntryOptions::new()
///     .ttl(Duration::from_secs(60))
///     .tag("posts")
///     .tag("author:7");
/// let session = EntryOptions::new().ttl(Ttl::Sliding(Duration::from_secs(1800)));
/// # let _ = (minute, session);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use]
pub struct EntryOptions {
    pub(crate) ttl: Option<Ttl>,
    pub(crate) tags: Vec<String>,
}

impl EntryOptions {
    /// The time to live of [`CacheOptions::ttl`], and no tags.
    pub const fn new() -> Self {
        Self {
            ttl: None,
            tags: Vec::new(),
        }
    }

    /// The time to live: a `Duration` from when the entry is set, or a [`Ttl`].
    pub fn ttl(mut self, ttl: impl Into<Ttl>) -> Self {
        self.ttl = Some(ttl.into());
        self
    }

    /// Adds a tag that the entry can be deleted by. At most
    /// [`TAGS_MAX`](crate::TAGS_MAX) of them, of at most
    /// [`TAG_MAX_BYTES`](crate::TAG_MAX_BYTES) bytes each.
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.push(tag.into());
        self
    }
}
