//! A copy about to be read.

use std::path::Path;
use std::time::Duration;

use super::error::Result;
use super::reader::CopyReader;
use super::source::Source;

/// How long to wait for a database that another process locks, by default.
pub(super) const LOCK_WAIT_MAX: Duration = Duration::from_secs(10);

/// One committed state of a database, held still by a read transaction.
///
/// Writers in WAL mode are not held up, only their WAL cannot be reset
/// meanwhile; in rollback mode they wait until all has been read, or this is
/// dropped.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("app.sqlite3");
/// rusqlite::Connection::open(&path)?.execute_batch("CREATE TABLE t (x)")?;
/// let copy = monolite_replica::backup::Copy::open(&path)?;
/// let bytes = copy.bytes();
/// let sent = std::io::copy(&mut copy.into_reader()?, &mut std::io::sink())?;
/// assert_eq!(sent, bytes);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Copy {
    source: Source,
}

impl Copy {
    /// The state of now. Waits up to 10 s if another process keeps readers out.
    ///
    /// # Errors
    /// There is no database, or it cannot be read.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_within(path, LOCK_WAIT_MAX)
    }

    /// As [`Copy::open`], waiting for `patience`.
    ///
    /// # Errors
    /// As [`Copy::open`].
    pub fn open_within(path: impl AsRef<Path>, patience: Duration) -> Result<Self> {
        let source = Source::open(path.as_ref(), patience)?;
        Ok(Self { source })
    }

    /// Bytes of a page.
    pub fn page_size(&self) -> u32 {
        self.source.page_size()
    }

    /// Pages of the state, at least one.
    pub fn pages(&self) -> u32 {
        self.source.pages()
    }

    /// Bytes of the whole copy.
    pub fn bytes(&self) -> u64 {
        self.source.bytes()
    }

    /// Begins to read, in a thread of its own and at most 4 MiB ahead.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn into_reader(self) -> Result<CopyReader> {
        CopyReader::start(self.source)
    }

    pub(super) fn source(&self) -> &Source {
        &self.source
    }
}
