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
//! The file `kept` in a directory says which of the two it is. It is written before the command
//! starts, so that a disk that is full later does not prevent it; the longer time is never replaced
//! by the shorter. It is removed before the journal of a migration that is accepted. A directory
//! without it, and without a journal that names it, is of a migration that never began or that was
//! accepted, and goes with the next, unless it has states that were rolled back.
//!
//! Monolite until November 2026 wrote `kept` as an empty file, and more files that say what must
//! stay (`left`, `others`) or what is the migration's own work (`own`); it moved states to `aside/`,
//! too. What it would never have removed stays until somebody removes it.

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
const WEEK: &[u8] = b"for a week\n";
/// Files of older versions: nothing in the directory may go.
const NOTHING_GOES: [&str; 2] = ["left", "others"];
/// File of older versions: the states in the directory are the migration's own work.
const OWN_WORK: &str = "own";
/// The directory of states that older versions moved away.
const ASIDE: &str = "aside";

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
        unused = files::with_suffix(path, &format!("-{n}"));
    }
    unused
}

/// All that [`unused_path`] gave and that is there, the oldest first.
pub(crate) fn used_paths(path: &Path) -> Vec<PathBuf> {
    let named = |n| match n {
        1 => path.to_owned(),
        n => files::with_suffix(path, &format!("-{n}")),
    };
    let paths = (1..).map(named);
    paths
        .take_while(|path| path.symlink_metadata().is_ok())
        .collect()
}

/// Says how long the copies in `dir` are kept, if they are there.
///
/// # Errors
/// It cannot be written, and that long was never said before.
pub(crate) fn keep(dir: &Path, keep: Keep) -> Result<()> {
    let mark = dir.join(MARK);
    let said = std::fs::read(&mark);
    let is_longest = said.as_deref().is_ok_and(|said| said == UNTIL_REMOVED);
    if !dir.exists() || is_longest {
        return Ok(());
    }
    let says = match (keep, kept(dir)) {
        (Keep::UntilRemoved, _) | (_, Some(Keep::UntilRemoved)) => UNTIL_REMOVED,
        (Keep::Week, _) => WEEK,
    };
    match files::write(&mark, says) {
        // Only its time would have been another.
        Err(_) if said.is_ok_and(|said| said == says) => Ok(()),
        written => written,
    }
}

/// From now on the copies in `dir` need not be kept.
pub(crate) fn unmark(dir: &Path) -> Result<()> {
    files::remove(&dir.join(MARK))
}

/// How long the copies in `dir` are kept; `None` if they need not be.
pub(crate) fn kept(dir: &Path) -> Option<Keep> {
    let has = |name: &str| dir.join(name).symlink_metadata().is_ok();
    if NOTHING_GOES.into_iter().any(has) {
        return Some(Keep::UntilRemoved);
    }
    let without_text = match has(OWN_WORK) || !has_states(dir) {
        true => None,
        false => Some(Keep::UntilRemoved),
    };
    match std::fs::read(dir.join(MARK)) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => without_text,
        Ok(text) if text.is_empty() => without_text.or(Some(Keep::Week)),
        Ok(text) if text != UNTIL_REMOVED => Some(Keep::Week),
        // What cannot be read is kept.
        _ => Some(Keep::UntilRemoved),
    }
}

/// Whether there are states in `dir` that were rolled back or moved away.
pub(crate) fn has_states(dir: &Path) -> bool {
    let states = [FOUND, ASIDE, NEW];
    states.iter().any(|kind| has_files(&dir.join(kind)))
}

/// What cannot be looked at may have some.
fn has_files(path: &Path) -> bool {
    match path.symlink_metadata() {
        Ok(metadata) if metadata.is_dir() => std::fs::read_dir(path).map_or(true, |mut entries| {
            entries.any(|entry| entry.map_or(true, |entry| has_files(&entry.path())))
        }),
        Ok(_) => true,
        Err(error) => error.kind() != std::io::ErrorKind::NotFound,
    }
}

/// Removes what need not be kept. `current` is the migration that ended just now, whose copies are
/// the newest, and stay. There must be no journal.
pub(crate) fn sweep(dir: &Path, current: Option<&str>, now_ms: i64) -> Result<()> {
    let now = u64::try_from(now_ms).map_or(UNIX_EPOCH, |ms| UNIX_EPOCH + Duration::from_millis(ms));
    let all = all(dir)?;
    let current = current.map(|current| dir.join(current));
    // If it is not there, another one is the newest.
    let current = current.filter(|current| all.iter().any(|of| of.path == *current));
    let newest = current.clone().or_else(|| newest_of_a_week(&all));
    for copies in &all {
        let is_newest = newest.as_ref() == Some(&copies.path);
        // By a clock that was set back it is not old.
        let is_old = now
            .duration_since(copies.since)
            .is_ok_and(|age| age > KEPT_TIME);
        let is_current = current.as_ref() == Some(&copies.path);
        let stays = match copies.keep {
            _ if is_current => true,
            Some(Keep::UntilRemoved) => true,
            Some(Keep::Week) => is_newest && !is_old,
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

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: i64 = 1_795_262_400_000;

    /// Directories with these files, each with its content; those that a sweep leaves.
    fn swept(dirs: &[(&str, &[(&str, &str)])], current: Option<&str>) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        for (name, files) in dirs {
            for (file, text) in *files {
                let path = dir.path().join(name).join(file);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(&path, text).unwrap();
                if *file == MARK {
                    let file = std::fs::File::options().write(true).open(&path).unwrap();
                    let now = UNIX_EPOCH + Duration::from_millis(NOW_MS.unsigned_abs());
                    file.set_modified(now).unwrap();
                }
            }
        }
        sweep(dir.path(), current, NOW_MS).unwrap();
        let mut left: Vec<String> = std::fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        left
    }

    #[test]
    fn what_older_versions_never_removed_stays() {
        let left = swept(
            &[
                ("a-found", &[("kept", ""), ("found/app.db/copy", "x")]),
                (
                    "b-others",
                    &[("kept", ""), ("others", ""), ("before/x", "x")],
                ),
                ("c-left", &[("left", ""), ("before/x", "x")]),
                ("d-died", &[("aside/app.db", "x")]),
                ("e-made", &[("kept", ""), ("new/app.db", "x")]),
                (
                    "f-own",
                    &[("kept", ""), ("own", ""), ("found/app.db/copy", "x")],
                ),
                ("g-spare", &[("kept", ""), ("before/x", "x")]),
                ("h-never-began", &[("before/x", "x")]),
                ("i-newest", &[("kept", "for a week\n"), ("found/x", "x")]),
            ],
            None,
        );
        let stays = [
            "a-found", "b-others", "c-left", "d-died", "e-made", "i-newest",
        ];
        assert_eq!(left, stays);
    }

    #[test]
    fn the_current_one_stays_in_any_case() {
        let dirs: &[(&str, &[(&str, &str)])] = &[
            ("a", &[("kept", "for a week\n"), ("found/x", "x")]),
            ("b", &[("before/x", "x")]),
        ];
        assert_eq!(swept(dirs, Some("b")), ["b"]);
        // One that is not there replaces none.
        assert_eq!(swept(dirs, Some("c")), ["a"]);
    }

    #[test]
    fn the_longer_time_is_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        assert_eq!(kept(dir), None);
        keep(dir, Keep::Week).unwrap();
        assert_eq!(kept(dir), Some(Keep::Week));
        keep(dir, Keep::UntilRemoved).unwrap();
        keep(dir, Keep::Week).unwrap();
        assert_eq!(kept(dir), Some(Keep::UntilRemoved));
        // So is what an older version left.
        std::fs::write(dir.join(MARK), "").unwrap();
        std::fs::create_dir(dir.join(FOUND)).unwrap();
        std::fs::write(dir.join(FOUND).join("x"), "").unwrap();
        keep(dir, Keep::Week).unwrap();
        assert_eq!(std::fs::read(dir.join(MARK)).unwrap(), UNTIL_REMOVED);
        unmark(dir).unwrap();
        assert!(!dir.join(MARK).exists());
    }
}
