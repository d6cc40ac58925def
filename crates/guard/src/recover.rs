//! A migration that was interrupted: what becomes of it.
//!
//! Invariant: what anybody may have written since is never rolled back unasked, and whatever is
//! rolled back is kept, unless somebody said that it need not be. A death in here leaves the
//! journal as it was, and the next process begins once more.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::earlier_copies::state_before;
use crate::error::{Error, Result};
use crate::finalize::finalize;
use crate::journal::{Heartbeat, Journal, Times};
use crate::options::{IfOpen, Interrupted};
use crate::processes::Survivors;
use crate::progress::Progress;
use crate::rollback::{NoCopy, Rollback, roll_back};
use crate::snapshots::{self, FOUND, Keep};
use crate::volume::Volume;
use crate::{files, open_files};
use monolite_platform::failpoint;

/// How long after the last heartbeat the interrupted migration itself may have written: until the
/// next heartbeat was due, and until its last processes were gone.
const AFTER_HEARTBEAT_MAX: Duration = Duration::from_secs(5);
/// How long to wait for a process that has a database open for writing.
const WRITER_WAIT_MAX: Duration = Duration::from_secs(10);
/// Pause between two looks at who has one open.
const LOOK_PAUSE: Duration = Duration::from_millis(50);

/// See [`Guard::recover`](crate::Guard::recover).
pub(crate) fn recover(volume: &Volume, how: Interrupted) -> Result<Option<Rollback>> {
    let Some(journal) = Journal::load(volume.dir())? else {
        snapshots::sweep(&volume.own_dir(), None, volume.host.now_ms())?;
        return Ok(None);
    };
    journal.require_own(volume)?;
    let recovery = Recovery { volume, journal };
    let done = match (how, recovery.journal.if_open) {
        (Interrupted::Keep, _) => recovery.keep(Keep::Week),
        (Interrupted::RollBackIfUnused, IfOpen::JudgeOnly) => {
            volume.warn(
                "the interrupted migration ran next to an app, so nothing is put back".into(),
            );
            recovery.end_survivors();
            recovery.keep(Keep::UntilRemoved)
        }
        _ => recovery.roll_back(how),
    };
    let done = done?;
    volume.host.report(Progress::Idle);
    Ok(Some(done))
}

struct Recovery<'r> {
    volume: &'r Volume,
    journal: Journal,
}

impl Recovery<'_> {
    /// Takes the databases as they are.
    fn keep(&self, keep: Keep) -> Result<Rollback> {
        let (volume, journal) = (self.volume, &self.journal);
        let dir = journal.copies(volume);
        for known in &journal.databases {
            if known.snapshot.is_some() && !volume.file(&known.name).exists() {
                volume.warn(format!(
                    "{} is missing: what was there when it was last seen is in {}, if it was being put back",
                    known.name.display(),
                    dir.join(FOUND).display()
                ));
            }
        }
        // A rollback that died may have moved the only copy of a database there.
        let keep = match snapshots::has_states(&dir) {
            true => Keep::UntilRemoved,
            false => keep,
        };
        snapshots::keep(&dir, keep)?;
        failpoint::reached("guard.left");
        finalize(volume, journal, Some(keep))?;
        Ok(Rollback {
            command: journal.command.clone(),
            is_left: true,
            until_removed: snapshots::kept(&dir) == Some(Keep::UntilRemoved),
            kept: dir,
            ..Rollback::default()
        })
    }

    fn roll_back(&self, how: Interrupted) -> Result<Rollback> {
        let (volume, journal) = (self.volume, &self.journal);
        let last = Journal::last_beat(volume.dir());
        let survivors = self.end_survivors();
        let gone = Times::now();
        let if_unused = how == Interrupted::RollBackIfUnused;
        if !survivors.written.is_empty() {
            // Until now they were the migration. The next process must know that, too, should this
            // one die.
            if if_unused {
                let written = |file: &Path| survivors.written.iter().any(|of| of == file);
                self.require_unused(last, |file| written(file).then_some(gone))?;
            }
            Journal::beat(volume.dir());
            failpoint::reached("guard.survivors-gone");
        }
        self.await_writers(how)?;
        if if_unused {
            self.require_unused(Journal::last_beat(volume.dir()), |_| None)?;
        }
        // To write is to use a database. The heartbeat says until the end that it is the guard that
        // writes, also to the next process should this one die.
        let heartbeat = Heartbeat::start(volume.dir());
        failpoint::reached("guard.recovering");
        let no_copy = match how {
            Interrupted::RollBack => NoCopy::Goes,
            _ => NoCopy::Stops,
        };
        let open = volume.stays_open(&journal.known_files(volume));
        // What others wrote next to those that were ended cannot be known.
        let is_alone = if_unused && survivors.written.is_empty() && open.is_none();
        let rollback = roll_back(volume, journal, no_copy, is_alone)?;
        finalize(volume, journal, Some(Keep::Week))?;
        drop(heartbeat);
        Ok(rollback)
    }

    /// Ends what the migration has left running.
    fn end_survivors(&self) -> Survivors {
        let (volume, journal) = (self.volume, &self.journal);
        let mut files = journal.known_files(volume);
        let new = (volume.names().into_iter()).filter(|name| !journal.knows(name));
        files.extend(new.map(|name| volume.file(&name)));
        let survivors = volume.host.end_survivors(&files);
        if !survivors.ended.is_empty() {
            volume.warn(format!(
                "what `{}` had left running was ended: {}",
                journal.command.escape_debug(),
                survivors.ended.join(", ")
            ));
        }
        survivors
    }

    /// The processes of an interrupted migration may outlive it for a moment. Who only reads does
    /// no harm: a rollback is one transaction.
    fn await_writers(&self, how: Interrupted) -> Result<()> {
        let volume = self.volume;
        let since = Instant::now();
        let files = self.journal.known_files(volume);
        let probe = volume.host.has_no_database_open();
        while let Some((file, by)) = open_files::any_writer(&files, probe) {
            if volume.host.cancel().is_cancelled() {
                return Err(Error::Cancelled);
            }
            if since.elapsed() >= WRITER_WAIT_MAX {
                let database = volume.name(&file).unwrap_or(file);
                let database = database.display().to_string();
                if how == Interrupted::RollBack {
                    volume.warn(format!(
                        "{database} is open in {by}: it is put back all the same, as was asked"
                    ));
                    return Ok(());
                }
                return Err(Error::StillRunning {
                    command: self.journal.command.clone(),
                    database,
                    by,
                });
            }
            std::thread::sleep(LOOK_PAUSE);
        }
        Ok(())
    }

    /// A rollback must not take away what an app wrote that was started since, without the guard.
    /// The migration ran until `last`, or at one database until `until` says.
    fn require_unused(
        &self,
        last: Option<Times>,
        until: impl Fn(&Path) -> Option<Times>,
    ) -> Result<()> {
        let Some(last) = last else {
            return Ok(());
        };
        let (volume, journal) = (self.volume, &self.journal);
        let dir = journal.copies(volume);
        let known = journal
            .databases
            .iter()
            .map(|known| (known.name.clone(), state_before(&dir, known)));
        // A new one may be of somebody who came since.
        let new = (volume.names().into_iter()).filter(|name| journal.is_new(name));
        for (name, snapshot) in known.chain(new.map(|name| (name, None))) {
            let file = volume.file(&name);
            let last = until(&file).unwrap_or(last);
            let logs = files::logs(&file);
            let is_used = Times::of(&file).is_some_and(|of| of.is_after(last, AFTER_HEARTBEAT_MAX))
                || (logs.iter().filter_map(|log| Times::of(log)))
                    .any(|of| of.is_written_after(last, AFTER_HEARTBEAT_MAX));
            if is_used {
                return Err(Error::WrittenSince {
                    command: journal.command.clone(),
                    database: name.display().to_string(),
                    snapshot: snapshot.unwrap_or(dir),
                });
            }
        }
        Ok(())
    }
}
