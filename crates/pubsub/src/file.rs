//! Opens the pub/sub file, and makes it anew where it is of no use.
//!
//! Two side files, locked by `flock`; the database itself is only ever opened
//! by SQLite:
//! - `-opening` is held by who opens or closes: one at a time. What it decides
//!   is so until it is done.
//! - `-use` is held shared by every open handle. Who gets it exclusively is
//!   alone with the file, and only then is it deleted: no process ever loses a
//!   file it has open. It holds one line, the **mark**: who may trust the file.
//!
//! The disk is never waited for (`synchronous=OFF`): messages are gone in an
//! hour anyway, and a stall at a checkpoint would be the worst latency there
//! is. A crash of a process loses nothing by that, a crash of the machine may
//! break the file. So the mark says in which start of the machine the file is
//! in use, and is `clean` only after the last handle was closed in order and
//! the file synced. A file of another start that is not `clean` is not looked
//! at: it is made anew. What the mark says is on the disk before the first
//! write it warns of.

use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use monolite_store::{Options, Store, Synchronous};
use rusqlite::{Connection, ErrorCode};

use crate::{Error, PubSubOptions, Result, operations};

/// Longest wait for another process that opens or closes the file.
const OPENING_WAIT: Duration = Duration::from_secs(30);
/// Between two tries.
const OPENING_PAUSE: Duration = Duration::from_millis(5);
const CLEAN: &str = "clean";

/// What was found when the file was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Opened {
    /// The file was there and is in use.
    Existing,
    /// There was none.
    Created,
    /// There was one that could not be used; it was deleted, and the messages
    /// in it are lost. Subscribers that resume are told of a gap.
    Rebuilt {
        /// What was wrong with it.
        reason: String,
    },
}

/// Says that this process has the file open, until dropped.
#[derive(Debug)]
pub(crate) struct InUse {
    path: PathBuf,
    file: File,
}

pub(crate) fn open(path: &Path, options: &PubSubOptions) -> Result<(Store, InUse, Opened)> {
    let path = std::path::absolute(path).map_err(|source| Error::Io {
        what: "find the current directory for",
        path: path.into(),
        source,
    })?;
    let _opening = opening(&path)?;
    let side = side(&path, "-use");
    let mut use_file = open_side(&side)?;
    let alone = match use_file.try_lock() {
        Ok(()) => true,
        Err(TryLockError::WouldBlock) => false,
        Err(TryLockError::Error(source)) => return Err(io("lock", &side, source)),
    };
    let boot = options.clock.boot();
    let mut opened = Opened::Existing;
    if alone {
        opened = judge(&path, &side, &mut use_file, &boot)?;
        // Before the first write.
        mark(&side, &mut use_file, &boot)?;
        use_file
            .unlock()
            .map_err(|source| io("unlock", &side, source))?;
    }
    // Nobody else comes in between: all take `-opening` first.
    use_file
        .lock_shared()
        .map_err(|source| io("lock", &side, source))?;
    let in_use = InUse {
        path: path.clone(),
        file: use_file,
    };
    let store = match start(&path, options) {
        Ok(store) => store,
        Err(error) if alone && is_useless(&error) => {
            delete(&path)?;
            opened = Opened::Rebuilt {
                reason: error.to_string(),
            };
            start(&path, options)?
        }
        Err(error) if is_useless(&error) => {
            return Err(Error::InUse {
                path,
                reason: error.to_string(),
            });
        }
        Err(error) => return Err(error),
    };
    Ok((store, in_use, opened))
}

/// Looks at what is there, and deletes what cannot be used.
fn judge(path: &Path, side: &Path, use_file: &mut File, boot: &str) -> Result<Opened> {
    let exists = path
        .try_exists()
        .map_err(|source| io("look for", path, source))?;
    if !exists {
        // What a deleted file left beside it would be taken for its own.
        delete(path)?;
        return Ok(Opened::Created);
    }
    let mut found = String::new();
    // A mark that is no text is no mark.
    let _ = use_file.read_to_string(&mut found);
    let found = found.trim_end();
    let wrong = if found == CLEAN || found == boot {
        check(path).err()
    } else if found.is_empty() {
        Some(format!("{} does not say who used it last", side.display()))
    } else {
        Some("the machine went down while it was in use".into())
    };
    match wrong {
        None => Ok(Opened::Existing),
        Some(reason) => {
            delete(path)?;
            Ok(Opened::Rebuilt { reason })
        }
    }
}

/// Reads every page once. The window bounds how many there are.
fn check(path: &Path) -> std::result::Result<(), String> {
    let check = || {
        let conn = Connection::open(path)?;
        conn.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0))
    };
    match check() {
        Ok(answer) if answer == "ok" => Ok(()),
        Ok(answer) => Err(answer),
        Err(error) => Err(error.to_string()),
    }
}

fn start(path: &Path, options: &PubSubOptions) -> Result<Store> {
    let failed = |source| Error::Store {
        what: "open the pub/sub file",
        source,
    };
    let store = Store::open(
        path,
        Options {
            synchronous: Synchronous::Off,
            busy_timeout: options.busy_timeout,
            write_queue: options.write_queue,
            incremental_vacuum: true,
            journal_size_limit_bytes: 16 << 20,
            // Every statement goes by a key.
            optimize_every: None,
            ..Options::default()
        },
    )
    .map_err(failed)?;
    let (clock, window) = (options.clock.clone(), options.window);
    store
        .write_blocking(move |tx| {
            operations::install(tx, &*clock, window).map_err(Error::into_store)
        })
        .map_err(Error::from_store("open the pub/sub file"))
        .inspect_err(|_| store.clone().close_blocking())?;
    Ok(store)
}

/// True for what another file would mend.
fn is_useless(error: &Error) -> bool {
    let broken = |error: &rusqlite::Error| {
        matches!(
            error.sqlite_error_code(),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
        )
    };
    match error {
        Error::Schema(monolite_component::SchemaError::Newer { .. }) => true,
        Error::Schema(monolite_component::SchemaError::Sqlite { source, .. })
        | Error::Sqlite { source, .. } => broken(source),
        Error::Store { source, .. } => match source {
            monolite_store::Error::NotADatabase { path } => path.is_file(),
            monolite_store::Error::Sqlite(source) => broken(source),
            _ => false,
        },
        _ => false,
    }
}

/// The database first: who dies in between leaves none, whatever is beside it,
/// and never one without the end that its WAL holds.
fn delete(path: &Path) -> Result<()> {
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let file = self::side(path, suffix);
        match std::fs::remove_file(&file) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => return Err(io("delete", &file, source)),
        }
    }
    Ok(())
}

impl InUse {
    /// After the store was closed: if this was the last handle, the file is
    /// synced and marked `clean`.
    pub(crate) fn finish(mut self) -> Result<()> {
        let _opening = opening(&self.path)?;
        let side = side(&self.path, "-use");
        self.file
            .unlock()
            .map_err(|source| io("unlock", &side, source))?;
        if self.file.try_lock().is_err() {
            return Ok(()); // The others do it.
        }
        let failed = crate::error::sqlite("sync the pub/sub file");
        let conn = Connection::open(&self.path).map_err(&failed)?;
        // A checkpoint with something in it syncs the whole file.
        conn.execute_batch(
            "PRAGMA synchronous = FULL;
             UPDATE _monolite_pubsub_file SET keep_ms = keep_ms;
             PRAGMA wal_checkpoint(TRUNCATE);",
        )
        .and_then(|()| conn.close().map_err(|(_, error)| error))
        .map_err(failed)?;
        mark(&side, &mut self.file, CLEAN)
    }
}

fn opening(path: &Path) -> Result<File> {
    let side = side(path, "-opening");
    let file = open_side(&side)?;
    let deadline = Instant::now() + OPENING_WAIT;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                std::thread::sleep(OPENING_PAUSE);
            }
            Err(error) => return Err(io("lock", &side, error.into())),
        }
    }
}

fn open_side(path: &Path) -> Result<File> {
    File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(|source| io("open", path, source))
}

fn mark(side: &Path, file: &mut File, text: &str) -> Result<()> {
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| file.write_all(text.as_bytes()))
        .and_then(|()| file.sync_all())
        .map_err(|source| io("write", side, source))
}

fn side(path: &Path, suffix: &str) -> PathBuf {
    let mut side = path.as_os_str().to_owned();
    side.push(suffix);
    side.into()
}

fn io(what: &'static str, path: &Path, source: std::io::Error) -> Error {
    Error::Io {
        what,
        path: path.into(),
        source,
    }
}
