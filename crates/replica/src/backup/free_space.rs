//! Whether a copy fits on the disk.

use std::path::Path;

use super::error::{Error, Result};

/// Fails if `needed` bytes more in `dir` leave less than `kept` of all bytes
/// free.
pub(super) fn require(dir: &Path, needed: u64, kept: fn(total: u64) -> u64) -> Result<()> {
    let stat = rustix::fs::statvfs(dir)
        .map_err(|error| Error::file("find out how much space is free in", dir, error.into()))?;
    let total = stat.f_blocks.saturating_mul(stat.f_frsize);
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let kept = kept(total);
    if free >= needed.saturating_add(kept) {
        return Ok(());
    }
    Err(Error::NoRoom {
        dir: dir.into(),
        needed,
        free,
        kept,
    })
}
