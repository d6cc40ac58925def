//! What a cache did, and what it holds.

/// Counts of this process since it opened the cache, and the size of the files
/// that all processes share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Gets that found a value.
    pub hits: u64,
    /// Gets that did not.
    pub misses: u64,
    /// Values set.
    pub sets: u64,
    /// Entries evicted to keep the bound.
    pub evictions: u64,
    /// Entries removed because they had expired.
    pub expirations: u64,
    /// How often a damaged or replaced file was opened again.
    pub rebuilds: u64,
    /// Entries in the file, including those that have expired.
    pub entries: u64,
    /// Bytes of the entries and their metadata.
    pub live_bytes: u64,
    /// Bytes that the files take on the disk.
    pub disk_bytes: u64,
    /// The bound of `disk_bytes`.
    pub bound_bytes: u64,
}

impl Stats {
    /// The share of gets that found a value, 0 to 1; 0 before the first get.
    #[expect(clippy::cast_precision_loss, reason = "a share")]
    pub fn hit_rate(&self) -> f64 {
        match self.hits + self.misses {
            0 => 0.0,
            gets => self.hits as f64 / gets as f64,
        }
    }
}
