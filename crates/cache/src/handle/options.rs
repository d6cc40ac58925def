//! How a cache is opened, and how an entry is put in.

use std::sync::Arc;
use std::time::Duration;

use monolite_component::{Clock, SystemClock};

use crate::Ttl;

/// The settings of one cache.
///
/// ```
/// use monolite_cache::CacheOptions;
/// let options = CacheOptions {
///     bound_bytes: 512 << 20,
///     ..CacheOptions::default()
/// };
/// # let _ = options;
/// ```
#[derive(Debug, Clone)]
pub struct CacheOptions {
    /// Bytes on disk, all files together; never exceeded by more than a
    /// twentieth. Default 128 MiB, at least 8 MiB. Each process brings its
    /// own; give all the same.
    pub bound_bytes: u64,
    /// For entries that bring none. Default [`Ttl::Never`]: until evicted.
    pub ttl: Ttl,
    /// How long others wait for a process that computes a value and gives no
    /// sign of life. Default 10 s; it gives one every third of it.
    pub lease: Duration,
    /// Read-only connections. Default: one per core, at least 2, at most 8.
    pub readers: usize,
    /// Memory for small values that were read lately, in bytes; taken as
    /// needed. They are answered several times faster, and never after
    /// anybody was told of a change. Default 16 MiB; 0 turns it off.
    pub near_bytes: usize,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
}

impl Default for CacheOptions {
    fn default() -> Self {
        Self {
            bound_bytes: 128 << 20,
            ttl: Ttl::Never,
            lease: Duration::from_secs(10),
            readers: monolite_store::Options::default().readers,
            near_bytes: 16 << 20,
            clock: Arc::new(SystemClock),
        }
    }
}

/// How one entry is put in.
///
/// ```
/// use monolite_cache::EntryOptions;
/// use std::time::Duration;
/// let options = EntryOptions::new()
///     .ttl(Duration::from_secs(60))
///     .tag("posts")
///     .tag("author:7");
/// # let _ = options;
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use]
pub struct EntryOptions {
    pub(crate) ttl: Option<Ttl>,
    pub(crate) tags: Vec<String>,
}

impl EntryOptions {
    /// What [`EntryOptions::new`] answers.
    pub const NONE: Self = Self {
        ttl: None,
        tags: Vec::new(),
    };

    /// With the time to live of [`CacheOptions::ttl`], and no tags.
    pub fn new() -> Self {
        Self::default()
    }

    /// Over so long after it was set.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(Ttl::After(ttl));
        self
    }

    /// Over so long after it was set or read last; see [`Ttl::Sliding`].
    pub fn sliding(mut self, ttl: Duration) -> Self {
        self.ttl = Some(Ttl::Sliding(ttl));
        self
    }

    /// Kept until evicted, whatever the cache's own time to live.
    pub fn forever(mut self) -> Self {
        self.ttl = Some(Ttl::Never);
        self
    }

    /// Can be deleted by this tag too. At most [`crate::TAGS_MAX`] of them, of
    /// at most [`crate::TAG_MAX_BYTES`] bytes each.
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.push(tag.into());
        self
    }
}
