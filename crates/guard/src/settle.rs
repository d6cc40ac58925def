//! How a migration is settled: the databases are put back, or they stay, and
//! its note goes.
//!
//! ```text
//! each database: a copy of what is there → the snapshot over it
//! what was made since → moved away
//! everything on disk → the note goes → what is spare goes
//! ```
//!
//! Invariant: as long as the note is there, doing all of this once more leads to
//! the same end, and takes nothing from anybody; when it goes, no power cut can
//! take the databases back to another state.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use super::error::{Error, Result};
use super::intent::Intent;
use super::news::Tell;
use super::put_back::Exchange;
use super::session::Guard;
use super::site::{NoSnapshot, Taken};
use super::verdict::PutBack;
use super::watch::{self, Watch};
use super::{compare, files, others, put_back, shelf};
use crate::steps;

/// Copies of a database that others write to all the time. The last may lack
/// what they wrote in its last moments.
const TRIES: usize = 5;

/// What if there is no room for a copy of a state that is put back over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoCopy {
    /// It is said.
    Goes,
    /// Nothing is put back.
    Stops,
}

impl Guard {
    /// Where a database is: a link in the volume leads elsewhere, and there
    /// SQLite puts the log.
    pub(super) fn live(&self, name: &Path) -> PathBuf {
        let path = self.site.volume.join(name);
        match path.is_symlink() {
            true => target(&path).unwrap_or(path),
            false => path,
        }
    }

    /// Where a database is moved to, as one of [`MOVED`](super::intent::MOVED): to
    /// `dir`, or beside itself if it is of another mount.
    pub(super) fn moved(&self, name: &Path, dir: &Path, kind: &str) -> PathBuf {
        let live = self.live(name);
        let stamp = dir.file_name().unwrap_or_default().to_string_lossy();
        match files::is_same_mount(files::directory(&live), &self.dir()) {
            true => dir.join(kind).join(name),
            false => files::beside(&live, &format!(".{kind}-{stamp}")),
        }
    }

    /// Makes every database what it was. What it is now is kept.
    /// `alone`: nobody else is seen at them now.
    pub(super) fn put_back(
        &self,
        intent: &Intent,
        no_copy: NoCopy,
        alone: bool,
    ) -> Result<PutBack> {
        let dir = self.dir().join(&intent.stamp);
        let mut done = PutBack {
            command: intent.command.clone(),
            kept: dir.clone(),
            alone: true,
            ..PutBack::default()
        };
        if !(alone && intent.alone) {
            others_seen(&dir, &mut done)?;
        }
        for database in &intent.databases {
            match &database.snapshot {
                Some(snapshot) => {
                    let snapshot = dir.join(snapshot);
                    self.put_one_back(&database.name, &snapshot, &dir, no_copy, &mut done)?;
                }
                // It was empty: what is in it now is new.
                None => self.set_aside(&database.name, &dir, &mut done)?,
            }
        }
        for name in self.names() {
            match (intent.knows(&name), intent.is_new(&name)) {
                (true, _) => {}
                (false, true) => self.set_aside(&name, &dir, &mut done)?,
                (false, false) => self.tell_unguarded(&name),
            }
        }
        if done.alone {
            shelf::own(&dir)?;
        }
        steps::reached("guard.all-put-back");
        Ok(done)
    }

    /// One that did not look like a database before, as those without an
    /// extension do while nobody has them open.
    pub(super) fn tell_unguarded(&self, name: &Path) {
        self.say(format!(
            "{} was there before, and did not look like a database: it stays as it is, and is not guarded; a name that ends in .sqlite3 would be",
            name.display()
        ));
    }

    fn put_one_back(
        &self,
        name: &Path,
        snapshot: &Path,
        dir: &Path,
        no_copy: NoCopy,
        done: &mut PutBack,
    ) -> Result<()> {
        let shown = name.display().to_string();
        let live = self.live(name);
        let tell = Tell::new(&shown, &*self.site.tell);
        let failed = |why: String| Error::PutBack {
            database: shown.clone(),
            why,
            snapshot: snapshot.into(),
        };
        let first_aside = self.moved(name, dir, "aside");
        // Only there the snapshot can take its place without room for another.
        let is_movable = first_aside.starts_with(dir);
        if !snapshot.exists() {
            // It was itself put in place, for want of room, before we died.
            return match live.exists() && first_aside.exists() {
                true => Ok(()),
                false => Err(failed("its snapshot is gone".into())),
            };
        }
        let is_there = live.metadata().is_ok_and(|file| file.len() > 0);
        // Its log lies aside already: it follows, or it would be another state.
        let half_moved = is_half_moved(&shelf::unused_name(&first_aside));
        if !half_moved && is_there && matches!(compare::is_same(&live, snapshot, &tell), Ok(true)) {
            return Ok(());
        }
        // Who is in another container shows by a lock.
        let is_open = others::open_in(&live, self.site.is_alone).is_some();
        let one = std::slice::from_ref(&live);
        if is_open && others::stays_open(one, self.site.is_alone).is_some() {
            others_seen(dir, done)?;
        }
        let mut exchange = match (is_open, half_moved) {
            (true, true) => {
                return Err(failed(
                    "its log is moved away, and others have it open".into(),
                ));
            }
            (true, false) => Exchange::Never,
            (false, true) => Exchange::Always,
            (false, false) => Exchange::IfNeeded,
        };
        let mut aside = shelf::unused_name(&first_aside);
        for n in 1.. {
            let mut watch = None;
            if is_there && exchange != Exchange::Always {
                watch = Some(Watch::begin(&live)).filter(|_| n < TRIES);
                let into = shelf::unused_name(&dir.join("found").join(name));
                match (self.site.snapshot)(&live, &into) {
                    Ok(Taken::File(kept)) => done.found.push(kept),
                    // It is moved aside whole, then.
                    Ok(Taken::Empty | Taken::NotADatabase) => watch = None,
                    Err(NoSnapshot::Room { why, .. } | NoSnapshot::Other(why)) => {
                        watch = None;
                        if !is_open && self.site.is_alone && is_movable {
                            exchange = Exchange::Always;
                        } else if no_copy == NoCopy::Stops {
                            return Err(Error::NoCopy {
                                database: shown,
                                why,
                                snapshot: snapshot.into(),
                            });
                        } else {
                            self.say(format!(
                                "{shown}: no copy of its present state is kept: {why}"
                            ));
                        }
                    }
                }
                steps::reached("guard.found-kept");
            }
            if !half_moved {
                aside = shelf::unused_name(&first_aside);
            }
            match put_back::put_back(&live, snapshot, &aside, exchange, watch, &tell) {
                // In neither the copy nor the snapshot: one more copy.
                Err(error) if watch::is_written(&error) => others_seen(dir, done)?,
                Err(error) => return Err(failed(error.to_string())),
                Ok(()) => break,
            }
        }
        if aside.exists() {
            done.found.push(aside);
            if !is_movable {
                // There nobody sweeps, so that all of it stays.
                others_seen(dir, done)?;
            }
        }
        done.databases.push(shown);
        steps::reached("guard.put-back");
        Ok(())
    }

    /// Moves a database that the migration made out of the way: one that is a
    /// database, and that nobody has open, whose it may be.
    fn set_aside(&self, name: &Path, dir: &Path, done: &mut PutBack) -> Result<()> {
        let live = self.live(name);
        let holds = |path: &Path| path.metadata().is_ok_and(|file| file.len() > 0);
        if !live.exists() || !(holds(&live) || holds(&files::beside(&live, "-wal"))) {
            return Ok(());
        }
        if let Some((_, by)) = others::stays_open(std::slice::from_ref(&live), self.site.is_alone) {
            self.say(format!(
                "{} came while the migration ran, and is open in {by}: it stays where it is",
                name.display()
            ));
            return others_seen(dir, done);
        }
        if !is_database(&live) {
            return Ok(());
        }
        self.sync(&live)?;
        let aside = shelf::unused_name(&self.moved(name, dir, "new"));
        files::move_database(&live, &aside)?;
        steps::reached("guard.set-aside");
        done.made.push(name.display().to_string());
        let is_swept = aside.starts_with(dir);
        done.set_aside.push(aside);
        match is_swept {
            true => Ok(()),
            false => others_seen(dir, done),
        }
    }

    /// From now on the databases are what they are. With `keep`, what was put
    /// back over and the snapshots stay, for people.
    pub(super) fn accept(&self, intent: &Intent, keep: bool) -> Result<()> {
        let dir = self.dir().join(&intent.stamp);
        // What SQLite did not sync (`synchronous = OFF` or `NORMAL`) would come
        // back half after a power cut, with no note of it.
        for name in self.names() {
            self.sync(&self.live(&name))?;
        }
        for known in &intent.databases {
            self.sync(&self.live(&known.name))?;
        }
        steps::reached("guard.synced");
        if keep && let Err(error) = shelf::keep(&dir) {
            // What must not go does not for its own sake.
            self.say(format!(
                "the snapshots may go with the next migration: {error}"
            ));
        }
        steps::reached("guard.accepting");
        Intent::remove(&self.site.volume)?;
        steps::reached("guard.accepted");
        let swept = match keep {
            true => shelf::sweep(&self.dir(), Some(&intent.stamp), (self.site.clock)()),
            false => shelf::remove(&dir),
        };
        if let Err(error) = swept {
            // It is settled all the same; the next one tries again.
            self.say(error.to_string());
        }
        Ok(())
    }

    /// Has the disk keep a database, with its log.
    fn sync(&self, live: &Path) -> Result<()> {
        let files = [live.to_owned()].into_iter();
        let files = files.chain(["-wal", "-journal"].map(|suffix| files::beside(live, suffix)));
        for file in files {
            match (self.site.sync)(&file) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::file("sync", &file, error));
                }
                _ => {}
            }
        }
        match files::directory(live) {
            dir if dir.exists() => files::sync(dir),
            _ => Ok(()),
        }
    }
}

/// Where a link leads, also while nothing is there.
fn target(link: &Path) -> Option<PathBuf> {
    link.canonicalize().ok().or_else(|| {
        let target = files::directory(link).join(link.read_link().ok()?);
        let dir = files::directory(&target).canonicalize().ok()?;
        Some(dir.join(target.file_name()?))
    })
}

/// Before anything is kept that they may have written.
fn others_seen(dir: &Path, done: &mut PutBack) -> Result<()> {
    done.alone = false;
    shelf::others_seen(dir)
}

/// A death in the middle of the move to `aside`, which does not exist if so.
pub(super) fn is_half_moved(aside: &Path) -> bool {
    let logs = ["-wal", "-journal"].map(|suffix| files::beside(aside, suffix));
    !aside.exists() && logs.iter().any(|log| log.exists())
}

/// By its header, through SQLite: a look at the file itself could cost this
/// process its locks on it.
fn is_database(live: &Path) -> bool {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let read = Connection::open_with_flags(live, flags)
        .and_then(|conn| conn.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(())));
    match read {
        Ok(()) => true,
        Err(error) => matches!(
            error.sqlite_error_code(),
            Some(rusqlite::ErrorCode::DatabaseCorrupt)
        ),
    }
}
