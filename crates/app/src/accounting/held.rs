//! One database that Monolite has open, so that nobody's last close deletes its log.
//!
//! A connection to a database in WAL mode has SQLite's shared lock on it from its first read until it
//! is closed; no read transaction is kept, so no checkpoint waits for it. SQLite deletes the log only
//! under the exclusive lock, which nobody gets meanwhile.
//!
//! The log itself is open as well: should its name be removed, what is committed to it can still be
//! read, also after the app has ended.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use monolite_platform::process::Inode;
use monolite_sqlite_format::{shm_path, wal_path};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

/// How long a lock of the app is waited for.
const LOCK_WAIT_MAX: Duration = Duration::from_millis(50);

/// A database that is held.
pub(super) struct Held {
    pub(super) path: PathBuf,
    pub(super) conn: Connection,
    main: Inode,
    /// With it, the shared lock is held.
    log: Option<Log>,
}

struct Log {
    file: File,
    inode: Inode,
    index: Option<Inode>,
}

/// Why a database is not held.
#[derive(Debug)]
pub(super) enum NotHeld {
    /// There is no log, it is none in WAL mode, or no database.
    NoLog,
    /// Try again in a moment.
    Busy,
    /// It cannot be opened.
    Failed(String),
}

impl From<rusqlite::Error> for NotHeld {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode::{DatabaseBusy, DatabaseLocked, NotADatabase};
        match error.sqlite_error_code() {
            Some(DatabaseBusy | DatabaseLocked) => Self::Busy,
            // Encrypted, or called like a database only.
            Some(NotADatabase) => Self::NoLog,
            _ => Self::Failed(error.to_string()),
        }
    }
}

impl Held {
    /// Opens the database without reading it, so that it can be read should its name be removed. No
    /// lock is taken.
    ///
    /// # Errors
    /// See [`NotHeld`].
    pub(super) fn open(path: &Path) -> Result<Self, NotHeld> {
        let main = Inode::of(path).ok_or(NotHeld::NoLog)?;
        let held = Self {
            path: path.into(),
            conn: connect(path)?,
            main,
            log: None,
        };
        match held.has_main() {
            true => Ok(held),
            false => Err(NotHeld::Busy),
        }
    }

    /// Opens the database and takes the shared lock.
    ///
    /// # Errors
    /// See [`NotHeld`].
    pub(super) fn lock(path: &Path) -> Result<Self, NotHeld> {
        let mut held = Self::open(path)?;
        if !is_wal(&held.conn)? {
            return Err(NotHeld::NoLog);
        }
        // A log has no lock that closing a descriptor of it could drop.
        let file = File::open(wal_path(path)).map_err(|_| NotHeld::Busy)?;
        let inode = file.metadata().map(|of| Inode::from(&of));
        held.log = Some(Log {
            inode: inode.map_err(|_| NotHeld::Busy)?,
            file,
            index: Inode::of(&shm_path(path)),
        });
        // Replaced while it was opened: which files are open is not known.
        match held.is_whole() {
            true => Ok(held),
            false => Err(NotHeld::Busy),
        }
    }

    /// Whether the shared lock is held.
    pub(super) fn is_locked(&self) -> bool {
        self.log.is_some()
    }

    /// Whether all files still have their names.
    pub(super) fn is_whole(&self) -> bool {
        let has_index = |log: &Log| Inode::of(&shm_path(&self.path)) == log.index;
        self.has_main() && self.has_log() && self.log.as_ref().is_none_or(has_index)
    }

    /// Whether the database is the file of its name.
    pub(super) fn has_main(&self) -> bool {
        Inode::of(&self.path) == Some(self.main)
    }

    /// Whether the log is the file of its name.
    pub(super) fn has_log(&self) -> bool {
        let is_it = |log: &Log| Inode::of(&wal_path(&self.path)) == Some(log.inode);
        self.log.as_ref().is_none_or(is_it)
    }

    /// The log, and which file it is.
    pub(super) fn take_log(&mut self) -> Option<(Inode, File)> {
        self.log.take().map(|log| (log.inode, log.file))
    }

    /// Gives the lock up, after the log was copied into the database: nobody else has it open. SQLite
    /// deletes the log if that is so.
    pub(super) fn give_up(self) {
        if self.is_locked() {
            let on_close = DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
            let _ = self.conn.set_db_config(on_close, false);
            let _ = checkpoint(&self.conn, "PASSIVE");
        }
    }
}

/// A connection that changes nothing by itself.
pub(super) fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    conn.busy_timeout(LOCK_WAIT_MAX)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    conn.execute_batch(
        "PRAGMA wal_autocheckpoint = 0; PRAGMA cache_size = -64; PRAGMA mmap_size = 0",
    )?;
    Ok(conn)
}

fn is_wal(conn: &Connection) -> rusqlite::Result<bool> {
    // Reads the schema: the lock is held from here on.
    let mode: String = conn.query_row("PRAGMA journal_mode", [], |row| row.get(0))?;
    let _: i64 = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    Ok(mode == "wal")
}

/// Copies the log into the database, as far as nobody reads an older state; whether all of it was.
pub(super) fn checkpoint(conn: &Connection, mode: &str) -> rusqlite::Result<bool> {
    conn.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| {
        let (is_busy, frames, done): (bool, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok(!is_busy && frames == done)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database(dir: &Path) -> (PathBuf, Connection) {
        let path = dir.join("app.db");
        let conn = Connection::open(&path).unwrap();
        let sql = "PRAGMA journal_mode = WAL; CREATE TABLE t(x); INSERT INTO t VALUES (1)";
        conn.execute_batch(sql).unwrap();
        (path, conn)
    }

    #[test]
    fn a_removed_or_replaced_file_shows() {
        let dir = tempfile::tempdir().unwrap();
        let (path, _app) = database(dir.path());
        let held = Held::lock(&path).unwrap();
        assert!(held.is_whole());
        std::fs::rename(shm_path(&path), dir.path().join("x")).unwrap();
        assert!(!held.is_whole() && held.has_log());
        std::fs::rename(dir.path().join("x"), shm_path(&path)).unwrap();
        std::fs::remove_file(wal_path(&path)).unwrap();
        assert!(!held.has_log() && held.has_main());
        std::fs::copy(&path, dir.path().join("copy")).unwrap();
        std::fs::rename(dir.path().join("copy"), &path).unwrap();
        assert!(!held.has_main());
    }

    #[test]
    fn what_has_no_log_is_not_held() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.db");
        assert!(matches!(Held::lock(&path), Err(NotHeld::NoLog)));
        let conn = Connection::open(&path).unwrap();
        conn.execute_batch("CREATE TABLE t(x)").unwrap();
        assert!(matches!(Held::lock(&path), Err(NotHeld::NoLog)));
        conn.execute_batch("BEGIN EXCLUSIVE").unwrap();
        assert!(matches!(Held::lock(&path), Err(NotHeld::Busy)));
        std::fs::write(dir.path().join("b.db"), vec![7; 4096]).unwrap();
        let none = Held::lock(&dir.path().join("b.db"));
        assert!(matches!(none, Err(NotHeld::NoLog)));
    }

    #[test]
    fn given_up_last_it_leaves_no_log() {
        let dir = tempfile::tempdir().unwrap();
        let (path, app) = database(dir.path());
        let held = Held::lock(&path).unwrap();
        drop(app);
        assert!(wal_path(&path).exists(), "the lock keeps the log");
        held.give_up();
        assert!(!wal_path(&path).exists());
    }
}
