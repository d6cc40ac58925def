//! One guarded migration, from the lock to the verdict.
//!
//! ```text
//! lock → (interrupted? put back) → snapshots → intent → the command
//!      → compare → accepted:  all on disk → remove the intent → remove the snapshots
//!                → refused:   keep a copy, put back, all on disk, remove it
//!                → left to others: remove it         → keep the snapshots for good
//! ```
//!
//! Invariant: from before the command begins, there are on disk a snapshot of
//! every database and an intent that names them, until the databases are
//! accepted as they are, are as they were, or are left to others with their
//! snapshots, and are on disk as that. So a death at any point leaves either no
//! intent, and nothing to be done, or one, and whoever comes next does what it
//! says before anything else happens: [`Guard::begin`] and [`Turn`](super::Turn)
//! refuse while there is one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::begun::Begun;
use super::error::{Error, Result};
use super::intent::{self, Beating, Database, Intent};
use super::lock::Lock;
use super::news::News;
use super::site::{NoSnapshot, Options, Others, Site, Taken};
use super::there::there;
use super::{allow, compare, files, others, shelf};
use crate::steps;

/// The volume's migrations, one at a time: this one.
#[derive(Debug)]
pub struct Guard {
    pub(super) site: Site,
    pub(super) command: String,
    lock: Lock,
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
        let guard = Self {
            site,
            command: command.into(),
            lock,
        };
        guard.tell_kept()?;
        Ok(guard)
    }

    /// The same turn, seen from `site` now, for `command`: nobody comes between.
    #[must_use]
    pub fn going_on(mut self, site: Site, command: &str) -> Self {
        self.lock.describe(command);
        Self {
            site,
            command: command.into(),
            ..self
        }
    }

    /// Nobody else removes it. Of one that was interrupted all is needed yet.
    fn tell_kept(&self) -> Result<()> {
        if super::interrupted(&self.site.volume)?.is_some() {
            return Ok(());
        }
        let kept = shelf::kept(&self.dir())?;
        for (kept, which) in [
            (
                kept.precious,
                "earlier migrations, which may be the only copy of something",
            ),
            (
                kept.own,
                "migrations that were put back while nobody else was seen (the newest three stay)",
            ),
        ] {
            if kept.paths.is_empty() {
                continue;
            }
            let paths: Vec<String> = (kept.paths.iter()).map(|path| quoted(path)).collect();
            let megabytes = kept.bytes.div_ceil(100_000) as f64 / 10.0;
            self.say(format!(
                "{megabytes} MB are kept of {which}; once they are not needed: rm -r {}",
                paths.join(" ")
            ));
        }
        Ok(())
    }

    pub(super) fn dir(&self) -> PathBuf {
        intent::directory(&self.site.volume)
    }

    pub(super) fn name(&self, database: &Path) -> Option<PathBuf> {
        Some(database.strip_prefix(&self.site.volume).ok()?.to_owned())
    }

    /// The databases there are, by their paths in the volume; those that it has
    /// as links, too.
    pub(super) fn names(&self) -> Vec<PathBuf> {
        self.names_with(there(&self.site.volume).links)
    }

    fn names_with(&self, links: Vec<PathBuf>) -> Vec<PathBuf> {
        let found = (self.site.find)();
        let mut names: Vec<_> = found
            .iter()
            .filter_map(|database| self.name(database))
            .collect();
        for link in links {
            if !names.contains(&link) {
                names.push(link);
            }
        }
        names
    }

    pub(super) fn say(&self, what: String) {
        (self.site.tell)(News::Said(what));
    }

    /// Takes the snapshots, and notes that the migration begins.
    ///
    /// # Errors
    /// There is no way back: then nothing has begun. Or another one was
    /// interrupted, and is not put back yet.
    pub fn begin(self, options: Options) -> Result<Begun> {
        if let Some(command) = super::interrupted(&self.site.volume)? {
            return Err(Error::Interrupted { command });
        }
        let there = there(&self.site.volume);
        let names = self.names_with(there.links);
        let live: Vec<PathBuf> = names.iter().map(|name| self.live(name)).collect();
        let open = others::stays_open(&live, self.site.is_alone);
        let alone = open.is_none();
        if let Some((database, by)) = open {
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
        files::make_directory(&self.dir())?;
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
            version: intent::VERSION,
            stamp,
            command: self.command.clone(),
            begun_ms: now_ms,
            databases,
            ignored,
            others: options.others,
            there: there.files.map(|mut files| {
                files.retain(|name| intent::is_notable(name));
                files
            }),
            alone,
        };
        steps::reached("guard.snapshots-taken");
        let noted = intent.save(&self.site.volume).and_then(|()| {
            steps::reached("guard.intent-saved");
            match options.others {
                // While there is room for it.
                Others::Leave => shelf::leave(&dir),
                _ => Ok(()),
            }
        });
        if let Err(error) = noted {
            // It may be there all the same; then its snapshots must be, too.
            if Intent::remove(&self.site.volume).is_ok() {
                let _ = shelf::remove(&dir);
            }
            return Err(error);
        }
        let _beating = Beating::start(&self.site.volume);
        (self.site.tell)(News::Idle);
        Ok(Begun {
            guard: self,
            intent,
            options,
            _beating,
        })
    }

    /// Those of the databases, and what is none.
    fn snapshots(&self, dir: &Path, names: &[PathBuf]) -> Result<(Vec<Database>, Vec<PathBuf>)> {
        let (mut databases, mut ignored) = (Vec::new(), Vec::new());
        for name in names {
            self.site.cancel.check()?;
            let snapshot = match self.snapshot(name, &dir.join("before").join(name))? {
                Taken::File(_) if !intent::is_notable(name) => {
                    return Err(Error::Snapshot {
                        database: format!("{name:?}"),
                        why: "its name is not UTF-8, and could not be noted; rename it, or move it out of the volume".into(),
                    });
                }
                // Nothing in it could be lost.
                Taken::Empty | Taken::NotADatabase if !intent::is_notable(name) => continue,
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
        let live = self.live(name);
        let take = || (self.site.snapshot)(&live, into);
        let mut taken = take();
        if let Err(NoSnapshot::Room {
            missing: Some(missing),
            ..
        }) = taken
        {
            let removed = shelf::make_room(&self.dir(), missing)?;
            if !removed.is_empty() {
                let removed: Vec<String> = removed.iter().map(|path| quoted(path)).collect();
                self.say(format!(
                    "no room for a snapshot: removed {}, spare snapshots and states of earlier migrations",
                    removed.join(" ")
                ));
                taken = take();
            }
        }
        taken.map_err(|why| {
            if self.site.cancel.is_cancelled() {
                return Error::Cancelled;
            }
            let (NoSnapshot::Room { why, .. } | NoSnapshot::Other(why)) = why;
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

/// For a shell.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_alphanumeric() || "._-/".contains(c);
    match text.chars().all(is_plain) {
        true => text,
        false => format!("'{}'", text.replace('\'', "'\\''")),
    }
}
