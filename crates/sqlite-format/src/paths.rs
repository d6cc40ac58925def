//! The names of the files next to a database.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// What the write-ahead log has after the database's name.
pub const WAL: &str = "-wal";
/// What the log's index, the shared memory, has after the database's name.
pub const SHM: &str = "-shm";
/// What the rollback journal has after the database's name.
pub const JOURNAL: &str = "-journal";
/// All of them.
pub const SUFFIXES: [&str; 3] = [WAL, SHM, JOURNAL];

/// The path of `database` with `suffix` after its name.
///
/// ```
/// use monolite_sqlite_format::sibling_path;
///
/// let path = sibling_path("/data/app.sqlite3".as_ref(), ".restoring");
/// assert_eq!(path.to_str(), Some("/data/app.sqlite3.restoring"));
/// ```
#[must_use]
pub fn sibling_path(database: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(database);
    name.push(suffix);
    name.into()
}

/// Where the write-ahead log of `database` is.
#[must_use]
pub fn wal_path(database: &Path) -> PathBuf {
    sibling_path(database, WAL)
}

/// Where the index of the log of `database` is.
#[must_use]
pub fn shm_path(database: &Path) -> PathBuf {
    sibling_path(database, SHM)
}

/// Where the rollback journal of `database` is.
#[must_use]
pub fn journal_path(database: &Path) -> PathBuf {
    sibling_path(database, JOURNAL)
}
