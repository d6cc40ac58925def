//! Snapshots of a database on its own volume: the state of this morning, at
//! hand in a second.
//!
//! They are plain database files, named by the time they were begun. Where the
//! filesystem can share blocks between files (XFS, btrfs, bcachefs), a snapshot
//! takes no time and no space until the database changes.

#[cfg(target_os = "linux")]
mod extents;
mod name;
#[cfg(target_os = "linux")]
mod reflink;
#[cfg(target_os = "linux")]
mod share;
#[cfg(target_os = "linux")]
mod sync;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

#[cfg(target_os = "linux")]
pub use self::extents::same_blocks;
use self::name::{name_of, taken_of};
#[cfg(target_os = "linux")]
pub use self::sync::sync;
use super::check::{Check, check};
use super::compression::Compression;
use super::copy::{Copy, LOCK_WAIT_MAX};
use super::error::{Error, Result};
use super::file::{fill, mode_of};
use super::free_space;
use super::temporary::{create, publish, remove, sweep};
use crate::Progress;
use monolite_platform::cancel::Cancel;
use monolite_platform::durable::{self, Temporary};
use monolite_platform::failpoint;
use monolite_volume::layout;

/// `None`: known on Linux only.
///
/// # Errors
/// Never.
#[cfg(not(target_os = "linux"))]
pub fn same_blocks(_: &Path, _: &Path) -> io::Result<Vec<std::ops::Range<u64>>> {
    Ok(Vec::new())
}

/// Has the disk keep all there is: only Linux lets a database be synced that this
/// process has open.
///
/// # Errors
/// The file is not there.
#[cfg(not(target_os = "linux"))]
pub fn sync(path: &Path) -> io::Result<()> {
    path.metadata()?;
    rustix::fs::sync();
    Ok(())
}

const DAY_MS: i64 = 86_400_000;
/// Free space below which no snapshot is taken: a tenth of the filesystem, and
/// no less than this …
const KEPT_BYTES: u64 = 64 << 20;
/// … nor more than this. The app needs it more.
const KEPT_BYTES_AT_MOST: u64 = 1 << 30;

/// How [`take`] works.
#[derive(Debug, Clone)]
pub struct TakeOptions {
    /// Look at the snapshot before it gets its name.
    pub check: Check,
    /// How long to wait for a database that another process locks.
    pub patience: Duration,
    /// Ends it from another thread.
    pub cancel: Cancel,
}

impl Default for TakeOptions {
    fn default() -> Self {
        Self {
            check: Check::Quick,
            patience: LOCK_WAIT_MAX,
            cancel: Cancel::default(),
        }
    }
}

/// A snapshot on the volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// A plain database file.
    pub path: PathBuf,
    /// When it was begun, in milliseconds since 1970, on a whole second.
    pub taken_ms: i64,
    /// Bytes of the file, whether it shares them or not.
    pub bytes: u64,
}

/// Where the snapshots of `database`, named by its path relative to `volume`,
/// are kept.
pub fn directory(volume: &Path, database: &Path) -> PathBuf {
    layout::snapshots(volume, database)
}

/// Takes a snapshot of the database at `db` into `dir`, named after `now_ms`.
///
/// By sharing blocks where the filesystem can, else by a copy as
/// [`to_file`](super::to_file) makes it. Either is one committed state, and is
/// there whole or not at all.
///
/// # Errors
/// There is no database, it cannot be read, there is a snapshot of that second,
/// or less than a tenth of the filesystem or 64 MiB would stay free.
pub fn take(
    db: &Path,
    dir: &Path,
    now_ms: i64,
    options: &TakeOptions,
    progress: &dyn Progress,
) -> Result<Snapshot> {
    let taken_ms = now_ms - now_ms.rem_euclid(1000);
    let name = name_of(taken_ms).map_err(|error| {
        let what = "name a snapshot after the time given, in";
        Error::file(what, dir, io::Error::other(error))
    })?;
    let target = dir.join(name);
    let copy = Copy::open_within(db, options.patience)?;
    let db = copy.source().path().to_owned();
    durable::make_directories(dir, 0o700)
        .map_err(|error| Error::file("create the directory", dir, error))?;
    if target.symlink_metadata().is_ok() {
        return Err(Error::Exists { path: target });
    }
    sweep(dir)?;
    let temporary = create(&target, mode_of(&db))?;
    failpoint::reached("snapshot.created");
    if let Some(copy) = shared(copy, &temporary, options, progress)? {
        free_space::require(dir, copy.bytes(), kept)?;
        let (how, cancel) = (Compression::None, &options.cancel);
        fill(copy, &temporary, how, progress, cancel)?;
    }
    let bytes = sync_whole(&temporary)?;
    failpoint::reached("snapshot.synced");
    check(&db, &temporary, options.check, progress, &options.cancel)?;
    options.cancel.check()?;
    publish(temporary, false)?;
    Ok(Snapshot {
        path: target,
        taken_ms,
        bytes,
    })
}

/// The snapshots in `dir`, the oldest first; none if it is not there.
///
/// # Errors
/// The directory cannot be read.
pub fn list(dir: &Path) -> Result<Vec<Snapshot>> {
    let at = |error| Error::file("list", dir, error);
    let listing = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(at)?,
    };
    let mut snapshots = Vec::new();
    for entry in listing {
        let entry = entry.map_err(at)?;
        let Some(taken_ms) = taken_of(&entry.file_name()) else {
            continue;
        };
        // Pruned meanwhile, or nothing of ours.
        let Some(metadata) = entry.metadata().ok().filter(|of| of.is_file()) else {
            continue;
        };
        snapshots.push(Snapshot {
            path: entry.path(),
            taken_ms,
            bytes: metadata.len(),
        });
    }
    snapshots.sort_unstable_by_key(|snapshot| snapshot.taken_ms);
    Ok(snapshots)
}

/// Removes snapshots from `dir` that are no longer wanted, and says which. What
/// stays: the newest of each of the last `days` days in UTC, today included;
/// the newest of all; and those of times to come, since it may be today's date
/// that is wrong. Also removed is what killed processes left unfinished.
///
/// # Errors
/// The directory cannot be read, or a snapshot not be removed.
pub fn prune(dir: &Path, now_ms: i64, days: u32) -> Result<Vec<Snapshot>> {
    let mut snapshots = list(dir)?;
    let times: Vec<i64> = snapshots.iter().map(|of| of.taken_ms).collect();
    snapshots.retain(|snapshot| is_unwanted(&times, snapshot.taken_ms, now_ms, days));
    for snapshot in &snapshots {
        match remove(&snapshot.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Error::file("remove", &snapshot.path, error));
            }
            _ => {}
        }
    }
    if !snapshots.is_empty() {
        durable::sync_directory(dir)
            .map_err(|error| Error::file("sync the directory", dir, error))?;
    }
    if dir.exists() {
        sweep(dir)?;
    }
    Ok(snapshots)
}

/// `times` are those of all snapshots, in order.
fn is_unwanted(times: &[i64], taken_ms: i64, now_ms: i64, days: u32) -> bool {
    let day = |ms: i64| ms.div_euclid(DAY_MS);
    let next = times.iter().find(|time| **time > taken_ms);
    let Some(next) = next else {
        return false;
    };
    let is_last_of_its_day = day(*next) > day(taken_ms);
    let is_recent = day(now_ms) - day(taken_ms) < i64::from(days);
    taken_ms <= now_ms && !(is_recent && is_last_of_its_day)
}

fn kept(total: u64) -> u64 {
    (total / 10).clamp(KEPT_BYTES, KEPT_BYTES_AT_MOST)
}

/// Gives the copy back where blocks cannot be shared.
#[cfg(target_os = "linux")]
fn shared(
    copy: Copy,
    temporary: &Temporary,
    options: &TakeOptions,
    progress: &dyn Progress,
) -> Result<Option<Copy>> {
    if !share::share(copy.source(), temporary, progress)? {
        return Ok(Some(copy));
    }
    let is_wal = copy.source().is_wal();
    // The database is let go before the rest.
    drop(copy);
    options.cancel.check()?;
    if is_wal {
        share::absorb_wal(temporary)?;
    }
    Ok(None)
}

#[cfg(not(target_os = "linux"))]
fn shared(copy: Copy, _: &Temporary, _: &TakeOptions, _: &dyn Progress) -> Result<Option<Copy>> {
    Ok(Some(copy))
}

fn sync_whole(temporary: &Temporary) -> Result<u64> {
    let file = temporary.file();
    let synced = file.sync_all().and_then(|()| file.metadata());
    let metadata = synced.map_err(|error| Error::file("sync", temporary.target(), error))?;
    Ok(metadata.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: i64 = 3_600_000;

    /// Hours since 1970 of those that stay.
    fn stay(hours: &[i64], now: i64, days: u32) -> Vec<i64> {
        let times: Vec<i64> = hours.iter().map(|hour| hour * HOUR_MS).collect();
        let stays = |hour: &i64| !is_unwanted(&times, hour * HOUR_MS, now * HOUR_MS, days);
        hours.iter().copied().filter(stays).collect()
    }

    #[test]
    fn the_last_of_each_of_five_days_stays() {
        let hourly: Vec<i64> = (0..24 * 30).collect();
        let now = 24 * 30 - 1;
        let last = |day: i64| 24 * day + 23;
        assert_eq!(stay(&hourly, now, 5), [25, 26, 27, 28, 29].map(last));
        // A minute into the next day nothing of it is there yet.
        assert_eq!(stay(&hourly, now + 1, 5), [26, 27, 28, 29].map(last));
        assert_eq!(stay(&[1, 2, 3], 10_000, 5), [3], "the newest always");
        assert_eq!(stay(&[1, 2, 3], 3, 0), [3]);
        assert!(stay(&[], 3, 5).is_empty());
    }

    #[test]
    fn a_clock_that_was_set_back_costs_nothing() {
        assert_eq!(stay(&[1000, 1001, 1002], 10, 5), [1000, 1001, 1002]);
        assert_eq!(stay(&[1, 2, 5000], 10, 5), [2, 5000]);
    }
}
