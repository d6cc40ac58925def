//! Whether anybody writes to a database between the copy of it and the lock under which its
//! snapshot is written over it: that would be in neither.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rusqlite::{Connection, OpenFlags};

use crate::error::{Error, Result};
use crate::files;

/// Begins before the copy is taken.
pub(crate) struct WriteCheck {
    file: PathBuf,
    before: Written,
    /// Whoever closes a database last brings its log into the file, which would look as if somebody
    /// wrote. This keeps the copy from being the last to close.
    _open: Option<Connection>,
}

/// Time and size of the database and of its log.
type Written = [Option<(SystemTime, u64)>; 2];

impl WriteCheck {
    pub(crate) fn begin(file: &Path) -> Self {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let open = Connection::open_with_flags(file, flags).and_then(|conn| {
            conn.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
            Ok(conn)
        });
        Self {
            file: file.into(),
            before: written(file),
            _open: open.ok(),
        }
    }

    /// Ask under SQLite's lock, before anything is written.
    ///
    /// # Errors
    /// [`Error::is_written`]: somebody wrote.
    pub(crate) fn end(self) -> Result<()> {
        match written(&self.file) == self.before {
            true => Ok(()),
            false => Err(Error::written(&self.file)),
        }
    }
}

/// By the metadata alone: to open and close the file would release locks of this process.
fn written(file: &Path) -> Written {
    [file.to_owned(), files::beside(file, "-wal")].map(|file| {
        let metadata = file.metadata().ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    })
}
