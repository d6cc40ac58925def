//! Whether anybody writes to a database between the copy of it and the lock
//! under which it is put back: that would be in neither.

use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rusqlite::{Connection, OpenFlags};

use super::error::Error;
use super::files;

/// From the copy on.
pub(super) struct Watch {
    live: PathBuf,
    seen: Seen,
    /// Who closes a database last brings its log into the file. That would look
    /// as if somebody wrote, so that nobody here is the last.
    _open: Option<Connection>,
}

type Seen = [Option<(SystemTime, u64)>; 2];

impl Watch {
    pub(super) fn begin(live: &Path) -> Self {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let open = Connection::open_with_flags(live, flags).and_then(|conn| {
            conn.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
            Ok(conn)
        });
        Self {
            live: live.into(),
            seen: seen(live),
            _open: open.ok(),
        }
    }

    /// To be asked under SQLite's lock, with nothing written yet.
    pub(super) fn ends_well(self) -> Result<(), Error> {
        match seen(&self.live) == self.seen {
            true => Ok(()),
            false => {
                let busy = io::Error::new(io::ErrorKind::ResourceBusy, "others write to it");
                Err(Error::file("put back", &self.live, busy))
            }
        }
    }
}

/// Whether that was the reason.
pub(super) fn is_written(error: &Error) -> bool {
    matches!(error, Error::File { source, .. } if source.kind() == io::ErrorKind::ResourceBusy)
}

/// By its metadata alone: no lock is lost by that.
fn seen(live: &Path) -> Seen {
    [live.to_owned(), files::beside(live, "-wal")].map(|file| {
        let metadata = file.metadata().ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    })
}
