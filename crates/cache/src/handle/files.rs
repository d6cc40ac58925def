//! The files of a cache: opened, or made anew.
//!
//! Invariants:
//! - one process at a time opens or makes anew (a lock on `…-lock`), so that
//!   nobody takes away what another has just made;
//! - files are only taken away while they are the ones found damaged: who
//!   comes second finds others at their place, and opens those;
//! - what was never a cache is not deleted but set aside.
//!
//! A process that still has the old files open goes on with them until it
//! notices that others are at their place; see `sqlite.rs`.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use monolite_store::rusqlite::Connection;
use monolite_store::{Combiner, Options, Store, Synchronous};

use crate::blobs::Blobs;
use crate::changes::Changes;
use crate::room::wal_bytes;
use crate::{CacheOptions, Error, Outcome, Result, Tables, Write};

/// Why the file was made anew. What was in it is gone: it was a cache.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rebuilt {
    /// There was none.
    Missing,
    /// It was damaged.
    Damaged {
        /// How that was found out.
        reason: String,
    },
    /// It was of a newer version of this program.
    Newer {
        /// In words.
        reason: String,
    },
    /// It was something else. It was not deleted.
    Foreign {
        /// Where it is now.
        set_aside: PathBuf,
    },
    /// Another process did it.
    Elsewhere,
}

/// Device and inode: which file it is that has the name.
pub(crate) type Identity = (u64, u64);

pub(crate) fn identity(path: &Path) -> Option<Identity> {
    let found = std::fs::metadata(path).ok()?;
    Some((found.dev(), found.ino()))
}

/// One set of files, open.
pub(crate) struct Files {
    pub(crate) store: Store,
    pub(crate) tables: Arc<Tables>,
    pub(crate) writes: Combiner<Arc<Write>, Result<Outcome>>,
    pub(crate) identity: Option<Identity>,
    pub(crate) rebuilt: Option<Rebuilt>,
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// All that may be there, the database first.
pub(crate) fn all(path: &Path) -> [PathBuf; 5] {
    [
        path.to_path_buf(),
        beside(path, "-wal"),
        beside(path, "-shm"),
        Blobs::path(path),
        Changes::path(path),
    ]
}

/// Bytes on the disk.
pub(crate) fn disk_bytes(path: &Path) -> u64 {
    all(path)
        .iter()
        .filter_map(|path| std::fs::metadata(path).ok())
        .map(|found| found.blocks() * 512)
        .sum()
}

/// Opens the files, and makes them anew if they are missing, damaged, foreign
/// or newer, or if they are still those of `suspect`. Blocks.
pub(crate) fn open(
    path: &Path,
    options: &CacheOptions,
    suspect: Option<(Identity, String)>,
) -> Result<Files> {
    let io = |what, path: &Path, source: io::Error| {
        if matches!(source.kind(), io::ErrorKind::StorageFull) {
            return Error::DiskFull { path: path.into() };
        }
        Error::Io {
            what,
            path: path.into(),
            source,
        }
    };
    let lock_path = beside(path, "-lock");
    let lock = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&lock_path)
        .map_err(|source| io("open", &lock_path, source))?;
    // Until the end of this function.
    lock.lock()
        .map_err(|source| io("lock", &lock_path, source))?;

    let found = identity(path);
    let mut rebuilt = None;
    if found.is_none() {
        // Whatever is left beside it belongs to nothing.
        take_away(path).map_err(|source| io("remove", path, source))?;
        rebuilt = Some(Rebuilt::Missing);
    } else if let Some((suspect, reason)) = suspect {
        if found == Some(suspect) {
            take_away(path).map_err(|source| io("remove", path, source))?;
            rebuilt = Some(Rebuilt::Damaged { reason });
        } else {
            rebuilt = Some(Rebuilt::Elsewhere);
        }
    } else if is_foreign(path) {
        let set_aside = set_aside(path).map_err(|source| io("set aside", path, source))?;
        rebuilt = Some(Rebuilt::Foreign { set_aside });
    }
    match attempt(path, options) {
        Ok(files) => Ok(Files { rebuilt, ..files }),
        Err(error) if error.is_corruption() => {
            take_away(path).map_err(|source| io("remove", path, source))?;
            let reason = error.to_string();
            let rebuilt = match error {
                Error::Schema(monolite_component::SchemaError::Newer { .. }) => {
                    Rebuilt::Newer { reason }
                }
                _ => Rebuilt::Damaged { reason },
            };
            let files = attempt(path, options)?;
            Ok(Files {
                rebuilt: Some(rebuilt),
                ..files
            })
        }
        Err(error) => Err(error),
    }
}

fn attempt(path: &Path, options: &CacheOptions) -> Result<Files> {
    let bound = options.bound_bytes;
    let store = Store::open(
        path,
        Options {
            synchronous: Synchronous::Off,
            incremental_vacuum: true,
            foreign_keys: false,
            journal_size_limit_bytes: wal_bytes(bound),
            mmap_bytes: bound.min(1 << 30),
            readers: options.readers,
            // The writes that count are combined before they come here. Two
            // closures in one transaction would need a savepoint, for which
            // SQLite copies each page: a fifth of all.
            batch_max: 1,
            optimize_every: None,
            ..Options::default()
        },
    )?;
    let path: PathBuf = store.path().into();
    let (boot, near) = (options.clock.boot(), options.near_bytes);
    let tables = store.write_blocking(move |conn| {
        let page: i64 = conn.query_row("PRAGMA page_size", [], |row| row.get(0))?;
        let pages = i64::try_from(wal_bytes(bound) / 8 * 5).unwrap_or(0) / page.max(512);
        conn.pragma_update(None, "wal_autocheckpoint", pages)?;
        // What a statement or savepoint may have to take back: no files for that.
        conn.pragma_update(None, "temp_store", 2)?;
        let tables = Tables::attach(conn, &path, bound, near)?;
        check_after_boot(conn, &boot)?;
        Ok(tables)
    })?;
    let tables = Arc::new(tables);
    let (writer, clock) = (Arc::clone(&tables), Arc::clone(&options.clock));
    let writes = store.combine(move |conn, writes: &[Arc<Write>]| {
        Ok(writer.apply(conn, writes, clock.wall_ms())?)
    });
    Ok(Files {
        identity: identity(store.path()),
        rebuilt: None,
        store,
        tables,
        writes,
    })
}

/// The file is not synced, so that after a crash of the machine its pages may
/// be of different moments: once after each start it is looked at as a whole.
fn check_after_boot(conn: &Connection, boot: &str) -> Result<()> {
    let last: String = conn.query_row("SELECT boot FROM _monolite_cache_state", [], |row| {
        row.get(0)
    })?;
    if last == boot {
        return Ok(());
    }
    if !last.is_empty() {
        let check: String = conn.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        if check != "ok" {
            return Err(Error::Sqlite(rusqlite::Error::SqliteFailure(
                rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT),
                Some(check),
            )));
        }
    }
    conn.execute("UPDATE _monolite_cache_state SET boot = ?1", [boot])?;
    Ok(())
}

/// True for what somebody may want to have back: a file that is no SQLite
/// database, or one with tables of its own and none of a cache.
fn is_foreign(path: &Path) -> bool {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let Ok(conn) = Connection::open_with_flags(path, flags) else {
        return false;
    };
    let tables = conn.query_row(
        "SELECT count(*), coalesce(sum(name LIKE '\\_monolite\\_cache\\_%' ESCAPE '\\'), 0)
         FROM sqlite_schema",
        [],
        |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)),
    );
    match tables {
        Ok((all, ours)) => all > 0 && ours == 0,
        Err(rusqlite::Error::SqliteFailure(error, _)) => {
            error.code == rusqlite::ErrorCode::NotADatabase
        }
        Err(_) => false,
    }
}

/// Puts what is there under another name, in the place of what was put there
/// before.
fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let aside = beside(path, "-set-aside");
    std::fs::rename(path, &aside)?;
    for suffix in ["-wal", "-shm"] {
        let from = beside(path, suffix);
        if from.exists() {
            std::fs::rename(&from, beside(&aside, suffix))?;
        }
    }
    take_away(path)?;
    Ok(aside)
}

fn take_away(path: &Path) -> io::Result<()> {
    // The database first: who dies on the way leaves files that belong to
    // nothing, which the next one to open removes. A database without its WAL
    // would pass for a whole one.
    for path in &all(path) {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
