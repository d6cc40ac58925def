//! The journal of a migration that is under way: `.monolite/migrating/intent.json`.
//!
//! Invariant: it is on the disk from before the command starts until what the command did is
//! accepted, rolled back, or left as it is, and is on the disk itself. Its removal makes that
//! final. It says all that the next process must know to do what a process that died would have
//! done: above all, whether anything may be rolled back.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use monolite_volume::layout;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::files;
use crate::options::IfOpen;
use crate::snapshots::{FOUND, NEW};
use crate::volume::Volume;

/// Time between two heartbeats of a running migration.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);

/// What is known of a migration that may have been interrupted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Journal {
    pub(super) version: u32,
    /// The name of the directory of its copies, next to this file.
    pub(super) stamp: String,
    pub(super) command: String,
    pub(super) begun_ms: i64,
    pub(super) databases: Vec<Database>,
    /// Files that are called like a database and are none, by their paths in the volume.
    #[serde(default)]
    pub(super) ignored: Vec<PathBuf>,
    /// What to do if another process has a database open. With [`IfOpen::JudgeOnly`] nothing is
    /// rolled back, whoever judges.
    #[serde(default, rename = "others")]
    pub(super) if_open: IfOpen,
    /// All files there were, by their paths in the volume; any other was made since. `None` if
    /// there were too many: then nothing counts as made since, nor does a name that cannot be
    /// written here ([`is_text`]).
    #[serde(default, rename = "there")]
    pub(super) files: Option<Vec<PathBuf>>,
    /// No other process had a database open when the migration began.
    #[serde(default)]
    pub(super) alone: bool,
}

/// Whether a name can be in the journal, which is text. A file may have any name.
pub(super) fn is_text(name: &Path) -> bool {
    name.to_str().is_some()
}

/// The version that this program writes. A program that knows only an older one refuses it, since
/// it knows nothing of what must not be rolled back. Those of an older version are read, but what
/// their programs began to put back is left to them: [`Journal::require_own`].
pub(super) const VERSION: u32 = 3;
/// The last version whose programs moved databases and snapshots in other ways.
const MOVED_OTHERWISE: u32 = 2;

/// A database that was there when it began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Database {
    /// By its path in the volume.
    pub(super) name: PathBuf,
    /// Its snapshot, by the path in the directory of the copies; an empty file has none.
    pub(super) snapshot: Option<PathBuf>,
}

fn path(volume: &Path) -> PathBuf {
    layout::migration_intent(volume)
}

impl Journal {
    /// The directory of the copies of this migration.
    pub(super) fn copies(&self, volume: &Volume) -> PathBuf {
        volume.own_dir().join(&self.stamp)
    }

    /// The files of the databases that there were.
    pub(super) fn known_files(&self, volume: &Volume) -> Vec<PathBuf> {
        let known = self.databases.iter();
        known.map(|known| volume.file(&known.name)).collect()
    }

    /// Whether there was something of that name, or may have been.
    pub(super) fn knows(&self, name: &Path) -> bool {
        !is_text(name)
            || self.has_moved(name)
            || self.databases.iter().any(|known| known.name == name)
            || self.ignored.iter().any(|ignored| ignored == name)
    }

    /// Whether it is one that was moved away on its own mount.
    fn has_moved(&self, name: &Path) -> bool {
        let name = name.to_string_lossy();
        [FOUND, NEW]
            .iter()
            .any(|kind| name.contains(&format!(".{kind}-{}", self.stamp)))
    }

    pub(super) fn load(volume: &Path) -> Result<Option<Self>> {
        let path = path(volume);
        let text = match std::fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(|error| Error::file("read", &path, error))?,
        };
        let unknown = |why: String| Error::Journal {
            path: path.clone(),
            why,
        };
        let journal: Self =
            serde_json::from_slice(&text).map_err(|error| unknown(error.to_string()))?;
        match journal.version {
            1..=VERSION => Ok(Some(journal)),
            other => Err(unknown(format!(
                "it is of version {other}, of a newer monolite"
            ))),
        }
    }

    /// Programs of November 2026 and before moved the log of a database first, a snapshot to where
    /// its database was, and databases to `aside`: in between, only they know what is what.
    ///
    /// # Errors
    /// There is something of that.
    pub(super) fn require_own(&self, volume: &Volume) -> Result<()> {
        if self.version > MOVED_OTHERWISE {
            return Ok(());
        }
        let dir = self.copies(volume);
        let begun = |what: String| Error::Journal {
            path: path(volume.dir()),
            why: format!(
                "an older monolite has begun to put the databases back, and only it knows how to go on ({what}): finish it with the monolite that began it, by `monolite migrate --interrupted put-back`, or `--interrupted keep` to take the databases as they are"
            ),
        };
        let aside = dir.join("aside");
        if aside.exists() {
            return Err(begun(format!("{} is there", aside.display())));
        }
        for Database { name, snapshot } in &self.databases {
            let missing = snapshot.as_ref().map(|snapshot| dir.join(snapshot));
            if let Some(snapshot) = missing.filter(|snapshot| !snapshot.exists()) {
                return Err(begun(format!("{} is missing", snapshot.display())));
            }
            let file = volume.file(name);
            let own = file.file_name().unwrap_or_default().to_string_lossy();
            let left = [
                format!("{own}.aside-{}", self.stamp),
                format!("{own}.put-back"),
            ];
            let entries = std::fs::read_dir(files::directory(&file));
            for entry in entries.into_iter().flatten().flatten() {
                let entry_name = entry.file_name();
                let entry_name = entry_name.to_string_lossy();
                if left.iter().any(|left| entry_name.starts_with(left)) {
                    return Err(begun(format!("{} is there", entry.path().display())));
                }
            }
        }
        Ok(())
    }

    pub(super) fn save(&self, volume: &Path) -> Result<()> {
        let path = path(volume);
        files::make_directory(files::directory(&path))?;
        let text = serde_json::to_vec_pretty(self)
            .map_err(|error| Error::file("write", &path, error.into()))?;
        files::write(&path, &text)
    }

    /// From now on there is nothing to roll back.
    pub(super) fn remove(volume: &Path) -> Result<()> {
        files::remove(&path(volume))
    }

    /// Notes that the migration, or a process that it had started, has run until now.
    pub(super) fn beat(volume: &Path) {
        // Without it a database may count as used since: nothing is lost by that.
        let _ = beat(&path(volume));
    }

    /// When it was known last that the migration runs.
    pub(super) fn last_beat(volume: &Path) -> Option<Times> {
        Times::of(&path(volume))
    }

    /// Whether a file of that name was not there when it began.
    pub(super) fn is_new(&self, name: &Path) -> bool {
        let files = self
            .files
            .as_ref()
            .filter(|_| is_text(name) && !self.has_moved(name));
        files.is_some_and(|files| !files.iter().any(|known| known == name))
    }
}

/// When a file was written to, and when anything of it was changed: one that
/// was put in place may bring its own time of writing along.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    modified: SystemTime,
    changed: SystemTime,
}

impl Times {
    pub(super) fn now() -> Self {
        let now = SystemTime::now();
        Self {
            modified: now,
            changed: now,
        }
    }

    pub(super) fn of(file: &Path) -> Option<Self> {
        let metadata = file.metadata().ok()?;
        let seconds = u64::try_from(metadata.ctime()).ok()?;
        let nanos = u32::try_from(metadata.ctime_nsec()).ok()?;
        Some(Self {
            modified: metadata.modified().ok()?,
            changed: SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos),
        })
    }

    /// Each is compared with its like: a `chown -R` of the whole volume changes
    /// all files alike, and no content.
    pub(super) fn is_after(self, other: Self, by: Duration) -> bool {
        self.is_written_after(other, by) || self.changed > other.changed + by
    }

    /// Of a log, to which SQLite gives its database's owner whenever root opens
    /// it: that changes it, too.
    pub(super) fn is_written_after(self, other: Self, by: Duration) -> bool {
        self.modified > other.modified + by
    }
}

fn beat(journal: &Path) -> std::io::Result<()> {
    let file = File::options().write(true).open(journal)?;
    file.set_modified(SystemTime::now())
}

/// Touches the journal for as long as it lives, so that whoever finds the journal knows until when
/// the migration ran.
#[derive(Debug)]
pub(super) struct Heartbeat {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Heartbeat {
    pub(super) fn start(volume: &Path) -> Self {
        let (stop, stopped) = channel();
        let path = path(volume);
        let thread = std::thread::Builder::new()
            .name("guard-heartbeat".into())
            .spawn(move || {
                loop {
                    // The next one follows in a second.
                    let _ = beat(&path);
                    if stopped.recv_timeout(HEARTBEAT_INTERVAL) != Err(RecvTimeoutError::Timeout) {
                        return;
                    }
                }
            });
        Self {
            stop: Some(stop),
            // Without it only the time of the journal itself is known.
            thread: thread.ok(),
        }
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
