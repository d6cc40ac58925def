//! A migration that was interrupted: what becomes of it.
//!
//! Invariant: what anybody may have written since is never put back over unasked,
//! and whatever is put back over is kept, unless somebody said that it need not
//! be. A death in here leaves the note as it was, and the next one begins anew.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::error::{Error, Result};
use super::intent::{Beating, Intent, Times};
use super::session::Guard;
use super::settle::NoCopy;
use super::site::{Interrupted, Others, Survived};
use super::verdict::PutBack;
use super::{files, news::News, others, shelf};
use crate::steps;

/// How long after it was last said to run a migration may have written: a beat,
/// and what the command's last processes wrote before they were gone.
const AFTER: Duration = Duration::from_secs(5);
/// How long whoever has a database open is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(50);

impl Guard {
    /// Puts back what a migration that was interrupted has left; says what, if
    /// there was one. Call it before anything opens a database. One that others
    /// were at work beside ([`Others::Leave`]) is not put back unasked: its
    /// snapshots are kept, and that is said.
    ///
    /// # Errors
    /// It cannot be put back, or must not be: [`Error::StillRunning`],
    /// [`Error::WrittenSince`], [`Error::NoCopy`].
    pub fn recover(&self, how: Interrupted) -> Result<Option<PutBack>> {
        let Some(intent) = Intent::load(&self.site.volume)? else {
            shelf::sweep(&self.dir(), None, (self.site.clock)())?;
            return Ok(None);
        };
        let dir = self.dir().join(&intent.stamp);
        let last = Intent::last_beat(&self.site.volume);
        let survived = match how {
            Interrupted::Keep => Survived::default(),
            _ => (self.site.survivors)(&self.all_there(&intent)),
        };
        let gone = Times::now();
        if !survived.ended.is_empty() {
            self.say(format!(
                "what `{}` had left running was ended: {}",
                intent.command.escape_debug(),
                survived.ended.join(", ")
            ));
        }
        let is_left = intent.others == Others::Leave && how == Interrupted::PutBackIfUnused;
        let put_back = if is_left || how == Interrupted::Keep {
            // The only copies there are of the states before.
            self.bring_together(&intent)?;
            shelf::leave(&dir)?;
            steps::reached("guard.left");
            self.accept(&intent, true)?;
            PutBack {
                command: intent.command.clone(),
                left: true,
                ..PutBack::default()
            }
        } else {
            let unused = how == Interrupted::PutBackIfUnused;
            if !survived.written.is_empty() {
                // They were the migration until now; so whoever comes next must
                // know it, too, should we die.
                if unused {
                    self.require_unused(&intent, last, |live| {
                        survived.written.iter().any(|of| of == live).then_some(gone)
                    })?;
                }
                Intent::beat(&self.site.volume);
                steps::reached("guard.survivors-gone");
            }
            self.await_others(&intent, how)?;
            if unused {
                self.require_unused(&intent, Intent::last_beat(&self.site.volume), |_| None)?;
            }
            // To write is to use it: said before and until the end, lest a death
            // in here be taken for somebody else's work.
            let beating = Beating::start(&self.site.volume);
            steps::reached("guard.recovering");
            let no_copy = match how {
                Interrupted::PutBack => NoCopy::Goes,
                _ => NoCopy::Stops,
            };
            let open = others::stays_open(&self.all_live(&intent), self.site.is_alone);
            // What came beside those that were ended is not told from theirs.
            let alone = unused && survived.written.is_empty() && open.is_none();
            let put_back = self.put_back(&intent, no_copy, alone)?;
            self.accept(&intent, true)?;
            drop(beating);
            put_back
        };
        (self.site.tell)(News::Idle);
        Ok(Some(PutBack {
            kept: dir,
            ..put_back
        }))
    }

    /// The databases that were there.
    pub(super) fn all_live(&self, intent: &Intent) -> Vec<PathBuf> {
        let known = intent.databases.iter();
        known.map(|known| self.live(&known.name)).collect()
    }

    /// Those, and what came since.
    fn all_there(&self, intent: &Intent) -> Vec<PathBuf> {
        let mut all = self.all_live(intent);
        let new = self.names().into_iter().filter(|name| !intent.knows(name));
        all.extend(new.map(|name| self.live(&name)));
        all
    }

    /// The processes of an interrupted migration may outlive it for a moment.
    /// Who only reads does no harm: what is put back is one transaction.
    fn await_others(&self, intent: &Intent, how: Interrupted) -> Result<()> {
        let since = Instant::now();
        let live = self.all_live(intent);
        while let Some((database, by)) = others::any_writer(&live, self.site.is_alone) {
            self.site.cancel.check()?;
            if since.elapsed() >= PATIENCE {
                let database = self.name(&database).unwrap_or(database);
                let database = database.display().to_string();
                if how == Interrupted::PutBack {
                    self.say(format!(
                        "{database} is open in {by}: it is put back all the same, as was asked"
                    ));
                    return Ok(());
                }
                return Err(Error::StillRunning {
                    command: intent.command.clone(),
                    database,
                    by,
                });
            }
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// A put-back must not take away what an app wrote that was started since,
    /// without us. The migration ran until `last`, or at one database until
    /// `until` says.
    fn require_unused(
        &self,
        intent: &Intent,
        last: Option<Times>,
        until: impl Fn(&Path) -> Option<Times>,
    ) -> Result<()> {
        let Some(last) = last else {
            return Ok(());
        };
        let dir = self.dir().join(&intent.stamp);
        let known = intent.databases.iter().map(|known| {
            let snapshot = known.snapshot.as_ref().map(|path| dir.join(path));
            (known.name.clone(), snapshot)
        });
        // A new one may be somebody's who came since.
        let new = self.names().into_iter().filter(|name| intent.is_new(name));
        for (name, snapshot) in known.chain(new.map(|name| (name, None))) {
            let live = self.live(&name);
            let last = until(&live).unwrap_or(last);
            let logs = ["-wal", "-journal"].map(|suffix| files::beside(&live, suffix));
            let is_used = Times::of(&live).is_some_and(|of| of.is_after(last, AFTER))
                || (logs.iter().filter_map(|log| Times::of(log)))
                    .any(|of| of.is_written_after(last, AFTER));
            if is_used {
                return Err(Error::WrittenSince {
                    command: intent.command.clone(),
                    database: name.display().to_string(),
                    snapshot: snapshot.unwrap_or(dir),
                });
            }
        }
        Ok(())
    }
}
