//! What a cache did, and what it holds.

/// Counts of this process since it opened the cache, and the size of the files
/// that all share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Gets that found something.
    pub hits: u64,
    /// Gets that did not.
    pub misses: u64,
    /// Values put in.
    pub sets: u64,
    /// Entries that had to make room.
    pub evictions: u64,
    /// Entries removed because they were over.
    pub expirations: u64,
    /// How often a damaged file was made anew.
    pub rebuilds: u64,
    /// Entries in the file, some of them over.
    pub entries: u64,
    /// Bytes of the entries, with what is kept about them.
    pub live_bytes: u64,
    /// Bytes that the files take on the disk.
    pub disk_bytes: u64,
    /// What `disk_bytes` is bound by.
    pub bound_bytes: u64,
}

impl Stats {
    /// The share of gets that found something, 0 to 1; 0 before the first.
    #[expect(clippy::cast_precision_loss, reason = "a share")]
    pub fn hit_rate(&self) -> f64 {
        match self.hits + self.misses {
            0 => 0.0,
            gets => self.hits as f64 / gets as f64,
        }
    }
}
