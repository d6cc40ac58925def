//! One guarded migration, from the lock to the verdict.
//!
//! ```text
//! lock → (interrupted? put back) → snapshots → intent → the command
//!      → compare → accepted: remove the intent      → remove the snapshots
//!                → refused:  put back, remove it    → keep them for a while
//! ```
//!
//! Invariant: from before the command begins, there are on disk a snapshot of
//! every database and an intent that names them, until the databases are
//! accepted as they are or are as they were. So a death at any point leaves
//! either no intent, and nothing to be done, or one, and whoever enters next
//! puts everything back before anything else happens.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::begun::Begun;
use super::error::{Error, Result};
use super::intent::{self, Beating, Database, Intent};
use super::lock::Lock;
use super::news::News;
use super::site::{NoSnapshot, Options, Others, Site, Taken};
use super::{allow, compare, others, shelf};
use crate::steps;

/// The volume's migrations, one at a time: this one.
#[derive(Debug)]
pub struct Guard {
    pub(super) site: Site,
    pub(super) command: String,
    _lock: Lock,
}

impl Guard {
    /// Waits until no other migration runs on the volume. `command` is what
    /// others are told that waits for this one; no secrets in it.
    ///
    /// # Errors
    /// The lock cannot be made, or it was waited for in vain ([`Cancel`](super::Cancel)).
    pub fn enter(site: Site, command: &str) -> Result<Self> {
        let tell = Arc::clone(&site.tell);
        let wait = |behind: &str| {
            tell(News::Waiting {
                behind: behind.into(),
            })
        };
        let lock = Lock::take(&site.volume, command, &site.cancel, wait)?;
        Ok(Self {
            site,
            command: command.into(),
            _lock: lock,
        })
    }

    pub(super) fn dir(&self) -> PathBuf {
        intent::directory(&self.site.volume)
    }

    pub(super) fn name(&self, database: &Path) -> Option<PathBuf> {
        Some(database.strip_prefix(&self.site.volume).ok()?.to_owned())
    }

    /// The databases there are, by their paths in the volume.
    pub(super) fn names(&self) -> Vec<PathBuf> {
        let found = (self.site.find)();
        found
            .iter()
            .filter_map(|database| self.name(database))
            .collect()
    }

    pub(super) fn say(&self, what: String) {
        (self.site.tell)(News::Said(what));
    }

    /// Takes the snapshots, and notes that the migration begins.
    ///
    /// # Errors
    /// There is no way back: then nothing has begun.
    pub fn begin(self, options: Options) -> Result<Begun> {
        let names = self.names();
        let live: Vec<PathBuf> = names
            .iter()
            .map(|name| self.site.volume.join(name))
            .collect();
        if let Some((database, by)) = others::stays_open(&live, self.site.is_alone) {
            let database = self
                .name(&database)
                .unwrap_or(database)
                .display()
                .to_string();
            let then = match options.others {
                Others::Refuse => return Err(Error::InUse { database, by }),
                Others::Leave => "so nothing is put back",
                Others::Keep => {
                    "what it writes meanwhile is kept aside should the database be put back"
                }
            };
            self.say(format!("{database} is open in {by}: {then}"));
        }
        let now_ms = (self.site.clock)();
        shelf::sweep(&self.dir(), None, now_ms)?;
        let stamp = shelf::unused(&self.dir(), now_ms);
        let dir = self.dir().join(&stamp);
        steps::reached("guard.locked");
        let taken = self.snapshots(&dir, &names);
        let (databases, ignored) = match taken {
            Ok(taken) => taken,
            Err(error) => {
                let _ = shelf::remove(&dir);
                return Err(error);
            }
        };
        self.tell_unknown(&options, &dir, &databases);
        let intent = Intent {
            version: 1,
            stamp,
            command: self.command.clone(),
            begun_ms: now_ms,
            databases,
            ignored,
        };
        steps::reached("guard.snapshots-taken");
        intent.save(&self.site.volume)?;
        steps::reached("guard.intent-saved");
        let beating = Beating::start(&self.site.volume);
        (self.site.tell)(News::Idle);
        Ok(Begun {
            guard: self,
            intent,
            options,
            beating,
        })
    }

    /// Those of the databases, and what is none.
    fn snapshots(&self, dir: &Path, names: &[PathBuf]) -> Result<(Vec<Database>, Vec<PathBuf>)> {
        let (mut databases, mut ignored) = (Vec::new(), Vec::new());
        for name in names {
            self.site.cancel.check()?;
            let snapshot = match self.snapshot(name, &dir.join("before").join(name))? {
                Taken::File(path) => Some(path.strip_prefix(dir).map(Into::into).unwrap_or(path)),
                Taken::Empty => None,
                Taken::NotADatabase => {
                    self.say(format!(
                        "{} is no database that can be read; it is not guarded",
                        name.display()
                    ));
                    ignored.push(name.clone());
                    continue;
                }
            };
            databases.push(Database {
                name: name.clone(),
                snapshot,
            });
            steps::reached("guard.snapshot-taken");
        }
        Ok((databases, ignored))
    }

    fn snapshot(&self, name: &Path, into: &Path) -> Result<Taken> {
        let live = self.site.volume.join(name);
        let take = || (self.site.snapshot)(&live, into);
        let mut taken = take();
        if matches!(taken, Err(NoSnapshot::Room(_)))
            && let Some(old) = shelf::make_room(&self.dir())?
        {
            self.say(format!(
                "no room for a snapshot: removed {}, kept of an earlier migration",
                old.display()
            ));
            taken = take();
        }
        taken.map_err(|why| {
            if self.site.cancel.is_cancelled() {
                return Error::Cancelled;
            }
            let (NoSnapshot::Room(why) | NoSnapshot::Other(why)) = why;
            Error::Snapshot {
                database: name.display().to_string(),
                why,
            }
        })
    }

    /// A misspelt name would allow nothing, in silence.
    fn tell_unknown(&self, options: &Options, dir: &Path, databases: &[Database]) {
        let facts: Vec<_> = (databases.iter())
            .filter_map(|of| {
                let snapshot = dir.join(of.snapshot.as_ref()?);
                Some((
                    of.name.display().to_string(),
                    compare::facts(&snapshot).ok()?,
                ))
            })
            .collect();
        for allowance in &options.allow {
            if !facts
                .iter()
                .any(|(name, facts)| allowance.is_known(name, facts))
            {
                self.say(allow::unknown(
                    allowance,
                    facts.iter().map(|(_, facts)| facts),
                ));
            }
        }
    }
}
