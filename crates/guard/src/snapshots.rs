//! The copies that are kept of earlier migrations: `.monolite/migrating/TIME/`, a directory for
//! each, named by the time when the migration began.
//!
//! - `before/`: the snapshots from before the migration;
//! - `found/`: the states that were rolled back;
//! - `new/`: databases that the migration had made.
//!
//! The rule: **the newest copy stays for a week, and goes first when a snapshot needs its room.**
//! One kind is for people to remove, since it may be the only copy of somebody else's data: that of
//! a migration during which another process had a database open, or wrote to one.
//!
//! The file `kept` in a directory says which of the two it is. It is written before the journal
//! goes, or before the first byte of what another process may have written; the longer time is
//! never replaced by the shorter. A directory without it, and without a journal that names it, is
//! of a migration that never began or that was accepted, and goes with the next.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::error::{Error, Result};
use crate::files;

/// How long the newest copy is kept.
const KEPT_TIME: Duration = Duration::from_secs(7 * 24 * 3600);
/// The file that says how long a copy is kept; its own time is the one from which that counts.
const MARK: &str = "kept";
const UNTIL_REMOVED: &[u8] = b"until somebody removes it\n";

/// The directory of the snapshots from before a migration.
pub(crate) const BEFORE: &str = "before";
/// The directory of the states that were rolled back.
pub(crate) const FOUND: &str = "found";
/// The directory of the databases that a migration had made.
pub(crate) const NEW: &str = "new";

/// How long a copy is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    /// For a week, while it is the newest and there is room.
    Week,
    /// Until somebody removes it.
    UntilRemoved,
}

/// A name for the directory of a migration that begins now.
pub(crate) fn unused_stamp(dir: &Path, now_ms: i64) -> String {
    let path = unused_path(&dir.join(files::stamp(now_ms)));
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// `path`, or one like it that nothing has.
pub(crate) fn unused_path(path: &Path) -> PathBuf {
    let mut unused = path.to_owned();
    let mut n = 1;
    while unused.symlink_metadata().is_ok() {
        n += 1;
        unused = files::beside(path, &format!("-{n}"));
    }
    unused
}

/// Says how long the copies in `dir` are kept.
pub(crate) fn keep(dir: &Path, keep: Keep) -> Result<()> {
    let said = match keep {
        _ if !dir.exists() || kept(dir) == Some(Keep::UntilRemoved) => return Ok(()),
        Keep::Week => &b"for a week\n"[..],
        Keep::UntilRemoved => UNTIL_REMOVED,
    };
    files::write(&dir.join(MARK), said)
}

/// How long the copies in `dir` are kept; `None` if that was never said.
fn kept(dir: &Path) -> Option<Keep> {
    match std::fs::read(dir.join(MARK)) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Ok(text) if text != UNTIL_REMOVED => Some(Keep::Week),
        // What cannot be read is kept.
        _ => Some(Keep::UntilRemoved),
    }
}

/// Removes what need not be kept. `current` is the migration that ended just now, whose copies are
/// the newest. There must be no journal.
pub(crate) fn sweep(dir: &Path, current: Option<&str>, now_ms: i64) -> Result<()> {
    let now = u64::try_from(now_ms).map_or(UNIX_EPOCH, |ms| UNIX_EPOCH + Duration::from_millis(ms));
    let all = all(dir)?;
    let newest = match current {
        Some(current) => Some(dir.join(current)),
        None => newest_of_a_week(&all),
    };
    for copies in &all {
        let is_newest = newest.as_ref() == Some(&copies.path);
        // By a clock that was set back it is not old.
        let is_old = now
            .duration_since(copies.since)
            .is_ok_and(|age| age > KEPT_TIME);
        let stays = match copies.keep {
            Some(Keep::UntilRemoved) => true,
            Some(Keep::Week) => is_newest && (current.is_some() || !is_old),
            None => false,
        };
        if !stays {
            remove(&copies.path)?;
        }
    }
    Ok(())
}

fn newest_of_a_week(all: &[Copies]) -> Option<PathBuf> {
    let mut week: Vec<_> = all
        .iter()
        .filter(|of| of.keep == Some(Keep::Week))
        .collect();
    week.sort_unstable_by_key(|of| (of.since, &of.path));
    week.last().map(|of| of.path.clone())
}

/// Removes the copies that are kept for a week, if that frees the bytes that are `missing` for a
/// snapshot; answers with the directories.
pub(crate) fn make_room(dir: &Path, missing: u64) -> Result<Vec<PathBuf>> {
    let week = all(dir)?
        .into_iter()
        .filter(|of| of.keep == Some(Keep::Week));
    let paths: Vec<PathBuf> = week.map(|of| of.path).collect();
    let on_disk = |file: &std::fs::Metadata| file.blocks() * 512;
    if paths.is_empty() || bytes(&paths, on_disk) < missing {
        return Ok(Vec::new());
    }
    paths.iter().try_for_each(|path| remove(path))?;
    Ok(paths)
}

/// The directories that somebody has to remove, and their bytes altogether.
pub(crate) fn until_removed(dir: &Path) -> Result<(Vec<PathBuf>, u64)> {
    let all = all(dir)?.into_iter();
    let all = all.filter(|of| of.keep == Some(Keep::UntilRemoved));
    let mut paths: Vec<PathBuf> = all.map(|of| of.path).collect();
    paths.sort_unstable();
    let bytes = bytes(&paths, std::fs::Metadata::len);
    Ok((paths, bytes))
}

/// Removes the directory of one migration.
pub(crate) fn remove(dir: &Path) -> Result<()> {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::file("remove", dir, error))
        }
        _ => Ok(()),
    }
}

/// The directory of one migration.
struct Copies {
    path: PathBuf,
    keep: Option<Keep>,
    since: SystemTime,
}

fn all(dir: &Path) -> Result<Vec<Copies>> {
    let at = |error| Error::file("list", dir, error);
    let listing = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(at)?,
    };
    let mut found = Vec::new();
    for entry in listing {
        let entry = entry.map_err(at)?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            let path = entry.path();
            let mark = path.join(MARK).metadata();
            found.push(Copies {
                keep: kept(&path),
                since: mark.and_then(|mark| mark.modified()).unwrap_or(UNIX_EPOCH),
                path,
            });
        }
    }
    Ok(found)
}

fn bytes(paths: &[PathBuf], of: impl Fn(&std::fs::Metadata) -> u64) -> u64 {
    let mut left = paths.to_vec();
    let mut sum = 0;
    while let Some(path) = left.pop() {
        match path.symlink_metadata() {
            Ok(metadata) if metadata.is_dir() => {
                let listing = std::fs::read_dir(&path).into_iter().flatten().flatten();
                left.extend(listing.map(|entry| entry.path()));
            }
            Ok(metadata) => sum += of(&metadata),
            Err(_) => {}
        }
    }
    sum
}
