//! What is kept of earlier migrations, each in a directory of its own.
//!
//! Invariant: what may be the only copy of somebody's data is never removed
//! here. That is a state that was put back over (`found`, `aside`), a database
//! that was moved away (`new`), and all of a migration after which nothing was
//! put back. Snapshots of databases that are again what they were (`before`)
//! are spare: the newest stay for a week, if the room is not needed.
//!
//! Where nobody else was seen at the databases, from the beginning to the end,
//! the state that was put back over is the migration's own work, which fails
//! the same way at each start: of those the newest three stay. Once somebody
//! was seen, that is noted before any copy is made, and holds for good.

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
/// Says that others were seen at the databases.
const OTHERS: &str = "others";
/// Says that all was put back, and nobody was seen.
const OWN: &str = "own";
/// How many of those are kept.
const OWN_KEPT: usize = 3;
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

/// Marks a directory as one with what others may have written.
pub(super) fn others_seen(dir: &Path) -> Result<()> {
    match dir.exists() && !dir.join(OTHERS).exists() {
        true => files::write(&dir.join(OTHERS), b""),
        false => Ok(()),
    }
}

/// Marks a directory as one with nothing but a migration's own work.
pub(super) fn own(dir: &Path) -> Result<()> {
    match dir.exists() && !dir.join(OTHERS).exists() {
        true => files::write(&dir.join(OWN), b""),
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
    /// It is settled, and nobody but the migration was seen.
    is_own: bool,
}

impl Shelf {
    /// What is no mere snapshot of what is there again.
    fn states(&self) -> Vec<PathBuf> {
        if self.is_left {
            return vec![self.path.clone()];
        }
        let all = PRECIOUS.iter().map(|name| self.path.join(name));
        all.filter(|path| has_files(path)).collect()
    }

    /// What may go goes.
    fn remove_spare(&self) -> Result<()> {
        match self.is_left || !self.states().is_empty() {
            true if self.is_left => Ok(()),
            true => remove(&self.path.join(SPARE)),
            false => remove(&self.path),
        }
    }
}

/// Removes what is left of migrations that died before they began, what is
/// spare and has been kept for long, or has a newer one beside it, and migrations'
/// own work but for the newest. Nothing of `newest` is removed. There must be no
/// intent.
pub(super) fn sweep(dir: &Path, newest: Option<&str>, now_ms: i64) -> Result<()> {
    let now = u64::try_from(now_ms).map_or(UNIX_EPOCH, |ms| UNIX_EPOCH + Duration::from_millis(ms));
    let mut shelves = shelves(dir)?;
    remove_own(&mut shelves, newest)?;
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

/// All of it goes: its snapshots are older than those of another.
fn remove_own(shelves: &mut Vec<Shelf>, newest: Option<&str>) -> Result<()> {
    let is_newest =
        |shelf: &Shelf| newest.is_some_and(|name| shelf.path.file_name() == Some(name.as_ref()));
    let mut own: Vec<(bool, Option<SystemTime>, PathBuf)> = (shelves.iter())
        .filter(|shelf| shelf.is_own && !shelf.states().is_empty())
        .map(|shelf| (is_newest(shelf), shelf.since, shelf.path.clone()))
        .collect();
    own.sort_unstable();
    let old = own.len().saturating_sub(OWN_KEPT);
    for (_, _, path) in own.into_iter().take(old) {
        remove(&path)?;
        shelves.retain(|shelf| shelf.path != path);
    }
    Ok(())
}

/// Removes what is spare for a snapshot that has no room, if that will give it
/// the bytes that are `missing`; says what it was.
pub(super) fn make_room(dir: &Path, missing: u64) -> Result<Vec<PathBuf>> {
    let shelves = shelves(dir)?;
    let mut spare: Vec<PathBuf> = (shelves.iter())
        .filter(|shelf| shelf.since.is_some() && !shelf.is_left)
        .map(|shelf| shelf.path.join(SPARE))
        .collect();
    let own = shelves.iter().filter(|shelf| shelf.is_own);
    let last = own.clone().map(|shelf| shelf.since).max();
    let older = own.filter(|shelf| Some(shelf.since) != last);
    spare.extend(older.flat_map(Shelf::states));
    spare.retain(|path| has_files(path));
    if spare.iter().map(|path| bytes(path, on_disk)).sum::<u64>() < missing {
        return Ok(Vec::new());
    }
    spare.iter().try_for_each(|path| remove(path))?;
    Ok(spare)
}

/// Where something is kept, and how many bytes.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub(super) paths: Vec<PathBuf>,
    pub(super) bytes: u64,
}

/// What is kept of states that were put back over.
#[derive(Debug, Default)]
pub(super) struct AllKept {
    /// That is never removed here.
    pub(super) precious: Kept,
    /// Of which the newest stay.
    pub(super) own: Kept,
}

pub(super) fn kept(dir: &Path) -> Result<AllKept> {
    let mut all = AllKept::default();
    for shelf in shelves(dir)? {
        let kept = match shelf.is_own {
            true => &mut all.own,
            false => &mut all.precious,
        };
        kept.paths.extend(shelf.states());
    }
    for kept in [&mut all.precious, &mut all.own] {
        kept.paths.sort_unstable();
        let bytes = kept.paths.iter().map(|path| bytes(path, |of| of.len()));
        kept.bytes = bytes.sum();
    }
    Ok(all)
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
            let has = |mark: &str| path.join(mark).exists();
            let is_left = has(LEFT);
            found.push(Shelf {
                since: mark.and_then(|mark| mark.modified()).ok(),
                is_left,
                is_own: has(MARK) && has(OWN) && !has(OTHERS) && !is_left,
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
