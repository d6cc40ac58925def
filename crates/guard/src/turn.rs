//! The turn of what changes the databases of a volume, and is no migration of
//! the guard's: files of migrations, a restore.

use std::path::Path;

use super::error::{Error, Result};
use super::intent::Intent;
use super::lock::{self, Lock};
use super::news::Cancel;

/// No migration runs on the volume, nor is one to be put back, as long as this
/// lives.
#[derive(Debug)]
pub struct Turn {
    _lock: Lock,
}

impl Turn {
    /// Waits until no migration runs on the volume, which must be there.
    /// `command` is what others are told that wait for this one; `wait` is told
    /// once for whom.
    ///
    /// # Errors
    /// The lock cannot be made, or was waited for in vain; or a migration was
    /// interrupted ([`Error::Interrupted`]): what is written now would be lost
    /// when that is put back.
    pub fn take(
        volume: &Path,
        command: &str,
        cancel: &Cancel,
        wait: impl FnOnce(&str),
    ) -> Result<Self> {
        let lock = Lock::take(volume, command, cancel, wait)?;
        match interrupted(volume)? {
            Some(command) => Err(Error::Interrupted { command }),
            None => Ok(Self { _lock: lock }),
        }
    }
}

/// The process that guards a migration of the volume now, or has its turn; by
/// what it says of itself.
#[must_use]
pub fn holder(volume: &Path) -> Option<u32> {
    lock::holder_of(volume)
}

/// The command of a migration on the volume that was begun and has not ended.
/// Without the lock that is one that runs, too.
///
/// # Errors
/// The note of it cannot be read.
pub fn interrupted(volume: &Path) -> Result<Option<String>> {
    Ok(Intent::load(volume)?.map(|intent| intent.command))
}
