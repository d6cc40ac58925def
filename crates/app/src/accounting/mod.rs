//! Every SQLite file that a process of the app has open is accounted for.
//!
//! # Invariant
//! While `run` lives, a database that the app has open is on the volume, and its main file, its
//! `-wal` and its `-shm` are the files that have these names. What breaks this is noticed within
//! 2 s, and repaired or reported: log, health page, exit code.
//!
//! # How commits get lost
//! A process may have a database open through two copies of SQLite, or close a descriptor of it that
//! SQLite does not know of: then its POSIX locks are gone, and the next "last" close of somebody else
//! deletes the `-wal`. Somebody may also remove, replace or rename these files by hand. The app then
//! commits to a file without a name, with success, and `integrity_check` finds nothing.
//!
//! # What is done
//! - [`held`]: from the first commit to a `-wal` on, Monolite has the database open with SQLite's
//!   own shared lock, so that no last close of others deletes the log. As long as the log is empty
//!   there is nothing to lose, no lock is held, and the app may leave WAL mode. Once nobody else has
//!   the database open, the log is copied into it and the lock is given up: a `-wal` that is removed
//!   before the next start holds nothing.
//! - [`scan`]: what the processes of the app have open is read from `/proc` once a second, and
//!   whenever one of the files is deleted or renamed ([`watch`]). A descriptor without a name is
//!   opened once more before the app ends.
//! - [`rescue`]: the app is stopped, while requests wait; what it committed to files without a name
//!   is put into the database, or kept in `.monolite/rescued/` where others wrote as well.
//! - [`elsewhere`]: databases outside of the volume.
//! - [`sqlite_version`]: an app whose SQLite can lose commits by itself.
//!
//! Dying between any two steps loses no more than dying without this: a rescue changes the database
//! in one transaction of SQLite, after a copy of it was found whole.

mod elsewhere;
mod findings;
mod held;
mod monitor;
mod rescue;
mod scan;
mod sqlite_version;
mod watch;

use std::time::Duration;

pub(crate) use self::elsewhere::{Named, named_elsewhere};
pub(crate) use self::findings::Findings;
pub(crate) use self::monitor::{Monitor, Options};

/// Between two looks at what the app has open. An app that opens a database for each request shows
/// it only while a request lasts: such a database outside of the volume is found by its file.
const SCAN_INTERVAL: Duration = Duration::from_secs(1);
/// A file without a name is believed when it is seen again after this time: an ordinary close deletes
/// the log a moment before it is closed.
const CONFIRM_TIME: Duration = Duration::from_millis(200);
