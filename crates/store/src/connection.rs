//! Opens one SQLite connection with all settings, and verifies them.
//!
//! Every setting is read back: a pragma that did not take is an error, since
//! SQLite ignores an unknown or refused one silently.

use std::cell::Cell;
use std::os::unix::fs::MetadataExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::{Connection, OpenFlags};

use crate::{Error, Options, Result};

/// 3.51.3 fixed a race between WAL resets and checkpoints that lost commits.
const OLDEST_SQLITE: i32 = 3_051_003;

/// Name of the savepoint around each closure of a batch; closures may not use it.
pub(crate) const SAVEPOINT: &str = "_monolite_part";

/// Prepared statements kept by each connection.
const STATEMENT_CACHE: usize = 128;

/// What a connection is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// The first one: creates the file, if there is none.
    Writer,
    /// Of the file that the writer has open; creates none.
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
            .and_then(|mut conn| configure(&mut conn, path, options, role).map(|()| conn));
        // A reader opened later than the writer may find another file under the
        // name, or none: it would not read what is written.
        if let Role::Reader(writers) = role
            && FileId::of(path) != writers
        {
            return Err(Error::Moved { path: path.into() });
        }
        let error = match opened {
            Ok(conn) => return Ok(conn),
            Err(error) => error.classify_open(path, since.elapsed().as_millis()),
        };
        // While another process creates the file SQLite fails at once, without
        // calling the busy handler.
        if !matches!(error, Error::Busy { .. }) || since.elapsed() >= options.busy_timeout {
            return Err(error);
        }
        std::thread::sleep(OPEN_RETRY_EVERY);
    }
}

/// Pause between two tries to open a file that another process is creating.
const OPEN_RETRY_EVERY: Duration = Duration::from_millis(2);

fn check_version(number: i32, text: &str) -> Result<()> {
    if number < OLDEST_SQLITE {
        return Err(Error::SqliteTooOld { found: text.into() });
    }
    Ok(())
}

fn connect(path: &Path, options: &Options, role: Role) -> Result<Connection> {
    // Without URI: `file:x?mode=memory` is the name of a file.
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

fn configure(conn: &mut Connection, path: &Path, options: &Options, role: Role) -> Result<()> {
    let set = |conn: &Connection, name, value: i64| set_and_verify(conn, path, name, value);

    // First, so that the settings that take locks wait for them too.
    set(
        conn,
        "busy_timeout",
        clamp(options.busy_timeout.as_millis()),
    )?;
    let mode: String = match role {
        Role::Writer => {
            // They take effect on an empty file only, before it is in WAL mode. On
            // another file `auto_vacuum` would write.
            let pages: i64 = conn.query_row("PRAGMA page_count", [], |row| row.get(0))?;
            if pages == 0 {
                conn.pragma_update(None, "page_size", options.page_bytes)?;
                if options.incremental_vacuum {
                    conn.pragma_update(None, "auto_vacuum", 2)?;
                }
            }
            conn.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?
        }
        // Only read, so that it works on a full disk too.
        Role::Reader(_) => conn.query_row("PRAGMA journal_mode", [], |row| row.get(0))?,
    };
    if mode != "wal" {
        return Err(Error::NoWal {
            path: path.into(),
            mode,
        });
    }
    set(conn, "synchronous", options.synchronous.level())?;
    set(conn, "foreign_keys", i64::from(options.foreign_keys))?;
    set(
        conn,
        "journal_size_limit",
        clamp(options.journal_size_limit_bytes.into()),
    )?;
    // Negative: in KiB instead of pages.
    set(
        conn,
        "cache_size",
        -clamp((options.cache_bytes / 1024).into()),
    )?;
    set(conn, "mmap_size", clamp(options.mmap_bytes.into()))?;
    // The pages that a savepoint may restore are copied to memory instead of a
    // temporary file.
    set(conn, "temp_store", 2)?;

    match role {
        Role::Writer => {
            BUSY_TIMEOUT.set(options.busy_timeout);
            conn.busy_handler(Some(wait_fairly))?;
            conn.authorizer(Some(guard_transaction))?;
            // A closure that goes on after SQLite rolled its transaction back
            // would commit each statement: true refuses that.
            conn.commit_hook(Some(|| IN_CLOSURE.get()))?;
        }
        Role::Reader(_) => {
            set(conn, "query_only", 1)?;
            conn.authorizer(Some(guard_query_only))?;
        }
    }
    Ok(())
}

/// Copies the WAL into the database and empties it; false if a reader or another
/// process kept it from that for as long as `wait`.
pub(crate) fn checkpoint(
    path: &Path,
    file: Option<FileId>,
    options: &Options,
    wait: Duration,
) -> Result<bool> {
    let conn = &mut open(path, options, Role::Reader(file))?;
    // As the writer waits: SQLite's own pauses grow to 100 ms, and it would find
    // the write lock taken each time.
    let outer = BUSY_TIMEOUT.replace(wait);
    let done = conn.busy_handler(Some(wait_fairly)).and_then(|()| {
        conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| {
            row.get::<_, i64>(0)
        })
    });
    BUSY_TIMEOUT.set(outer);
    Ok(done? == 0)
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

/// Waits a fixed, short time between two tries to take a lock. With SQLite's own
/// handler the pauses grow to 100 ms, so that whoever has waited longest tries least
/// often. A busy handler also turns off SQLite's blocking locks, where it was compiled
/// with `SQLITE_ENABLE_SETLK_TIMEOUT`: the wait is the same in every build.
fn wait_fairly(attempt: i32) -> bool {
    const RETRY_EVERY: Duration = Duration::from_micros(500);
    let now = Instant::now();
    if attempt == 0 {
        BUSY_SINCE.set(Some(now));
    }
    let waited = BUSY_SINCE.get().map_or(Duration::ZERO, |since| now - since);
    if waited >= BUSY_TIMEOUT.get() {
        return false;
    }
    std::thread::sleep(RETRY_EVERY);
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

/// Runs a caller's closure; BEGIN, COMMIT and ROLLBACK are refused in it.
pub(crate) fn guarded<T>(run: impl FnOnce() -> T) -> T {
    IN_CLOSURE.set(true);
    let result = run();
    IN_CLOSURE.set(false);
    result
}

/// Runs a closure, turning a panic into an error.
pub(crate) fn run_caught<T>(
    closure: impl FnOnce(&Connection) -> Result<T>,
    conn: &Connection,
) -> Result<T> {
    // Unwind safety: the caller of this function rolls back whatever the closure
    // leaves half-done in the database.
    catch_unwind(AssertUnwindSafe(|| closure(conn))).unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<&str>()
            .map(ToString::to_string)
            .or_else(|| panic.downcast_ref::<String>().cloned());
        Err(Error::Panicked(text.unwrap_or_else(|| "no message".into())))
    })
}

fn guard_transaction(context: AuthContext<'_>) -> Authorization {
    if !IN_CLOSURE.get() {
        return Authorization::Allow;
    }
    match context.action {
        AuthAction::Transaction { .. } => Authorization::Deny,
        AuthAction::Savepoint { savepoint_name, .. }
            if savepoint_name.eq_ignore_ascii_case(SAVEPOINT) =>
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
        // Over SQLITE_MAX_MMAP_SIZE: SQLite reduces it silently.
        let options = Options::new().mmap_bytes(1 << 40);
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
