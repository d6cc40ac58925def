//! A database as it is now, held still by a read transaction.

use std::fs::Metadata;
use std::io;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use monolite_sqlite_format::sibling_path;
use monolite_sqlite_pages::Pages;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use rustix::fs::Access;

use super::error::{Error, Result};

#[derive(Debug)]
pub(super) struct Source {
    pages: Pages<Connection>,
    path: PathBuf,
    wal: bool,
    /// The file as it was before it was opened.
    before: Stamp,
    /// It is read without locks, so it must stay as it was.
    frozen: bool,
}

impl Source {
    /// Waits for `patience` if another process keeps readers out.
    pub(super) fn open(path: &Path, patience: Duration) -> Result<Self> {
        // SQLite follows links, too: the WAL of the link's target is next to the target.
        let resolved = path.canonicalize().and_then(|path| {
            let metadata = path.metadata()?;
            Ok((path, metadata))
        });
        let (path, metadata) = match resolved {
            Ok(resolved) => resolved,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Error::Missing { path: path.into() });
            }
            Err(error) => return Err(Error::file("open", path, error)),
        };
        if !metadata.is_file() {
            return Err(Error::NotADatabase { path });
        }
        let before = Stamp::of(&metadata);
        match Self::begin(path.clone(), before, false, patience) {
            // It is in WAL mode, nobody has it open, and a `-shm` cannot be
            // made here. Then the file alone is the database.
            Err(Error::NeedsWriting { .. }) if is_alone(&path) => {
                Self::begin(path, before, true, patience)
            }
            other => other,
        }
    }

    fn begin(path: PathBuf, before: Stamp, frozen: bool, patience: Duration) -> Result<Self> {
        let had_wal = sibling_path(&path, "-wal").exists();
        let at = |error| Error::reading(&path, error, patience.as_millis());
        rustix::fs::access(&path, Access::READ_OK)
            .map_err(|error| Error::file("read", &path, error.into()))?;
        let conn = match frozen {
            // SQLite itself falls back to reading where it may not write.
            false => Connection::open_with_flags(
                &path,
                OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
            ),
            true => open_immutable(&path),
        }
        .map_err(at)?;
        // A WAL that was here stays here, as it is. One that we are the first
        // to need goes when we do.
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, had_wal)
            .map_err(at)?;
        conn.busy_timeout(patience).map_err(at)?;
        // Memory-mapped reading would be faster, but a disk's error, or a file
        // cut short, would then end the process.
        conn.execute_batch(
            "PRAGMA wal_autocheckpoint = 0; PRAGMA cache_size = -64; PRAGMA query_only = ON;
             PRAGMA mmap_size = 0; PRAGMA temp_store = MEMORY",
        )
        .map_err(at)?;
        let pages = Pages::begin(conn).map_err(at)?;
        let mode = pages
            .conn()
            .pragma_query_value(None, "journal_mode", |row| row.get::<_, String>(0));
        let wal = mode.map_err(at)? == "wal";
        if pages.count() == 0 {
            return Err(Error::Empty { path });
        }
        Ok(Self {
            pages,
            path,
            wal,
            before,
            frozen,
        })
    }

    /// The database's path, with links resolved.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn page_size(&self) -> u32 {
        self.pages.page_size()
    }

    pub(super) fn pages(&self) -> u32 {
        self.pages.count()
    }

    pub(super) fn bytes(&self) -> u64 {
        u64::from(self.pages()) * u64::from(self.page_size())
    }

    /// True if it is in WAL mode.
    pub(super) fn is_wal(&self) -> bool {
        self.wal
    }

    /// Calls `each` with every page in order, the lock page as zeros. Says
    /// whether all of them were read.
    pub(super) fn each_page(
        &self,
        mut each: impl FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>> {
        self.pages
            .each(|_, page| each(page))
            .map_err(|error| Error::reading(&self.path, error, 0))
    }

    /// An error if what was read without locks was written meanwhile.
    pub(super) fn still_holds(&self) -> Result<()> {
        let now = self.path.metadata();
        let same = now.is_ok_and(|now| Stamp::of(&now) == self.before) && is_alone(&self.path);
        match same || !self.frozen {
            true => Ok(()),
            false => Err(self.changed()),
        }
    }

    /// Device and inode of the file.
    pub(super) fn id(&self) -> (u64, u64) {
        self.before.id
    }

    /// An error if there is another file by that name now.
    pub(super) fn is_in_place(&self) -> Result<()> {
        let now = self.path.metadata();
        match now.is_ok_and(|now| Stamp::of(&now).id == self.id()) {
            true => Ok(()),
            false => Err(self.changed()),
        }
    }

    pub(super) fn changed(&self) -> Error {
        Error::Changed {
            path: self.path.clone(),
        }
    }
}

/// Opens a database file that nobody writes: without locks, and without making
/// anything next to it.
pub(super) fn open_immutable(path: &Path) -> rusqlite::Result<Connection> {
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => {
                uri.push(char::from(*byte));
            }
            byte => uri.push_str(&format!("%{byte:02x}")),
        }
    }
    uri.push_str("?immutable=1");
    Connection::open_with_flags(
        uri,
        OpenFlags::SQLITE_OPEN_READ_ONLY
            | OpenFlags::SQLITE_OPEN_URI
            | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )
}

/// True if nobody has the database open in WAL mode, and nothing of it is
/// elsewhere than in its file.
fn is_alone(database: &Path) -> bool {
    let missing = |suffix| {
        let metadata = sibling_path(database, suffix).symlink_metadata();
        metadata.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    };
    missing("-wal") && missing("-shm") && missing("-journal")
}

/// Tells a file from another, or from itself when it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    /// Device and inode.
    id: (u64, u64),
    bytes: u64,
    changed: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            id: (metadata.dev(), metadata.ino()),
            bytes: metadata.len(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}
