//! One migration at a time on a volume.
//!
//! An advisory lock (`flock`) on `.monolite/migrating.lock`: the kernel gives it
//! back however its process ends. The file stays; to delete it would let two
//! processes lock two files of one name.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::{Error, Result};
use super::files;
use super::news::Cancel;

/// Between two looks at a lock that is held. The kernel would wake us, but then
/// nothing else could.
const PAUSE: Duration = Duration::from_millis(20);

/// What its holder says of itself.
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
    /// Takes the lock of `volume` to run `command`. `wait` is told once for
    /// whom, if somebody has it.
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
                        wait(&holder(&mut file));
                    }
                    cancel.check()?;
                    std::thread::sleep(PAUSE);
                }
            }
        }
        let mut lock = Self { file };
        lock.describe(command);
        Ok(lock)
    }

    /// Says what it is held for from now on. The lock is what counts; on a full
    /// disk it does not say that.
    pub(super) fn describe(&mut self, command: &str) {
        let _ = describe(&mut self.file, command);
    }
}

/// The process that has the lock of `volume` now, as it says itself; `None` if
/// nobody has it.
pub(super) fn holder_of(volume: &Path) -> Option<u32> {
    let mut file = File::open(path_in(volume)).ok()?;
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => Some(read(&mut file)?.pid),
        _ => None,
    }
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

/// Who has it, in words.
fn holder(file: &mut File) -> String {
    match read(file) {
        // Read from a file: nothing in it may steer a terminal.
        Some(holder) => format!("`{}` (pid {})", holder.command.escape_debug(), holder.pid),
        None => "another process".into(),
    }
}
