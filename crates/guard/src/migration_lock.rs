//! One migration at a time on a volume: an advisory lock on `.monolite/migrating.lock`, which the
//! kernel releases however its process ends.

use std::path::Path;
use std::time::Duration;

use monolite_platform::lock::{self, Holder, Purpose};
use monolite_replica::backup::Cancel;
use monolite_volume::layout;

use crate::error::Result;
use crate::files;
use crate::journal::Journal;

/// The migration lock of a volume, held until dropped.
#[derive(Debug)]
pub(crate) struct Lock(lock::Lock);

impl Lock {
    /// Waits for the lock of `volume`, to run `command`. If another process holds it, `wait` is
    /// called once with that process, in words.
    pub(crate) fn acquire(
        volume: &Path,
        command: &str,
        cancel: &Cancel,
        wait: impl FnOnce(&str),
    ) -> Result<Self> {
        let path = layout::migration_lock(volume);
        files::make_directory(files::directory(&path))?;
        let purpose = Purpose::new(command);
        let wait = |holder: &Holder| wait(&holder.to_string());
        let lock = lock::Lock::acquire(&path, &purpose, Duration::MAX, cancel, wait)?;
        Ok(Self(lock))
    }

    /// Writes what the lock is held for from now on.
    pub(crate) fn describe(&mut self, command: &str) {
        self.0.describe(&Purpose::new(command));
    }
}

/// The process that holds the migration lock of `volume` now, by what it wrote into the lock's file;
/// `None` if nobody does.
#[must_use]
pub fn holder(volume: &Path) -> Option<u32> {
    let holder = lock::holder(&layout::migration_lock(volume));
    Some(holder.ok()??.pid)
}

/// No guarded migration runs on the volume, nor is one to be rolled back, as long as this lives: for
/// everything else that changes the databases, as files of migrations and restores do.
#[derive(Debug)]
pub struct ExclusiveLock {
    _lock: Lock,
}

impl ExclusiveLock {
    /// Waits until no migration runs on the volume, which must be there. `command` is what others
    /// see who wait for this one. If it has to be waited for, `wait` is called once with the
    /// holder, in words.
    ///
    /// # Errors
    /// The lock cannot be made, or `cancel` ended the wait; or a migration was interrupted
    /// ([`Error::Interrupted`](crate::Error::Interrupted)): what is written now would be lost when
    /// that is rolled back.
    pub fn acquire(
        volume: &Path,
        command: &str,
        cancel: &Cancel,
        wait: impl FnOnce(&str),
    ) -> Result<Self> {
        let lock = Lock::acquire(volume, command, cancel, wait)?;
        match interrupted(volume)? {
            Some(command) => Err(crate::Error::Interrupted { command }),
            None => Ok(Self { _lock: lock }),
        }
    }
}

/// The command of a migration on the volume that has begun and not ended: one that was interrupted,
/// or, without the lock, one that runs.
///
/// # Errors
/// The journal cannot be read.
pub fn interrupted(volume: &Path) -> Result<Option<String>> {
    Ok(Journal::load(volume)?.map(|journal| journal.command))
}
