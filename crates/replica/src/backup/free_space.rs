//! Whether a copy fits on the disk.

use std::path::Path;

use super::error::{Error, Result};

/// The bounds of the space that a snapshot leaves free, in bytes: the app needs it
/// more.
const SNAPSHOT_RESERVE: (u64, u64) = (64 << 20, 1 << 30);

/// What a snapshot leaves free of a filesystem with `total` bytes: a tenth, within
/// bounds.
pub(in crate::backup) fn snapshot_reserve(total: u64) -> u64 {
    (total / 10).clamp(SNAPSHOT_RESERVE.0, SNAPSHOT_RESERVE.1)
}

/// Fails if `needed` bytes more in `dir` leave less than `kept` of all bytes
/// free.
pub(in crate::backup) fn require(
    dir: &Path,
    needed: u64,
    kept: fn(total: u64) -> u64,
) -> Result<()> {
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
