//! Files that are not there yet.

use std::collections::HashMap;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use super::super::bucket::Created;
use super::super::error::{Result, StorageError};
use crate::clock::Clock;

const PREFIX: &str = ".monolite-";
const SUFFIX: &str = ".tmp";
/// How old what a dead writer left must be to be deleted, and how often a
/// folder is looked through.
const SAFE_AGE: Duration = Duration::from_secs(3600);

/// A file under a temporary name, locked while its writer lives and deleted
/// unless it is published.
#[derive(Debug)]
pub(super) struct Temporary {
    file: File,
    path: PathBuf,
    target: PathBuf,
    published: bool,
}

impl Temporary {
    /// One that is to become `target`, beside it.
    pub(super) fn create(target: &Path) -> Result<Self> {
        let name = format!("{PREFIX}{:016x}{SUFFIX}", fastrand::u64(..));
        let path = target.with_file_name(name);
        let file = File::create_new(&path).map_err(StorageError::io("create", &path))?;
        // Some network mounts have no locks: there, age alone decides.
        let _ = file.try_lock();
        Ok(Self {
            file,
            path,
            target: target.into(),
            published: false,
        })
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let written = self.file.write_all(bytes);
        written.map_err(StorageError::io("write", &self.target))
    }

    /// Sets the time of the file's content, and has all of it on the disk.
    pub(super) fn finish(&mut self, timestamp_ms: Option<i64>) -> Result<()> {
        let file = &self.file;
        let finish = || {
            if let Some(timestamp_ms) = timestamp_ms {
                let since = Duration::from_millis(u64::try_from(timestamp_ms).unwrap_or(0));
                file.set_modified(UNIX_EPOCH + since)?;
            }
            file.sync_all()
        };
        finish().map_err(StorageError::io("write", &self.target))
    }

    /// Gives the file its name, unless another has it.
    pub(super) fn publish_new(mut self) -> Result<Created> {
        match rename_new(&self.path, &self.target) {
            Ok(()) => self.published = true,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Ok(Created::Exists);
            }
            Err(error) => return Err(StorageError::io("write", &self.target)(error)),
        }
        self.sync_dir()?;
        Ok(Created::Yes)
    }

    /// Gives the file its name, in the place of one that has it.
    pub(super) fn publish(mut self) -> Result<()> {
        fs::rename(&self.path, &self.target).map_err(StorageError::io("write", &self.target))?;
        self.published = true;
        self.sync_dir()
    }

    fn sync_dir(&self) -> Result<()> {
        self.target.parent().map_or(Ok(()), sync_dir)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.published {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Renames, and replaces nothing.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    use rustix::io::Errno;
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Not every filesystem can; all that have hard links can do this.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {}
        renamed => return Ok(renamed?),
    }
    match fs::hard_link(from, to) {
        Ok(()) => fs::remove_file(from),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
        // Neither: the lease alone keeps others away.
        Err(_) if to.exists() => Err(io::ErrorKind::AlreadyExists.into()),
        Err(_) => fs::rename(from, to),
    }
}

/// Makes a folder and those above it, each on the disk before what is in it.
pub(super) fn make_dirs(dir: &Path) -> Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(parent) = parent {
        make_dirs(parent)?;
    }
    match fs::create_dir(dir) {
        Ok(()) => sync_dir(parent.unwrap_or(Path::new("."))),
        Err(_) if dir.is_dir() => Ok(()),
        Err(error) => Err(StorageError::io("create", dir)(error)),
    }
}

pub(super) fn sync_dir(dir: &Path) -> Result<()> {
    let sync = || File::open(dir)?.sync_all();
    sync().map_err(StorageError::io("write", dir))
}

/// Deletes what writers left that died.
#[derive(Debug)]
pub(super) struct Sweeper {
    clock: Arc<dyn Clock>,
    /// When each folder was looked through last.
    swept: Mutex<HashMap<PathBuf, Duration>>,
}

impl Sweeper {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        let swept = Mutex::default();
        Self { clock, swept }
    }

    /// Looks through `dir`, unless that was done a short while ago. What cannot
    /// be deleted stays: it is in nobody's way.
    pub(super) fn sweep(&self, dir: &Path) {
        let now = self.clock.monotonic();
        {
            let mut swept = self.swept.lock().unwrap_or_else(PoisonError::into_inner);
            match swept.get(dir) {
                Some(last) if now.saturating_sub(*last) < SAFE_AGE => return,
                _ => swept.insert(dir.into(), now),
            };
        }
        let Ok(entries) = fs::read_dir(dir) else {
            return;
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let ours = |name: &str| name.starts_with(PREFIX) && name.ends_with(SUFFIX);
            if name.to_str().is_some_and(ours) && self.is_left(&entry.path()) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    /// Not changed for long, by the one time that no writer can set, and with
    /// no writer that holds its lock.
    fn is_left(&self, path: &Path) -> bool {
        let Ok(found) = fs::symlink_metadata(path) else {
            return false;
        };
        let changed_ms = found.ctime().saturating_mul(1000);
        let age = self.clock.now_ms().saturating_sub(changed_ms);
        let old = i64::try_from(SAFE_AGE.as_millis()).is_ok_and(|safe| age > safe);
        let locked = || match File::open(path).map(|file| file.try_lock()) {
            Ok(Err(TryLockError::WouldBlock)) => true,
            Ok(_) => false,
            Err(_) => true,
        };
        old && found.is_file() && !locked()
    }
}
