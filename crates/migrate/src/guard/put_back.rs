//! Makes a live database what its snapshot is.
//!
//! Through SQLite's backup, as one transaction: whoever has the database open
//! sees the state before it or after it, and a follower of the log finds it
//! there. If SQLite cannot do that with the file as it is (damage, another page
//! size, no room for a log), the file is exchanged instead: what is there is
//! moved aside first, its log before all else, so that no log is ever replayed
//! over another file.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use super::error::{Error, Result};
use super::news::Tell;
use super::{compare, files};
use crate::steps;

/// How long a writer is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(5);
/// What a file is called that is not whole yet.
const UNFINISHED: &str = ".put-back";
/// Pages copied at once.
const PAGES: i32 = 256;

/// Makes `live` what the file `snapshot` is. `aside` is a place for a database
/// that has to be exchanged: that is for one that nobody else has open, who
/// would go on with the other file.
pub(super) fn put_back(
    live: &Path,
    snapshot: &Path,
    aside: &Path,
    may_exchange: bool,
    tell: &Tell<'_>,
) -> Result<()> {
    // Of an earlier try that died.
    files::remove(&files::beside(live, UNFINISHED))?;
    let is_there = live.metadata().is_ok_and(|file| file.len() > 0);
    let written = match is_there {
        true => through_sqlite(live, snapshot, tell),
        false => exchange(live, snapshot, aside),
    };
    match written {
        Ok(()) => {}
        // Nothing was committed. A lock is not a reason to exchange the file
        // under who holds it.
        Err(error) if is_there && may_exchange && !is_busy(&error) => {
            exchange(live, snapshot, aside)?;
        }
        Err(error) => return Err(error),
    }
    steps::reached("guard.written-back");
    match compare::is_same(live, snapshot, tell) {
        Ok(true) => Ok(()),
        Ok(false) => Err(Error::file(
            "verify",
            live,
            io::Error::other("it is not what its snapshot is"),
        )),
        Err(error) => Err(error),
    }
}

fn is_busy(error: &Error) -> bool {
    use rusqlite::ErrorCode as Code;
    let Error::Sqlite { source, .. } = error else {
        return false;
    };
    matches!(
        source.sqlite_error_code(),
        Some(Code::DatabaseBusy | Code::DatabaseLocked)
    )
}

fn through_sqlite(live: &Path, snapshot: &Path, tell: &Tell<'_>) -> Result<()> {
    let of = |error| Error::at("read", snapshot, error);
    let at = |error| Error::at("write", live, error);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_URI
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let from = Connection::open_with_flags(files::immutable(snapshot), flags).map_err(of)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut to = Connection::open_with_flags(live, flags).map_err(at)?;
    // On disk when it is done, also in WAL mode.
    to.execute_batch("PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0")
        .map_err(at)?;
    let was_wal = is_wal(&from).map_err(of)?;
    tell.step("putting back", None);
    let backup = Backup::new(&from, &mut to).map_err(at)?;
    let since = Instant::now();
    let mut told = 0;
    loop {
        match backup.step(PAGES).map_err(at)? {
            StepResult::Done => break,
            StepResult::More => {
                let progress = backup.progress();
                let total = u64::try_from(progress.pagecount).unwrap_or(0);
                let done = total - u64::try_from(progress.remaining).unwrap_or(0).min(total);
                if told == 0 {
                    tell.step("putting back", Some(total * 4096));
                }
                tell.advance(done.saturating_sub(told) * 4096);
                told = done;
                steps::reached("guard.writing-back");
            }
            _ if since.elapsed() < PATIENCE => std::thread::sleep(PAUSE),
            _ => {
                let busy = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY);
                let said = Some("another process writes it all the time".into());
                return Err(at(rusqlite::Error::SqliteFailure(busy, said)));
            }
        }
    }
    drop(backup);
    if was_wal {
        // The log would stay as long as the database is; whoever reads keeps
        // it from being cut, and then it is cut later.
        let _ = to.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    } else {
        // If nobody else has it open.
        let _ = to.query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(()));
    }
    Ok(())
}

fn is_wal(conn: &Connection) -> rusqlite::Result<bool> {
    let data: Vec<u8> = conn.query_row(
        "SELECT data FROM sqlite_dbpage('main') WHERE pgno = 1",
        [],
        |row| row.get(0),
    )?;
    Ok(data.get(18) == Some(&2))
}

fn exchange(live: &Path, snapshot: &Path, aside: &Path) -> Result<()> {
    files::move_database(live, aside)?;
    steps::reached("guard.moved-aside");
    let temporary = files::beside(live, UNFINISHED);
    match copy(snapshot, &temporary) {
        Ok(()) => {}
        // There is no room for a second one: then the first one it is.
        Err(error) if error.is_full() => {
            let _ = files::remove(&temporary);
            return rename(snapshot, live);
        }
        Err(error) => return Err(error),
    }
    rename(&temporary, live)
}

fn rename(from: &Path, to: &Path) -> Result<()> {
    std::fs::rename(from, to).map_err(|error| Error::file("put back", to, error))?;
    files::sync(files::directory(to))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let copied = || {
        let mut source = std::fs::File::open(from)?;
        let mode = source.metadata()?.permissions().mode() & 0o666;
        let mut options = OpenOptions::new();
        let mut file = (options.write(true).create(true).truncate(true))
            .mode(mode)
            .open(to)?;
        io::copy(&mut source, &mut file)?;
        file.sync_all()
    };
    copied().map_err(|error| Error::file("write", to, error))
}
