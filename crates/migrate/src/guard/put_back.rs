//! Makes a live database what its snapshot is.
//!
//! Through SQLite's backup, as one transaction: whoever has the database open
//! sees the state before it or after it, and a follower of the log finds it
//! there. If SQLite cannot do that with the file as it is (damage, another page
//! size, no room for a log), the file is exchanged instead: what is there is
//! moved aside first, its log before all else, so that no log is ever replayed
//! over another file. A death in the middle of that is seen by a log that lies
//! aside without its database, and the next one goes on with it.
//!
//! Invariant: `live` is what it was, or what the snapshot is, or it is not there
//! and what it was is whole in `aside` once all of it is moved. The snapshot
//! itself is given up only by becoming `live`.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use monolite_sqlite_format::Header;
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use super::error::{Error, Result};
use super::news::Tell;
use super::watch::Watch;
use super::{compare, files, parted, watch};
use crate::steps;

/// How long a writer is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(5);
/// What a file is called that is not whole yet.
const UNFINISHED: &str = ".put-back";
/// Pages copied at once.
const PAGES: i32 = 256;

/// Whether the file may be exchanged. That is for one that nobody else has
/// open, who would go on with the other file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exchange {
    Never,
    /// If SQLite cannot write it.
    IfNeeded,
    /// In any case: so it is kept itself, where there is no room for a copy.
    Always,
}

/// Where a snapshot is once it is put back.
enum Snapshot {
    InItsPlace,
    /// It is the database now.
    Moved,
}

/// Makes `live` what the file `snapshot` is. `aside` is a place for a database
/// that has to be exchanged. What was written since `watch` began stays, and is
/// an error ([`watch::is_written`]).
pub(super) fn put_back(
    live: &Path,
    snapshot: &Path,
    aside: &Path,
    exchanging: Exchange,
    watch: Option<Watch>,
    tell: &Tell<'_>,
) -> Result<()> {
    // Of an earlier try that died.
    files::remove(&files::beside(live, UNFINISHED))?;
    let is_there = live.metadata().is_ok_and(|file| file.len() > 0);
    let written = match is_there && exchanging != Exchange::Always {
        true => through_sqlite(live, snapshot, watch, tell).map(|()| Snapshot::InItsPlace),
        false => exchange(live, snapshot, aside),
    };
    let written = match written {
        // Nothing was committed. A lock is not a reason to exchange the file
        // under who holds it.
        Err(error) if is_there && exchanging == Exchange::IfNeeded && !is_busy(&error) => {
            exchange(live, snapshot, aside)?
        }
        other => other?,
    };
    steps::reached("guard.written-back");
    if let Snapshot::Moved = written {
        // It is the very file that was the snapshot.
        return Ok(());
    }
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
        return watch::is_written(error);
    };
    matches!(
        source.sqlite_error_code(),
        Some(Code::DatabaseBusy | Code::DatabaseLocked)
    )
}

fn through_sqlite(
    live: &Path,
    snapshot: &Path,
    mut watch: Option<Watch>,
    tell: &Tell<'_>,
) -> Result<()> {
    let of = |error| Error::at("read", snapshot, error);
    let at = |error| Error::at("write", live, error);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_URI
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let from = Connection::open_with_flags(files::immutable(snapshot), flags).map_err(of)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut to = Connection::open_with_flags(live, flags).map_err(at)?;
    // On disk when it is done, also in WAL mode; and with it that the journal
    // is gone, which would else take it back.
    to.execute_batch("PRAGMA synchronous = EXTRA; PRAGMA wal_autocheckpoint = 0")
        .map_err(at)?;
    let was_wal = is_wal(snapshot).map_err(|error| Error::file("read", snapshot, error))?;
    tell.step("putting back", None);
    let backup = Backup::new(&from, &mut to).map_err(at)?;
    let since = Instant::now();
    let mut told = 0;
    loop {
        // The first takes the lock, and writes nothing.
        let pages = match watch {
            Some(_) => 0,
            None => PAGES,
        };
        match backup.step(pages).map_err(at)? {
            StepResult::Done => break,
            StepResult::More if watch.is_some() => {
                watch.take().map_or(Ok(()), Watch::ends_well)?;
            }
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

fn is_wal(snapshot: &Path) -> io::Result<bool> {
    let mut header = [0; Header::SIZE];
    std::fs::File::open(snapshot)?.read_exact(&mut header)?;
    Ok(Header::parse(&header).is_some_and(|header| header.is_wal))
}

fn exchange(live: &Path, snapshot: &Path, aside: &Path) -> Result<Snapshot> {
    files::move_database(live, aside)?;
    steps::reached("guard.moved-aside");
    let temporary = files::beside(live, UNFINISHED);
    // Whose it was, it stays.
    let like = match aside.exists() {
        true => aside,
        false => files::directory(live),
    };
    let placed = match copy(snapshot, &temporary, aside) {
        Ok(()) => {
            files::own_as(&temporary, like);
            rename(&temporary, live)?;
            Snapshot::InItsPlace
        }
        // There is no room for a second one: then the first one it is.
        Err(error) if error.is_full() => {
            let _ = files::remove(&temporary);
            if let Ok(metadata) = aside.metadata() {
                let _ = std::fs::set_permissions(snapshot, metadata.permissions());
            }
            files::own_as(snapshot, like);
            sync(snapshot)?;
            let is_movable =
                files::is_same_mount(files::directory(snapshot), files::directory(live));
            if !is_movable && aside.exists() {
                // It is no worse than it was.
                parted::bring_back(aside, live)?;
                return Err(error);
            }
            rename(snapshot, live)?;
            Snapshot::Moved
        }
        Err(error) => return Err(error),
    };
    Ok(placed)
}

fn sync(file: &Path) -> Result<()> {
    let synced = std::fs::File::open(file).and_then(|file| file.sync_all());
    synced.map_err(|error| Error::file("sync", file, error))
}

fn rename(from: &Path, to: &Path) -> Result<()> {
    std::fs::rename(from, to).map_err(|error| Error::file("put back", to, error))?;
    steps::reached("guard.exchanged");
    files::sync(files::directory(to))
}

/// With the permissions of what was there, if it was.
fn copy(from: &Path, to: &Path, like: &Path) -> Result<()> {
    let copied = || {
        let mut source = std::fs::File::open(from)?;
        let like = like.metadata().or_else(|_| source.metadata())?;
        let mode = like.permissions().mode() & 0o666;
        let mut options = OpenOptions::new();
        let mut file = (options.write(true).create(true).truncate(true))
            .mode(mode)
            .open(to)?;
        file.set_permissions(std::fs::Permissions::from_mode(mode))?;
        io::copy(&mut source, &mut file)?;
        file.sync_all()
    };
    copied().map_err(|error| Error::file("write", to, error))
}
