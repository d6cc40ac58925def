//! The way back: from a migration that was refused, failed, or was interrupted.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::error::{Error, Result};
use super::intent::{Beating, Database, Intent};
use super::news::{News, Tell};
use super::session::Guard;
use super::site::{Interrupted, NoSnapshot, Taken};
use super::verdict::PutBack;
use super::{compare, files, others, put_back, shelf};
use crate::steps;

/// What becomes of a state that is put back over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// Nobody but the migration made it.
    Forget,
    /// A copy is kept if there is room.
    Try,
    /// Others may have written: no copy, no put-back.
    Keep,
}

impl Guard {
    /// Puts back what a migration that was interrupted has left; says what, if
    /// there was one. Call it before anything opens a database.
    ///
    /// # Errors
    /// It cannot be put back, or must not be: [`Error::StillRunning`],
    /// [`Error::WrittenSince`].
    pub fn recover(&self, how: Interrupted) -> Result<Option<PutBack>> {
        let Some(intent) = Intent::load(&self.site.volume)? else {
            shelf::sweep(&self.dir(), None, (self.site.clock)())?;
            return Ok(None);
        };
        let put_back = match how {
            Interrupted::Keep => PutBack {
                command: intent.command.clone(),
                ..PutBack::default()
            },
            how => {
                self.await_others(&intent)?;
                if how == Interrupted::PutBackIfUnused {
                    self.require_unused(&intent)?;
                }
                // To write is to use it: said before, lest a death in here be
                // taken for somebody else's work.
                let _beating = Beating::start(&self.site.volume);
                steps::reached("guard.recovering");
                self.put_back(&intent, Found::Try)?
            }
        };
        self.accept(&intent, true)?;
        (self.site.tell)(News::Idle);
        Ok(Some(PutBack {
            kept: self.dir().join(&intent.stamp),
            ..put_back
        }))
    }

    /// The databases that were there.
    pub(super) fn live(&self, intent: &Intent) -> Vec<PathBuf> {
        let known = intent.databases.iter();
        known
            .map(|known| self.site.volume.join(&known.name))
            .collect()
    }

    /// The processes of an interrupted migration may outlive it for a moment.
    fn await_others(&self, intent: &Intent) -> Result<()> {
        const PATIENCE: Duration = Duration::from_secs(10);
        let since = Instant::now();
        let live = self.live(intent);
        while let Some((database, by)) = others::any_open(&live, self.site.is_alone) {
            self.site.cancel.check()?;
            if since.elapsed() >= PATIENCE {
                let database = self.name(&database).unwrap_or(database);
                return Err(Error::StillRunning {
                    command: intent.command.clone(),
                    database: database.display().to_string(),
                    by,
                });
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// A put-back must not take away what an app wrote that was started since,
    /// without us.
    fn require_unused(&self, intent: &Intent) -> Result<()> {
        /// What the command's last processes may have written after our death.
        const AFTER: Duration = Duration::from_secs(600);
        let Some(last) = Intent::last_beat(&self.site.volume) else {
            return Ok(());
        };
        let dir = self.dir().join(&intent.stamp);
        let known = intent.databases.iter().map(|known| {
            let snapshot = known.snapshot.as_ref().map(|path| dir.join(path));
            (known.name.clone(), snapshot)
        });
        // A new one may be somebody's who came since.
        let new = self.names().into_iter().filter(|name| !intent.knows(name));
        for (name, snapshot) in known.chain(new.map(|name| (name, None))) {
            let live = self.site.volume.join(&name);
            let files = [files::beside(&live, "-wal"), live];
            let written = files
                .iter()
                .filter_map(|file| file.metadata().ok()?.modified().ok());
            if written.max().is_some_and(|written| written > last + AFTER) {
                return Err(Error::WrittenSince {
                    command: intent.command.clone(),
                    database: name.display().to_string(),
                    snapshot: snapshot.unwrap_or(dir),
                });
            }
        }
        Ok(())
    }

    /// Makes every database what it was. What it is now is kept as `found` says.
    pub(super) fn put_back(&self, intent: &Intent, found: Found) -> Result<PutBack> {
        let dir = self.dir().join(&intent.stamp);
        let mut done = PutBack {
            command: intent.command.clone(),
            kept: dir.clone(),
            ..PutBack::default()
        };
        for Database { name, snapshot } in &intent.databases {
            let shown = name.display().to_string();
            let live = self.site.volume.join(name);
            let Some(snapshot) = snapshot.as_ref().map(|path| dir.join(path)) else {
                // It was empty: what is in it now is new.
                self.set_aside(name, &dir, &mut done)?;
                continue;
            };
            let tell = Tell::new(&shown, &*self.site.tell);
            if !snapshot.exists() && live.exists() {
                // It was itself put in place, for want of room, before we died.
                continue;
            }
            let is_there = live.metadata().is_ok_and(|file| file.len() > 0);
            if is_there && matches!(compare::is_same(&live, &snapshot, &tell), Ok(true)) {
                continue;
            }
            let failed = |why: String| Error::PutBack {
                database: shown.clone(),
                why,
                snapshot: snapshot.clone(),
            };
            if found != Found::Forget && is_there {
                let into = shelf::unused_name(&dir.join("found").join(name));
                match (self.site.snapshot)(&live, &into) {
                    Ok(Taken::File(kept)) => done.found.push(kept),
                    // It is moved aside whole, then.
                    Ok(Taken::Empty | Taken::NotADatabase) => {}
                    Err(NoSnapshot::Room(why) | NoSnapshot::Other(why)) if found == Found::Keep => {
                        return Err(failed(format!(
                            "others have it open, and no copy of what they wrote can be kept: {why}"
                        )));
                    }
                    // Only the migration's own work is lost.
                    Err(NoSnapshot::Room(why) | NoSnapshot::Other(why)) => {
                        self.say(format!(
                            "{shown}: no copy of its present state is kept: {why}"
                        ));
                    }
                }
                steps::reached("guard.found-kept");
            }
            let aside = shelf::unused_name(&dir.join("aside").join(name));
            let may_exchange = others::open_in(&live, false).is_none();
            let put_back = put_back::put_back(&live, &snapshot, &aside, may_exchange, &tell);
            put_back.map_err(|error| failed(error.to_string()))?;
            done.databases.push(shown);
            steps::reached("guard.put-back");
        }
        for name in self.names() {
            if !intent.knows(&name) {
                self.set_aside(&name, &dir, &mut done)?;
            }
        }
        steps::reached("guard.all-put-back");
        Ok(done)
    }

    /// Moves a database that the migration made out of the way.
    fn set_aside(&self, name: &Path, dir: &Path, done: &mut PutBack) -> Result<()> {
        let live = self.site.volume.join(name);
        if !live.metadata().is_ok_and(|file| file.len() > 0) {
            return Ok(());
        }
        let aside = shelf::unused_name(&dir.join("new").join(name));
        files::move_database(&live, &aside)?;
        steps::reached("guard.set-aside");
        done.made.push(name.display().to_string());
        done.set_aside.push(aside);
        Ok(())
    }

    /// From now on the databases are what they are.
    pub(super) fn accept(&self, intent: &Intent, keep: bool) -> Result<()> {
        let dir = self.dir().join(&intent.stamp);
        if keep {
            shelf::keep(&dir)?;
        }
        steps::reached("guard.accepting");
        Intent::remove(&self.site.volume)?;
        steps::reached("guard.accepted");
        match keep {
            true => shelf::sweep(&self.dir(), Some(&intent.stamp), (self.site.clock)()),
            false => shelf::remove(&dir),
        }
    }
}
