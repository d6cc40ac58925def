//! What all parts of replication need.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use monolite_platform::clock::{Clock, SystemClock};

use super::options::Replication;

pub(super) struct Context {
    pub(super) options: Replication,
    pub(super) volume: PathBuf,
    /// The app's own database, by its path in the volume.
    pub(super) main: String,
}

impl Context {
    /// A database's path in the volume; `None` if it is elsewhere, or if its name is not UTF-8.
    pub(super) fn name(&self, path: &Path) -> Option<String> {
        crate::name_in(&self.volume, path)
    }

    /// The databases on the volume. Directories may be large, and disks slow: the walk is on a
    /// thread of its own.
    pub(super) async fn find(&self) -> Vec<PathBuf> {
        let find = self.options.find.clone();
        let found = tokio::task::spawn_blocking(move || find()).await;
        found.unwrap_or_default()
    }
}

/// Whether the file exists with something in it; `None` if that cannot be found out. An empty file
/// is no database yet: SQLite makes one when an app opens what does not exist.
pub(super) fn has_content(path: &Path) -> Option<bool> {
    match std::fs::metadata(path) {
        Ok(file) => Some(file.len() > 0),
        Err(error) if error.kind() == ErrorKind::NotFound => Some(false),
        Err(_) => None,
    }
}

/// In milliseconds since 1970.
pub(super) fn now_ms() -> i64 {
    SystemClock.now_ms()
}

pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
