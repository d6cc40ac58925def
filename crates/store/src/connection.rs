//! Opens one SQLite connection for production and proves that it is.
//!
//! Every setting is read back: a pragma that did not take is an error, since
//! SQLite answers an unknown or refused one with silence.

use std::cell::Cell;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::{Connection, OpenFlags};

use crate::{Error, Options, Result};

/// 3.51.3 mended a race between WAL resets and checkpoints that lost commits.
const OLDEST_SQLITE: i32 = 3_051_003;

/// Prepared statements kept by each connection.
const STATEMENT_CACHE: usize = 128;

/// What a connection is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// The first one: makes the file, if there is none.
    Writer,
    /// Of the file that the writer has open: makes none.
    Reader(Option<FileId>),
}

/// Which file it is that has a name: its device and inode. Another file that
/// takes the name has another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    /// The file that `path` names now; `None` if there is none.
    pub fn of(path: &Path) -> Option<Self> {
        let found = std::fs::metadata(path).ok()?;
        Some(Self {
            device: found.dev(),
            inode: found.ino(),
        })
    }
}

pub(crate) fn open(path: &Path, options: &Options, role: Role) -> Result<Connection> {
    check_version(rusqlite::version_number(), rusqlite::version())?;
    let since = Instant::now();
    loop {
        let opened = connect(path, options, role)
            .and_then(|conn| configure(&conn, path, options, role).map(|()| conn));
        // A reader that is opened later than the writer may find another file
        // under the name, or none: what it would read is not what is written.
        if let Role::Reader(writers) = role
            && FileId::of(path) != writers
        {
            return Err(Error::Moved { path: path.into() });
        }
        let error = match opened {
            Ok(conn) => return Ok(conn),
            Err(error) => error.classify_open(path, since.elapsed().as_millis()),
        };
        // While another process makes a new file SQLite answers at once,
        // without a word to the busy handler.
        if !matches!(error, Error::Busy { .. }) || since.elapsed() >= options.busy_timeout {
            return Err(error);
        }
        std::thread::sleep(OPEN_PAUSE);
    }
}

/// Between two tries to open a file that another process is making.
const OPEN_PAUSE: Duration = Duration::from_millis(2);

fn check_version(number: i32, text: &str) -> Result<()> {
    if number < OLDEST_SQLITE {
        return Err(Error::SqliteTooOld { found: text.into() });
    }
    Ok(())
}

fn connect(path: &Path, options: &Options, role: Role) -> Result<Connection> {
    // Without URI: a file named `file:x?mode=memory` is only a file.
    // NO_MUTEX: each connection is used by one thread at a time.
    let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    flags.set(OpenFlags::SQLITE_OPEN_CREATE, role == Role::Writer);
    let conn = match &options.vfs {
        None => Connection::open_with_flags(path, flags)?,
        Some(vfs) => Connection::open_with_flags_and_vfs(path, flags, vfs.as_str())?,
    };
    conn.set_prepared_statement_cache_capacity(STATEMENT_CACHE);
    Ok(conn)
}

fn configure(conn: &Connection, path: &Path, options: &Options, role: Role) -> Result<()> {
    let set = |name, value: i64| set_and_verify(conn, path, name, value);

    // First, so that the settings that take locks wait their turn too.
    set("busy_timeout", clamp(options.busy_timeout.as_millis()))?;
    let mode: String = match role {
        Role::Writer => {
            // Taken by an empty file only, and in silence: before it becomes WAL.
            // On another one `auto_vacuum` would write.
            let pages: i64 = conn.query_row("PRAGMA page_count", [], |row| row.get(0))?;
            if pages == 0 {
                conn.pragma_update(None, "page_size", options.page_bytes)?;
                if options.incremental_vacuum {
                    conn.pragma_update(None, "auto_vacuum", 2)?;
                }
            }
            conn.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?
        }
        // Writes nothing: a full disk is no reason not to read.
        Role::Reader(_) => conn.query_row("PRAGMA journal_mode", [], |row| row.get(0))?,
    };
    if mode != "wal" {
        return Err(Error::NoWal {
            path: path.into(),
            mode,
        });
    }
    set("synchronous", options.synchronous.level())?;
    set("foreign_keys", i64::from(options.foreign_keys))?;
    set(
        "journal_size_limit",
        clamp(options.journal_size_limit_bytes.into()),
    )?;
    // Negative: in KiB instead of pages.
    set("cache_size", -clamp((options.cache_bytes / 1024).into()))?;
    set("mmap_size", clamp(options.mmap_bytes.into()))?;
    // The pages a savepoint may have to put back are copied to memory, where
    // they otherwise spill to a file of their own.
    set("temp_store", 2)?;

    match role {
        Role::Writer => {
            BUSY_TIMEOUT.set(options.busy_timeout);
            conn.busy_handler(Some(wait_fairly))?;
            conn.authorizer(Some(guard_transaction))?;
            // A closure that goes on after SQLite rolled its transaction back
            // would commit statement by statement: refused, as true says.
            conn.commit_hook(Some(|| IN_CLOSURE.get()))?;
        }
        Role::Reader(_) => {
            set("query_only", 1)?;
            conn.authorizer(Some(guard_query_only))?;
        }
    }
    Ok(())
}

fn clamp(value: u128) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn set_and_verify(conn: &Connection, path: &Path, name: &'static str, value: i64) -> Result<()> {
    conn.pragma_update(None, name, value)?;
    // Some pragmas of a build without the feature answer with no row at all.
    let mut got = None;
    conn.pragma_query(None, name, |row| {
        got = Some(row.get::<_, i64>(0)?);
        Ok(())
    })?;
    if got == Some(value) {
        return Ok(());
    }
    Err(Error::Pragma {
        path: path.into(),
        name,
        wanted: value.to_string(),
        got: got.map_or_else(|| "nothing".into(), |got| got.to_string()),
    })
}

thread_local! {
    /// The writer's busy timeout: rusqlite's handler is a plain function.
    static BUSY_TIMEOUT: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    static BUSY_SINCE: Cell<Option<Instant>> = const { Cell::new(None) };
    /// True while a caller's closure runs on this thread's writer connection.
    static IN_CLOSURE: Cell<bool> = const { Cell::new(false) };
}

/// Waits a fixed, short time between tries. SQLite's own back-off grows to
/// 100 ms, so that the one who has waited longest asks least often.
fn wait_fairly(attempt: i32) -> bool {
    const PAUSE: Duration = Duration::from_micros(500);
    let now = Instant::now();
    if attempt == 0 {
        BUSY_SINCE.set(Some(now));
    }
    let waited = BUSY_SINCE.get().map_or(Duration::ZERO, |since| now - since);
    if waited >= BUSY_TIMEOUT.get() {
        return false;
    }
    std::thread::sleep(PAUSE);
    true
}

/// True if rows of the open transaction break a deferred foreign key.
#[allow(unsafe_code, reason = "rusqlite has no function for it")]
pub(crate) fn has_deferred_orphans(conn: &Connection) -> bool {
    let (mut now, mut highest) = (0, 0);
    // SAFETY: the handle is that of an open connection, which this thread
    // alone uses; both pointers outlive the call.
    let code = unsafe {
        rusqlite::ffi::sqlite3_db_status(
            conn.handle(),
            rusqlite::ffi::SQLITE_DBSTATUS_DEFERRED_FKS,
            &raw mut now,
            &raw mut highest,
            0,
        )
    };
    code == rusqlite::ffi::SQLITE_OK && now != 0
}

/// Runs a caller's closure with transaction control refused.
pub(crate) fn guarded<T>(run: impl FnOnce() -> T) -> T {
    IN_CLOSURE.set(true);
    let result = run();
    IN_CLOSURE.set(false);
    result
}

fn guard_transaction(context: AuthContext<'_>) -> Authorization {
    if !IN_CLOSURE.get() {
        return Authorization::Allow;
    }
    match context.action {
        AuthAction::Transaction { .. } => Authorization::Deny,
        AuthAction::Savepoint { savepoint_name, .. }
            if savepoint_name.eq_ignore_ascii_case(crate::batch::SAVEPOINT) =>
        {
            Authorization::Deny
        }
        _ => Authorization::Allow,
    }
}

fn guard_query_only(context: AuthContext<'_>) -> Authorization {
    match context.action {
        AuthAction::Pragma {
            pragma_name,
            pragma_value: Some(_),
        } if pragma_name.eq_ignore_ascii_case("query_only") => Authorization::Deny,
        _ => Authorization::Allow,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_sqlite_is_refused_by_name() {
        let error = check_version(3_040_001, "3.40.1").unwrap_err();
        assert!(error.to_string().starts_with("SQLite 3.40.1 is too old"));
        assert!(check_version(OLDEST_SQLITE, "3.51.3").is_ok());
    }

    #[test]
    fn a_setting_that_does_not_take_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let options = Options {
            // Over SQLITE_MAX_MMAP_SIZE: SQLite cuts it down in silence.
            mmap_bytes: 1 << 40,
            ..Options::default()
        };
        let error = open(&dir.path().join("a.sqlite3"), &options, Role::Writer).unwrap_err();
        assert!(
            matches!(
                error,
                Error::Pragma {
                    name: "mmap_size",
                    ..
                }
            ),
            "{error}"
        );
    }
}
