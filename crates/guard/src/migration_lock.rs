//! One migration at a time on a volume: an advisory lock (`flock`) on `.monolite/migrating.lock`,
//! which the kernel releases however its process ends. The file stays; to delete it would let two
//! processes lock two files of one name.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::files;
use crate::journal::Journal;
use monolite_replica::backup::Cancel;

/// Pause between two tries. The kernel would wake a thread that waits for the lock, but then
/// nothing else could.
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// What the holder writes into the file.
#[derive(Debug, Serialize, Deserialize)]
struct Holder {
    pid: u32,
    command: String,
}

/// Held until dropped.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
}

impl Lock {
    /// Takes the lock of `volume` to run `command`. If another process holds it, `wait` is called
    /// once with that process, in words.
    pub(super) fn take(
        volume: &Path,
        command: &str,
        cancel: &Cancel,
        wait: impl FnOnce(&str),
    ) -> Result<Self> {
        let path = path_in(volume);
        files::make_directory(files::directory(&path))?;
        let opened = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path);
        files::own_as(&path, files::directory(&path));
        let mut file = opened.map_err(|error| Error::file("open", &path, error))?;
        let mut wait = Some(wait);
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(error)) => return Err(Error::file("lock", &path, error)),
                Err(TryLockError::WouldBlock) => {
                    if let Some(wait) = wait.take() {
                        wait(&described(&mut file));
                    }
                    if cancel.is_cancelled() {
                        return Err(Error::Cancelled);
                    }
                    std::thread::sleep(LOCK_PAUSE);
                }
            }
        }
        let mut lock = Self { file };
        lock.describe(command);
        Ok(lock)
    }

    /// Writes what the lock is held for from now on. On a full disk it is held all the same.
    pub(super) fn describe(&mut self, command: &str) {
        let _ = describe(&mut self.file, command);
    }
}

/// The process that holds the migration lock of `volume` now, by what it wrote into the lock's file;
/// `None` if nobody does.
#[must_use]
pub fn holder(volume: &Path) -> Option<u32> {
    let mut file = File::open(path_in(volume)).ok()?;
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => Some(read(&mut file)?.pid),
        _ => None,
    }
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
    /// ([`Error::Interrupted`]): what is written now would be lost when that is rolled back.
    pub fn acquire(
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

/// The command of a migration on the volume that has begun and not ended: one that was interrupted,
/// or, without the lock, one that runs.
///
/// # Errors
/// The journal cannot be read.
pub fn interrupted(volume: &Path) -> Result<Option<String>> {
    Ok(Journal::load(volume)?.map(|journal| journal.command))
}

fn path_in(volume: &Path) -> PathBuf {
    volume.join(".monolite").join("migrating.lock")
}

fn describe(file: &mut File, command: &str) -> std::io::Result<()> {
    let line = serde_json::to_vec(&Holder {
        pid: std::process::id(),
        command: command.into(),
    })?;
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(&line)
}

fn read(file: &mut File) -> Option<Holder> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(4096).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

/// The holder, in words.
fn described(file: &mut File) -> String {
    match read(file) {
        // It comes from a file: nothing in it may steer a terminal.
        Some(holder) => format!("`{}` (pid {})", holder.command.escape_debug(), holder.pid),
        None => "another process".into(),
    }
}
