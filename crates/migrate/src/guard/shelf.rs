//! What is kept of migrations that were put back: the newest, for a week.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::error::{Error, Result};
use super::files;

/// How long it is kept.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);
/// Says that a directory is to be kept, and since when by its own time.
const MARK: &str = "kept";

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

/// Removes what is left of migrations that died before they began, and what
/// has been kept for long, or has a newer one beside it. `newest` is never
/// removed. There must be no intent.
pub(super) fn sweep(dir: &Path, newest: Option<&str>, now_ms: i64) -> Result<()> {
    let mut kept = kept(dir)?;
    let now = u64::try_from(now_ms).map_or(UNIX_EPOCH, |ms| UNIX_EPOCH + Duration::from_millis(ms));
    let last = kept.pop();
    for (path, _) in kept {
        if path.file_name().and_then(|name| name.to_str()) != newest {
            remove(&path)?;
        }
    }
    if let Some((path, Some(since))) = last
        && newest.is_none()
        && now.duration_since(since).is_ok_and(|age| age > KEPT)
    {
        remove(&path)?;
    }
    Ok(())
}

/// Removes what is kept, for a snapshot that has no room; says what it was.
pub(super) fn make_room(dir: &Path) -> Result<Option<PathBuf>> {
    let last = kept(dir)?.pop().filter(|(_, since)| since.is_some());
    let Some((path, _)) = last else {
        return Ok(None);
    };
    remove(&path)?;
    Ok(Some(path))
}

/// The directories, the oldest first; those that died early, without a time,
/// before all others.
fn kept(dir: &Path) -> Result<Vec<(PathBuf, Option<SystemTime>)>> {
    let at = |error| Error::file("list", dir, error);
    let listing = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(at)?,
    };
    let mut kept = Vec::new();
    for entry in listing {
        let entry = entry.map_err(at)?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            let mark = entry.path().join(MARK).metadata();
            let since = mark.and_then(|mark| mark.modified()).ok();
            kept.push((entry.path(), since));
        }
    }
    kept.sort_by(|a, b| (a.1, &a.0).cmp(&(b.1, &b.0)));
    // One that is not marked is never the last that is kept.
    if kept.last().is_some_and(|(_, since)| since.is_none()) {
        kept.push((dir.join("none"), None));
    }
    Ok(kept)
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
