//! What the guard needs from the program that it runs in.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use monolite_replica::backup::local::{self, TakeOptions};
use monolite_replica::backup::{self, Cancel, Check, Pages};

use crate::pages::Checksums;
use crate::processes::{self, Survivors};
use crate::progress::Progress;

/// How long a snapshot waits for a lock of another process on the database.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(30);

/// The program that a migration is guarded in. [`volume`](Self::volume),
/// [`databases`](Self::databases) and [`report`](Self::report) are its own; the rest does for any
/// program, and is here so that tests can replace it.
///
/// All methods may be called from any thread, and may block.
pub trait Host: Send + Sync {
    /// The data directory, absolute.
    fn volume(&self) -> &Path;

    /// The databases to guard that are in it now.
    fn databases(&self) -> Vec<PathBuf>;

    /// Shows or logs an event. Must return at once.
    fn report(&self, progress: Progress);

    /// Ends what waits for a migration to begin.
    fn cancel(&self) -> &Cancel;

    /// Whether no part of this process has a database of the volume open. Only then SQLite's locks
    /// can be asked for processes of other containers: to close the file again releases all locks
    /// that this process holds on it.
    fn has_no_database_open(&self) -> bool;

    /// Takes a snapshot of `database` into the directory `into`, which is made for it. On
    /// filesystems that can, the two share their blocks.
    ///
    /// # Errors
    /// See [`NoSnapshot`].
    fn snapshot(&self, database: &Path, into: &Path) -> Result<Taken, NoSnapshot> {
        let name = database.strip_prefix(self.volume()).unwrap_or(database);
        let progress = CopyProgress {
            database: name.display().to_string(),
            host: self,
            checksums: Mutex::default(),
        };
        let options = TakeOptions {
            // A snapshot is what the database is, damage included.
            check: Check::None,
            patience: LOCK_WAIT_MAX,
            cancel: self.cancel().clone(),
        };
        let taken = match local::take(database, into, self.now_ms(), &options, &progress) {
            Ok(snapshot) => snapshot.path,
            Err(backup::Error::Empty { .. } | backup::Error::Missing { .. }) => {
                return Ok(Taken::Empty);
            }
            Err(backup::Error::NotADatabase { .. }) => return Ok(Taken::NotADatabase),
            Err(error) => return Err(NoSnapshot::from(&error)),
        };
        let checksums = progress.checksums.into_inner();
        Ok(Taken::File {
            path: taken,
            checksums: Some(checksums.unwrap_or_else(PoisonError::into_inner)),
        })
    }

    /// Makes the disk keep what a file holds. The file may be a database that this process has
    /// open: no lock on it is released.
    ///
    /// # Errors
    /// The file is not there, or the disk fails.
    fn sync(&self, file: &Path) -> std::io::Result<()> {
        local::sync(file)
    }

    /// Ends what an interrupted migration has left running on the volume, and waits until it is
    /// gone.
    fn end_survivors(&self, databases: &[PathBuf]) -> Survivors {
        processes::end_survivors(self.volume(), databases)
    }

    /// Bytes that are free for this user on the volume's disk; `None` if the system does not say.
    fn free_bytes(&self) -> Option<u64> {
        let stat = rustix::fs::statvfs(self.volume()).ok()?;
        Some(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// Milliseconds since 1970.
    fn now_ms(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        i64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(i64::MAX)
    }
}

/// What a snapshot is.
#[derive(Debug)]
pub enum Taken {
    /// A plain database file, whole and on the disk.
    File {
        /// Where it is.
        path: PathBuf,
        /// What was written to it; `None`, or of no page, if that is not known.
        checksums: Option<Checksums>,
    },
    /// There is nothing in the database.
    Empty,
    /// The file is called like a database and is none: it is not guarded.
    NotADatabase,
}

/// Why there is no snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoSnapshot {
    /// The disk has no room for it.
    DiskFull {
        /// How much is needed, in words.
        why: String,
        /// Bytes that have to be freed, where known.
        missing: Option<u64>,
    },
    /// Anything else, in words.
    Other(String),
}

impl NoSnapshot {
    pub(crate) fn why(self) -> String {
        match self {
            Self::DiskFull { why, .. } | Self::Other(why) => why,
        }
    }
}

impl From<&backup::Error> for NoSnapshot {
    fn from(error: &backup::Error) -> Self {
        let why = error.to_string();
        match error {
            backup::Error::NoRoom {
                needed, free, kept, ..
            } => Self::DiskFull {
                why,
                missing: Some(needed.saturating_add(*kept).saturating_sub(*free)),
            },
            backup::Error::DiskFull { .. } => Self::DiskFull { why, missing: None },
            _ => Self::Other(why),
        }
    }
}

/// Passes on how far a snapshot is, and takes the checksums of what is written to it.
struct CopyProgress<'h, H: ?Sized> {
    database: String,
    host: &'h H,
    checksums: Mutex<Checksums>,
}

impl<H: ?Sized> fmt::Debug for CopyProgress<'_, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CopyProgress")
            .field("database", &self.database)
            .finish_non_exhaustive()
    }
}

impl<H: Host + ?Sized> monolite_replica::Progress for CopyProgress<'_, H> {
    fn begin(&self, step: &'static str, total: Option<u64>) {
        let database = self.database.clone();
        self.host.report(Progress::Step {
            database,
            step,
            total,
        });
    }

    fn advance(&self, bytes: u64) {
        self.host.report(Progress::Advance(bytes));
    }

    fn copied(&self, page_size: u32, pages: Pages<'_>) {
        let checksums = self.checksums.lock();
        let mut checksums = checksums.unwrap_or_else(PoisonError::into_inner);
        checksums.add(page_size as usize, pages.bytes);
    }
}
