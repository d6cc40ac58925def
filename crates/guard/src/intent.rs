//! The note that a migration is under way: `.monolite/migrating/intent.json`.
//!
//! Invariant: it is there, and on disk, from before the command starts until
//! what it did is accepted, put back, or left to others, and is on disk itself.
//! To remove it is what accepts. It says all that whoever finds it must know to
//! do what the process that died would have done: above all, whether anything
//! may be put back.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::error::{Error, Result};
use super::files;
use super::site::Others;

/// How often a running migration says that it still runs.
const BEAT: Duration = Duration::from_secs(1);

/// What is known of a migration that may have been interrupted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Intent {
    pub(super) version: u32,
    /// The directory of its snapshots, beside this file.
    pub(super) stamp: String,
    pub(super) command: String,
    pub(super) begun_ms: i64,
    pub(super) databases: Vec<Database>,
    /// What has the name of a database and is none, by its path in the volume.
    #[serde(default)]
    pub(super) ignored: Vec<PathBuf>,
    /// What if others have the databases open: with [`Others::Leave`] nothing
    /// is put back, whoever judges.
    #[serde(default)]
    pub(super) others: Others,
    /// All files there were, by their paths in the volume; what is none of
    /// them was made since. `None` if there were too many: then nothing counts
    /// as made since, nor does a name that cannot be noted ([`is_notable`]).
    #[serde(default)]
    pub(super) there: Option<Vec<PathBuf>>,
    /// Nobody else had a database open when it began.
    #[serde(default)]
    pub(super) alone: bool,
}

/// Whether a name can be in the note, which is text. Files may have others.
pub(super) fn is_notable(name: &Path) -> bool {
    name.to_str().is_some()
}

/// That of this program. Older programs refuse it, who know nothing of what
/// must not be put back.
pub(super) const VERSION: u32 = 2;

/// Where databases are moved to: those that are put back over, and those that
/// were made.
pub(super) const MOVED: [&str; 2] = ["aside", "new"];

/// A database that was there when it began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Database {
    /// By its path in the volume.
    pub(super) name: PathBuf,
    /// Its state then, by the path in the directory of snapshots; none of an
    /// empty file.
    pub(super) snapshot: Option<PathBuf>,
}

/// Where all of it is.
pub(super) fn directory(volume: &Path) -> PathBuf {
    volume.join(".monolite").join("migrating")
}

fn path(volume: &Path) -> PathBuf {
    directory(volume).join("intent.json")
}

impl Intent {
    /// Whether there was something of that name, or may have been.
    pub(super) fn knows(&self, name: &Path) -> bool {
        !is_notable(name)
            || self.has_moved(name)
            || self.databases.iter().any(|known| known.name == name)
            || self.ignored.iter().any(|ignored| ignored == name)
    }

    /// Whether it is one that was moved, beside where it was.
    fn has_moved(&self, name: &Path) -> bool {
        let name = name.to_string_lossy();
        MOVED
            .iter()
            .any(|kind| name.contains(&format!(".{kind}-{}", self.stamp)))
    }

    pub(super) fn load(volume: &Path) -> Result<Option<Self>> {
        let path = path(volume);
        let text = match std::fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(|error| Error::file("read", &path, error))?,
        };
        let unknown = |why: String| Error::Intent {
            path: path.clone(),
            why,
        };
        let intent: Self =
            serde_json::from_slice(&text).map_err(|error| unknown(error.to_string()))?;
        match intent.version {
            1..=VERSION => Ok(Some(intent)),
            other => Err(unknown(format!(
                "it is of version {other}, of a newer monolite"
            ))),
        }
    }

    pub(super) fn save(&self, volume: &Path) -> Result<()> {
        let path = path(volume);
        files::make_directory(files::directory(&path))?;
        let text = serde_json::to_vec_pretty(self)
            .map_err(|error| Error::file("write", &path, error.into()))?;
        files::write(&path, &text)
    }

    /// From now on there is nothing to put back.
    pub(super) fn remove(volume: &Path) -> Result<()> {
        files::remove(&path(volume))
    }

    /// Says that it, or what it had started, has run until now.
    pub(super) fn beat(volume: &Path) {
        // Unsaid, it counts as used since: nothing is lost by that.
        let _ = beat(&path(volume));
    }

    /// When it was known last that the migration runs.
    pub(super) fn last_beat(volume: &Path) -> Option<Times> {
        Times::of(&path(volume))
    }

    /// Whether a file of that name was not there when it began.
    pub(super) fn is_new(&self, name: &Path) -> bool {
        let there = self
            .there
            .as_ref()
            .filter(|_| is_notable(name) && !self.has_moved(name));
        there.is_some_and(|there| !there.iter().any(|known| known == name))
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

fn beat(note: &Path) -> std::io::Result<()> {
    let file = File::options().write(true).open(note)?;
    file.set_modified(SystemTime::now())
}

/// Touches the note for as long as it lives, so that whoever finds it knows
/// when the migration ended.
#[derive(Debug)]
pub(super) struct Beating {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Beating {
    pub(super) fn start(volume: &Path) -> Self {
        let (stop, stopped) = channel();
        let path = path(volume);
        let thread = std::thread::Builder::new()
            .name("migrate-beat".into())
            .spawn(move || {
                loop {
                    // Said again in a second.
                    let _ = beat(&path);
                    if stopped.recv_timeout(BEAT) != Err(RecvTimeoutError::Timeout) {
                        return;
                    }
                }
            });
        Self {
            stop: Some(stop),
            // Without it only the note's own time is known.
            thread: thread.ok(),
        }
    }
}

impl Drop for Beating {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
