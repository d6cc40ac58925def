//! The copy that `up --keep-copy` leaves for `redo`.
//!
//! It is named by the migrations that were applied since it was taken, as
//! `0004-0006.sqlite3`, once they are; before that, and for whatever dies
//! before that, it is `next.sqlite3`, which nothing is undone from.

use std::path::{Path, PathBuf};

use anyhow::Context;
use monolite_migrate::files::Done;
use monolite_replica::backup::{self, BackupOptions};

use crate::Failure;
use crate::bar::Bar;
use crate::migrate::target::Found;

pub(super) struct Copy {
    dir: PathBuf,
}

/// Until it is known what was applied after it.
const NEXT: &str = "next.sqlite3";
/// What was undone by `redo`, each under a number of its own, so that nothing is
/// ever lost.
const UNDONE: &str = "undone-";

impl Copy {
    /// The database as it is.
    pub(super) fn take(found: &Found) -> Result<Self, Failure> {
        let dir = found.redo();
        copy(found, &dir.join(NEXT), true)?;
        Ok(Self { dir })
    }

    /// Names it by what was applied since; without that it goes.
    pub(super) fn keep(self, done: &[Done]) -> Result<(), Failure> {
        let next = self.dir.join(NEXT);
        let (Some(first), Some(last)) = (done.first(), done.last()) else {
            return Ok(std::fs::remove_file(&next)?);
        };
        let name = name(first.applied.version, last.applied.version);
        for old in kept(&self.dir) {
            std::fs::remove_file(old)?;
        }
        std::fs::rename(&next, self.dir.join(name))?;
        Ok(std::fs::File::open(&self.dir)?.sync_all()?)
    }
}

fn name(first: u32, last: u32) -> String {
    format!("{first:04}-{last:04}.sqlite3")
}

/// The copies that are kept: one, or none.
fn kept(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let is_kept = |path: &PathBuf| {
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        let numbers = stem.and_then(|stem| stem.split_once('-'));
        let is_number = |text: &str| text.parse::<u32>().is_ok();
        numbers.is_some_and(|(first, last)| is_number(first) && is_number(last))
            && path
                .extension()
                .is_some_and(|extension| extension == "sqlite3")
    };
    entries.map(|entry| entry.path()).filter(is_kept).collect()
}

/// The copy from before the migrations up to `last`.
pub(super) fn find(found: &Found, last: u32) -> Option<PathBuf> {
    let end = format!("-{last:04}.sqlite3");
    let ends = |path: &PathBuf| path.to_string_lossy().ends_with(&end);
    kept(&found.redo()).into_iter().find(ends)
}

/// The database as it is, before it is put back as it was.
pub(super) fn set_aside(found: &Found) -> Result<PathBuf, Failure> {
    let path = unused(&found.redo());
    copy(found, &path, false)?;
    Ok(path)
}

/// After all that were undone before.
fn unused(dir: &Path) -> PathBuf {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let number = |name: &std::ffi::OsStr| -> Option<u64> {
        name.to_str()?
            .strip_prefix(UNDONE)?
            .strip_suffix(".sqlite3")?
            .parse()
            .ok()
    };
    let last = entries.filter_map(|entry| number(&entry.file_name())).max();
    let next = last.unwrap_or(0) + 1;
    dir.join(format!("{UNDONE}{next}.sqlite3"))
}

/// The same copy, for what was applied again.
pub(super) fn rename(copy: &Path, done: &[Done]) -> Result<(), Failure> {
    if let (Some(first), Some(last)) = (done.first(), done.last()) {
        let name = name(first.applied.version, last.applied.version);
        std::fs::rename(copy, copy.with_file_name(name))?;
    }
    Ok(())
}

fn copy(found: &Found, to: &Path, overwrite: bool) -> Result<(), Failure> {
    let dir = to.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let options = BackupOptions {
        overwrite,
        ..BackupOptions::default()
    };
    let bar = Bar::new(found.shown());
    match backup::to_file(&found.path, to, &options, &bar) {
        // Made a moment ago: an empty file is a copy of it.
        Err(backup::Error::Empty { .. }) => std::fs::write(to, "")?,
        other => drop(other?),
    }
    Ok(())
}
