//! What is kept of earlier migrations, each in a directory of its own.
//!
//! Invariant: what may be the only copy of somebody's data is never removed
//! here. That is a state that was put back over (`found`, `aside`), a database
//! that was moved away (`new`), and all of a migration after which nothing was
//! put back. Snapshots of databases that are again what they were (`before`)
//! are spare: the newest stay for a week, if the room is not needed.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::error::{Error, Result};
use super::files;

/// How long spare snapshots are kept.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);
/// Says that a directory is to be kept, and since when by its own time.
const MARK: &str = "kept";
/// Says that nothing was put back, so that nothing in it is spare.
const LEFT: &str = "left";
const SPARE: &str = "before";
const PRECIOUS: [&str; 3] = ["found", "aside", "new"];

/// A name for the directory of a migration that begins now.
pub(super) fn unused(dir: &Path, now_ms: i64) -> String {
    let stamp = files::stamp(now_ms);
    let mut name = stamp.clone();
    let mut n = 1;
    while dir.join(&name).symlink_metadata().is_ok() {
        n += 1;
        name = format!("{stamp}-{n}");
    }
    name
}

/// `path`, or one like it that nothing has.
pub(super) fn unused_name(path: &Path) -> PathBuf {
    let mut name = path.to_owned();
    let mut n = 1;
    while name.symlink_metadata().is_ok() {
        n += 1;
        name = files::beside(path, &format!("-{n}"));
    }
    name
}

/// Marks a directory as one to keep.
pub(super) fn keep(dir: &Path) -> Result<()> {
    match dir.exists() {
        true => files::write(&dir.join(MARK), b""),
        false => Ok(()),
    }
}

/// Marks a directory as one in which nothing is spare.
pub(super) fn leave(dir: &Path) -> Result<()> {
    match dir.exists() && !dir.join(LEFT).exists() {
        true => files::write(&dir.join(LEFT), b""),
        false => Ok(()),
    }
}

/// The directory of one migration.
struct Shelf {
    path: PathBuf,
    /// If it is marked as one to keep.
    since: Option<SystemTime>,
    /// Nothing in it is spare.
    is_left: bool,
}

impl Shelf {
    fn precious(&self) -> Vec<PathBuf> {
        if self.is_left {
            return vec![self.path.clone()];
        }
        let all = PRECIOUS.iter().map(|name| self.path.join(name));
        all.filter(|path| has_files(path)).collect()
    }

    /// What may go goes.
    fn remove_spare(&self) -> Result<()> {
        match self.is_left || !self.precious().is_empty() {
            true if self.is_left => Ok(()),
            true => remove(&self.path.join(SPARE)),
            false => remove(&self.path),
        }
    }
}

/// Removes what is left of migrations that died before they began, and what
/// is spare and has been kept for long, or has a newer one beside it. Nothing
/// of `newest` is removed. There must be no intent.
pub(super) fn sweep(dir: &Path, newest: Option<&str>, now_ms: i64) -> Result<()> {
    let now = u64::try_from(now_ms).map_or(UNIX_EPOCH, |ms| UNIX_EPOCH + Duration::from_millis(ms));
    let shelves = shelves(dir)?;
    let last = shelves.iter().filter_map(|shelf| shelf.since).max();
    for shelf in &shelves {
        let is_newest = match newest {
            Some(newest) => shelf.path.file_name().is_some_and(|name| name == newest),
            None => shelf.since.is_some_and(|since| {
                let is_old = now.duration_since(since).is_ok_and(|age| age > KEPT);
                Some(since) == last && !is_old
            }),
        };
        if !is_newest {
            shelf.remove_spare()?;
        }
    }
    Ok(())
}

/// Removes what is spare for a snapshot that has no room, if that will give it
/// the bytes that are `missing`; says what it was.
pub(super) fn make_room(dir: &Path, missing: u64) -> Result<Vec<PathBuf>> {
    let mut spare: Vec<PathBuf> = (shelves(dir)?.into_iter())
        .filter(|shelf| shelf.since.is_some() && !shelf.is_left)
        .map(|shelf| shelf.path.join(SPARE))
        .collect();
    spare.retain(|path| has_files(path));
    if spare.iter().map(|path| bytes(path, on_disk)).sum::<u64>() < missing {
        return Ok(Vec::new());
    }
    spare.iter().try_for_each(|path| remove(path))?;
    Ok(spare)
}

/// What is never removed here: where, and how many bytes.
pub(super) fn precious(dir: &Path) -> Result<(Vec<PathBuf>, u64)> {
    let mut all: Vec<PathBuf> = shelves(dir)?.iter().flat_map(Shelf::precious).collect();
    all.sort_unstable();
    let bytes = all.iter().map(|path| bytes(path, |of| of.len())).sum();
    Ok((all, bytes))
}

fn shelves(dir: &Path) -> Result<Vec<Shelf>> {
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
            found.push(Shelf {
                since: mark.and_then(|mark| mark.modified()).ok(),
                is_left: path.join(LEFT).exists(),
                path,
            });
        }
    }
    Ok(found)
}

fn has_files(dir: &Path) -> bool {
    let mut any = false;
    walk(dir, &mut |_| any = true);
    any
}

fn bytes(dir: &Path, of: fn(&std::fs::Metadata) -> u64) -> u64 {
    let mut sum = 0;
    walk(dir, &mut |file| sum += of(file));
    sum
}

fn on_disk(file: &std::fs::Metadata) -> u64 {
    file.blocks() * 512
}

/// A directory that cannot be read counts as a file: there may be some in it.
fn walk(dir: &Path, each: &mut dyn FnMut(&std::fs::Metadata)) {
    let Ok(metadata) = dir.symlink_metadata() else {
        return;
    };
    let listing = match metadata.is_dir() {
        true => std::fs::read_dir(dir),
        false => return each(&metadata),
    };
    match listing {
        Ok(listing) => listing
            .flatten()
            .for_each(|entry| walk(&entry.path(), each)),
        Err(_) => each(&metadata),
    }
}

/// Removes a migration's directory.
pub(super) fn remove(dir: &Path) -> Result<()> {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::file("remove", dir, error))
        }
        _ => Ok(()),
    }
}
