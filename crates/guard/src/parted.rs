//! A put-back that died while it moved a database away, and is not to be gone on
//! with: what was moved comes back, lest the file be taken without its log.
//!
//! Invariant: the database comes back before its log, and no log to a file that
//! anybody has written to since. A death in here leaves a log without its
//! database where it was moved to, as the death before it did.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::{Error, Result};
use super::intent::{Intent, MOVED, Times};
use super::session::Guard;
use super::settle::is_half_moved;
use super::{files, others, shelf};
use crate::steps;

/// A put-back beats until it dies.
const AFTER: Duration = Duration::from_secs(5);

impl Guard {
    /// Undoes what was moved by half.
    ///
    /// # Errors
    /// [`Error::Parted`]: it was used since, without its log.
    pub(super) fn bring_together(&self, intent: &Intent) -> Result<()> {
        let dir = self.dir().join(&intent.stamp);
        for known in &intent.databases {
            let live = self.live(&known.name);
            let moved = self.moved(&known.name, &dir, "aside");
            if let Some(whole) = last_of(&moved).filter(|_| !live.exists()) {
                bring_back(&whole, &live)?;
                self.say(format!(
                    "{} was moved away by a put-back that died: it is in its place again",
                    known.name.display()
                ));
            }
        }
        let known = intent.databases.iter().map(|known| known.name.clone());
        let new = self.names().into_iter().filter(|name| !intent.knows(name));
        for name in known.chain(new) {
            for kind in MOVED {
                let moved = shelf::unused_name(&self.moved(&name, &dir, kind));
                if is_half_moved(&moved) {
                    let snapshot = dir.join("before").join(&name);
                    self.bring_log(&name, &moved, &snapshot)?;
                }
            }
        }
        Ok(())
    }

    fn bring_log(&self, name: &Path, moved: &Path, snapshot: &Path) -> Result<()> {
        let live = self.live(name);
        let parted = |why: &str| Error::Parted {
            database: name.display().to_string(),
            log: files::beside(moved, "-wal"),
            why: why.into(),
            snapshot: snapshot.into(),
        };
        if others::open_in(&live, self.site.is_alone).is_some() {
            return Err(parted("another process has the database open"));
        }
        let last = Intent::last_beat(&self.site.volume);
        let is_since = |of: &Path| {
            let (Some(last), Some(of)) = (last, Times::of(of)) else {
                return false;
            };
            of.is_written_after(last, AFTER)
        };
        let there = LOGS.map(|suffix| files::beside(&live, suffix));
        let has_other =
            |(log, suffix): (&PathBuf, &str)| log.exists() && files::beside(moved, suffix).exists();
        if is_since(&live) || there.iter().zip(LOGS).any(has_other) {
            return Err(parted("the database was used since without it"));
        }
        for (log, suffix) in there.iter().zip(LOGS) {
            place(&files::beside(moved, suffix), log)?;
        }
        self.say(format!(
            "{} was about to be put back: its log is with it again",
            name.display()
        ));
        Ok(())
    }
}

const LOGS: [&str; 2] = ["-wal", "-journal"];

/// The database that was moved to `moved` last, if any was.
fn last_of(moved: &Path) -> Option<PathBuf> {
    let mut last = None;
    let mut name = moved.to_owned();
    for n in 2.. {
        if name.symlink_metadata().is_err() {
            break;
        }
        last = Some(name);
        name = files::beside(moved, &format!("-{n}"));
    }
    last
}

/// Moves a database back that was moved away, first itself, lest another file
/// of the name come to its log.
pub(super) fn bring_back(moved: &Path, live: &Path) -> Result<()> {
    place(moved, live)?;
    steps::reached("guard.brought-back");
    for suffix in LOGS {
        place(&files::beside(moved, suffix), &files::beside(live, suffix))?;
    }
    Ok(())
}

fn place(from: &Path, to: &Path) -> Result<()> {
    match std::fs::rename(from, to) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(|error| Error::file("move back", from, error))?,
    }
    files::sync(files::directory(to))?;
    files::sync(files::directory(from))
}
