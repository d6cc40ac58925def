//! One guarded migration: the lock, what was interrupted, and the begin.
//!
//! ```text
//! lock → (interrupted? roll back) → snapshots → journal → the command
//!      → compare → accepted:     all on the disk → remove the journal → remove the snapshots
//!                → refused:      copy, roll back, all on the disk → remove the journal
//!                → judged only:  remove the journal, keep the snapshots
//! ```
//!
//! Invariant: from before the command starts there are on the disk a snapshot of every database and
//! a journal that names them, until the databases are accepted as they are, are as they were, or
//! are left with their snapshots, and are on the disk as that. So a death at any point leaves either
//! no journal, and nothing to be done, or one, and the next process does what it says before
//! anything else happens: [`Guard::begin`] and [`ExclusiveLock`](crate::ExclusiveLock) refuse while
//! there is one.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::active::{Active, Snapshots};
use crate::error::{Error, Result, shell_quoted};
use crate::host::{Host, NoSnapshot, Taken};
use crate::journal::{self, Database, Heartbeat, Journal};
use crate::listing::list;
use crate::migration_lock::{self, Lock};
use crate::options::{IfOpen, Interrupted, Options};
use crate::progress::Progress;
use crate::rollback::Rollback;
use crate::snapshots::{self, BEFORE, Keep};
use crate::volume::Volume;
use crate::{compare, files, recover};
use monolite_platform::failpoint;

/// The migration lock of a volume, held for one guarded migration.
pub struct Guard {
    pub(crate) volume: Volume,
    command: String,
    lock: Lock,
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard")
            .field("volume", &self.volume.dir())
            .field("command", &self.command)
            .finish_non_exhaustive()
    }
}

impl Guard {
    /// Waits until no other migration runs on the volume. `command` is what others see who wait for
    /// this one, so it must hold no secrets: see [`command_name`](crate::command_name).
    ///
    /// # Errors
    /// The lock cannot be made, or [`Host::cancel`] ended the wait.
    pub fn enter(host: Arc<dyn Host>, command: &str) -> Result<Self> {
        let wait = |holder: &str| {
            host.report(Progress::Waiting {
                holder: holder.into(),
            })
        };
        let lock = Lock::acquire(host.volume(), command, host.cancel(), wait)?;
        let guard = Self {
            volume: Volume { host },
            command: command.into(),
            lock,
        };
        guard.warn_of_copies()?;
        Ok(guard)
    }

    /// Holds the lock for `command` in `host` from now on, without a gap in which another migration
    /// could begin.
    #[must_use]
    pub fn hand_over(mut self, host: Arc<dyn Host>, command: &str) -> Self {
        self.lock.describe(command);
        Self {
            volume: Volume { host },
            command: command.into(),
            ..self
        }
    }

    /// Nobody else removes them. While a migration is to be rolled back, all are needed yet.
    fn warn_of_copies(&self) -> Result<()> {
        if migration_lock::interrupted(self.volume.dir())?.is_some() {
            return Ok(());
        }
        let (paths, bytes) = snapshots::until_removed(&self.volume.own_dir())?;
        if !paths.is_empty() {
            let paths: Vec<String> = paths.iter().map(|path| shell_quoted(path)).collect();
            let megabytes = bytes.div_ceil(100_000) as f64 / 10.0;
            self.volume.warn(format!(
                "{megabytes} MB are kept of earlier migrations, which may be the only copy of something; once they are not needed: rm -r {}",
                paths.join(" ")
            ));
        }
        Ok(())
    }

    /// Does away with a migration that was interrupted: rolls it back, or as `how` says. Answers
    /// with what was done, if there was one. Call it before anything opens a database. A migration
    /// that ran next to others ([`IfOpen::JudgeOnly`]) is not rolled back unasked: its snapshots are
    /// kept.
    ///
    /// # Errors
    /// It cannot be rolled back, or must not be: [`Error::StillRunning`], [`Error::WrittenSince`],
    /// [`Error::NoCopy`].
    pub fn recover(&self, how: Interrupted) -> Result<Option<Rollback>> {
        recover::recover(&self.volume, how)
    }

    /// Takes the snapshots, and writes the journal: the command may run then.
    ///
    /// # Errors
    /// There is no way back: then nothing has begun. Or another migration was interrupted, and is
    /// not rolled back yet.
    pub fn begin(self, options: Options) -> Result<Active> {
        let volume = &self.volume;
        if let Some(command) = migration_lock::interrupted(volume.dir())? {
            return Err(Error::Interrupted { command });
        }
        let listing = list(volume.dir());
        let names = volume.names_with(listing.links);
        let alone = self.is_alone(&names, options.if_open)?;
        let own_dir = volume.own_dir();
        files::make_directory(&own_dir)?;
        let now_ms = volume.host.now_ms();
        snapshots::sweep(&own_dir, None, now_ms)?;
        let stamp = snapshots::unused_stamp(&own_dir, now_ms);
        let dir = own_dir.join(&stamp);
        failpoint::reached("guard.locked");
        let taken = match self.take_snapshots(&dir, &names) {
            Ok(taken) => taken,
            Err(error) => {
                let _ = snapshots::remove(&dir);
                return Err(error);
            }
        };
        self.warn_of_unknown(&options, &dir, &taken.databases);
        let journal = Journal {
            version: journal::VERSION,
            stamp,
            command: self.command.clone(),
            begun_ms: now_ms,
            databases: taken.databases,
            ignored: taken.ignored,
            if_open: options.if_open,
            files: listing.files.map(|mut files| {
                files.retain(|name| journal::is_text(name));
                files
            }),
            alone,
        };
        failpoint::reached("guard.snapshots-taken");
        let written = journal.save(volume.dir()).and_then(|()| {
            failpoint::reached("guard.journal-saved");
            // As long as there is room for it.
            let keep = match options.if_open {
                IfOpen::JudgeOnly => Keep::UntilRemoved,
                IfOpen::Refuse | IfOpen::KeepCopy => Keep::Week,
            };
            snapshots::keep(&dir, keep)
        });
        if let Err(error) = written {
            // The journal may be there all the same; then its snapshots must be, too.
            if Journal::remove(volume.dir()).is_ok() {
                let _ = snapshots::remove(&dir);
            }
            return Err(error);
        }
        let heartbeat = Heartbeat::start(volume.dir());
        volume.host.report(Progress::Idle);
        Ok(Active {
            volume: self.volume,
            _lock: self.lock,
            journal,
            options,
            checksums: taken.checksums,
            _heartbeat: heartbeat,
        })
    }

    /// Whether no other process has a database open.
    ///
    /// # Errors
    /// One has, and then nothing is to begin.
    fn is_alone(&self, names: &[PathBuf], if_open: IfOpen) -> Result<bool> {
        let files: Vec<PathBuf> = names.iter().map(|name| self.volume.file(name)).collect();
        let Some((file, by)) = self.volume.stays_open(&files) else {
            return Ok(true);
        };
        let database = self.volume.name(&file).unwrap_or(file);
        let database = database.display().to_string();
        let then = match if_open {
            IfOpen::Refuse => return Err(Error::InUse { database, by }),
            IfOpen::JudgeOnly => "so nothing is put back",
            IfOpen::KeepCopy => {
                "what it writes meanwhile is kept aside should the database be put back"
            }
        };
        self.volume
            .warn(format!("{database} is open in {by}: {then}"));
        Ok(false)
    }

    fn take_snapshots(&self, dir: &Path, names: &[PathBuf]) -> Result<Snapshots> {
        let mut taken = Snapshots::default();
        for name in names {
            if self.volume.host.cancel().is_cancelled() {
                return Err(Error::Cancelled);
            }
            let snapshot = match self.take_snapshot(name, &dir.join(BEFORE).join(name))? {
                Taken::File { .. } if !journal::is_text(name) => {
                    return Err(Error::Snapshot {
                        database: format!("{name:?}"),
                        why: "its name is not UTF-8, and could not be noted; rename it, or move it out of the volume".into(),
                    });
                }
                // There is nothing in it to lose.
                Taken::Empty | Taken::NotADatabase if !journal::is_text(name) => continue,
                Taken::File { path, checksums } => {
                    let path = path.strip_prefix(dir).map(Into::into).unwrap_or(path);
                    if let Some(checksums) = checksums {
                        taken.checksums.insert(path.clone(), checksums);
                    }
                    Some(path)
                }
                Taken::Empty => None,
                Taken::NotADatabase => {
                    self.volume.warn(format!(
                        "{} is no database that can be read; it is not guarded",
                        name.display()
                    ));
                    taken.ignored.push(name.clone());
                    continue;
                }
            };
            taken.databases.push(Database {
                name: name.clone(),
                snapshot,
            });
            failpoint::reached("guard.snapshot-taken");
        }
        Ok(taken)
    }

    fn take_snapshot(&self, name: &Path, into: &Path) -> Result<Taken> {
        let host = &self.volume.host;
        let file = self.volume.file(name);
        let mut taken = host.snapshot(&file, into);
        if let Err(NoSnapshot::DiskFull {
            missing: Some(missing),
            ..
        }) = taken
        {
            let removed = snapshots::make_room(&self.volume.own_dir(), missing)?;
            if !removed.is_empty() {
                let removed: Vec<String> = removed.iter().map(|path| shell_quoted(path)).collect();
                self.volume.warn(format!(
                    "no room for a snapshot: removed {}, copies of earlier migrations",
                    removed.join(" ")
                ));
                taken = host.snapshot(&file, into);
            }
        }
        taken.map_err(|error| match host.cancel().is_cancelled() {
            true => Error::Cancelled,
            false => Error::Snapshot {
                database: name.display().to_string(),
                why: error.why(),
            },
        })
    }

    /// A misspelt name would allow nothing, and nobody would notice.
    fn warn_of_unknown(&self, options: &Options, dir: &Path, databases: &[Database]) {
        let schemas: Vec<_> = (databases.iter())
            .filter_map(|of| {
                let snapshot = dir.join(of.snapshot.as_ref()?);
                let schema = compare::schema(&snapshot).ok()?;
                Some((of.name.display().to_string(), schema))
            })
            .collect();
        for allowance in &options.allow {
            let mut known = schemas.iter();
            if !known.any(|(name, schema)| allowance.is_known(name, schema)) {
                let near = allowance.nearest(schemas.iter().map(|(_, schema)| schema));
                let near = near.map(|name| format!("; did you mean `{name}`?"));
                self.volume.warn(format!(
                    "allow-loss `{}` names nothing that is there{}",
                    allowance.text(),
                    near.unwrap_or_default()
                ));
            }
        }
    }
}
