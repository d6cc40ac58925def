//! A migration whose command may run, or has run.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;

use crate::compare;
use crate::error::{Error, Result};
use crate::finalize::finalize;
use crate::handed_over::Received;
use crate::journal::{Database, Heartbeat, Journal};
use crate::migration_lock::Lock;
use crate::open_files::UNKNOWN_PROCESS;
use crate::options::{IfOpen, Options};
use crate::other_writers::OtherWriters;
use crate::pages::Checksums;
use crate::progress::Progress;
use crate::report::{Kind, Loss, Report};
use crate::rollback::{NoCopy, roll_back};
use crate::snapshots::{self, BEFORE, Keep};
use crate::verdict::Verdict;
use crate::volume::Volume;
use monolite_platform::failpoint;

/// A migration that has begun: the snapshots and the journal are there, so its command may run.
///
/// Dropped without [`finish`](Self::finish) or [`abandon`](Self::abandon) it counts as interrupted.
pub struct Active {
    pub(crate) volume: Volume,
    pub(crate) _lock: Lock,
    pub(crate) journal: Journal,
    pub(crate) options: Options,
    /// Of the snapshots that this process wrote, by their paths in the directory of the copies.
    pub(crate) checksums: HashMap<PathBuf, Checksums>,
    /// Who else has a database open.
    pub(crate) writers: OtherWriters,
    /// Until the journal is gone: to judge and to roll back takes long, and what is written
    /// meanwhile is the guard's own work.
    pub(crate) _heartbeat: Heartbeat,
}

/// What was taken of the databases before the command.
#[derive(Debug, Default)]
pub(crate) struct Snapshots {
    pub(crate) databases: Vec<Database>,
    /// Files that are called like a database and are none.
    pub(crate) ignored: Vec<PathBuf>,
    pub(crate) checksums: HashMap<PathBuf, Checksums>,
}

impl fmt::Debug for Active {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Active")
            .field("journal", &self.journal)
            .finish_non_exhaustive()
    }
}

impl Active {
    /// How many databases there are that could be lost.
    #[must_use]
    pub fn databases(&self) -> usize {
        self.journal.databases.len()
    }

    /// The command could not be started, so nothing has happened.
    ///
    /// # Errors
    /// The journal cannot be removed, or the disk fails.
    pub fn abandon(self) -> Result<()> {
        finalize(&self.volume, &self.journal, None)
    }

    /// After the end of the command: compares the databases with their snapshots, and rolls all of
    /// them back if the command failed, or if something was lost that nobody allowed.
    ///
    /// # Errors
    /// The databases cannot be compared or rolled back. The next guard that enters rolls them back.
    pub fn finish(mut self, succeeded: bool) -> Result<Verdict> {
        let verdict = self.judge(succeeded);
        self.volume.host.report(Progress::Idle);
        verdict
    }

    fn judge(&mut self, succeeded: bool) -> Result<Verdict> {
        failpoint::reached("guard.command-ended");
        let (reports, has_changed) = self.compare(succeeded);
        let (volume, journal) = (&self.volume, &self.journal);
        // With `start_from` the databases may well be what they are compared with, and that is not
        // what they were before.
        let has_changed = has_changed || snapshots::has_states(&journal.copies(volume));
        let is_refused = (reports.iter()).any(|report| report.refused().next().is_some());
        failpoint::reached("guard.compared");
        if succeeded && !is_refused {
            let keep = self.options.keep_copy.then_some(Keep::Week);
            finalize(volume, journal, keep)?;
            return Ok(Verdict::Accepted { reports });
        }
        if !has_changed {
            finalize(volume, journal, None)?;
            return Ok(Verdict::Unchanged);
        }
        let open = volume.stays_open(&journal.known_files(volume));
        // Nobody could say whose writes they are that would be undone.
        let is_unknown = open.as_ref().is_some_and(|(_, by)| by == UNKNOWN_PROCESS);
        if is_unknown {
            volume.warn(format!(
                "{UNKNOWN_PROCESS}, which cannot be seen from here, has a database open: nothing is put back, so that nothing of its work is undone"
            ));
        }
        if is_unknown || self.options.if_open == IfOpen::JudgeOnly {
            finalize(volume, journal, Some(Keep::UntilRemoved))?;
            let snapshots = journal.copies(volume).join(BEFORE);
            return Ok(Verdict::Left {
                reports,
                snapshots,
                has_failed: !succeeded,
            });
        }
        // Only now: who writes while the databases are compared is undone as well.
        let writers = self.writers.end();
        let is_alone = open.is_none() && writers.is_empty();
        failpoint::reached("guard.rolling-back");
        // Of what others write there must be a copy. One of a migration alone is kept if there is
        // room: others may have come and gone.
        let no_copy = match is_alone {
            true => NoCopy::Goes,
            false => NoCopy::Stops,
        };
        let mut rollback = roll_back(volume, journal, no_copy, is_alone)?;
        rollback.writers = writers;
        finalize(volume, journal, Some(Keep::Week))?;
        Ok(Verdict::RolledBack {
            reports,
            rollback,
            has_failed: !succeeded,
        })
    }

    /// What the command did to each database, and whether it changed anything at all.
    fn compare(&self, succeeded: bool) -> (Vec<Report>, bool) {
        let (volume, journal) = (&self.volume, &self.journal);
        let dir = journal.copies(volume);
        let mut reports = Vec::new();
        let mut has_changed = false;
        let received = Received::of(&dir);
        for Database { name, snapshot } in &journal.databases {
            let file = volume.file(name);
            let Some(snapshot) = snapshot else {
                has_changed |= file.metadata().is_ok_and(|file| file.len() > 0);
                continue;
            };
            let database = name.display().to_string();
            let compared = volume.reporting(&database, |progress| {
                let checksums = self.checksums.get(snapshot);
                let snapshot = dir.join(snapshot);
                compare::compare_or_same(&file, &snapshot, self.options.depth, checksums, progress)
            });
            let (mut report, is_same) = match compared {
                Ok(compared) => compared,
                // What cannot be read cannot be judged to be well.
                Err(error) => (unreadable(&error), false),
            };
            has_changed |= !is_same;
            let handed_over = received.for_database(&database);
            report.database = database;
            report.allow(self.options.allow.iter().chain(&handed_over));
            reports.push(report);
        }
        for name in volume.names() {
            if !journal.knows(&name) {
                has_changed = true;
                if succeeded && !journal.is_new(&name) {
                    volume.warn_unguarded(&name);
                }
            }
        }
        (reports, has_changed)
    }
}

fn unreadable(error: &Error) -> Report {
    let loss = Loss::new(Kind::Damage, None, None).saying(error.to_string());
    Report {
        losses: vec![loss],
        ..Report::default()
    }
}
