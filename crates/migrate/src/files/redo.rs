//! The last `up` undone, from a copy that was taken before it.
//!
//! Migrations go forward only, so that what undoes one is the database as it
//! was. The copy is taken by whoever asks for it before [`up`](super::up()); it
//! is put back by SQLite itself in one transaction, so that a process that dies
//! leaves the one or the other, and other connections see the change.

use std::path::Path;
use std::time::{Duration, Instant};

use monolite_platform::failpoint::reached;
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use super::error::{Error, Result};
use super::record::{Applied, applied};

/// What is not applied any more.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Undone {
    /// The records, by number.
    pub files: Vec<Applied>,
}

/// What [`undo`] would undo.
///
/// # Errors
/// [`Error::NotTheCopy`]: the copy is not of this database before its last
/// migrations.
pub fn would_undo(live: &Connection, copy: &Path) -> Result<Undone> {
    let from = open(copy)?;
    let (now, then) = (applied(live)?, applied(&from)?);
    let refuse = |why: &str| {
        Err(Error::NotTheCopy {
            copy: copy.into(),
            why: why.into(),
        })
    };
    if !now.starts_with(&then) {
        return refuse("it was not taken from this database: other migrations are recorded in it");
    }
    match now.get(then.len()..) {
        Some(files) if !files.is_empty() => Ok(Undone {
            files: files.to_vec(),
        }),
        _ => refuse("no migration was applied since it was taken"),
    }
}

/// Puts the copy back over the database: rows that were written since it was
/// taken are gone with it.
///
/// # Errors
/// As [`would_undo`]; another process keeps the database locked.
pub fn undo(live: &mut Connection, copy: &Path, patience: Duration) -> Result<Undone> {
    if !live.is_autocommit() {
        return Err(Error::InTransaction);
    }
    let undone = would_undo(live, copy)?;
    let from = open(copy)?;
    let restoring = Error::sqlite("put the copy back");
    reached("redo.restoring");
    let backup = Backup::new(&from, live).map_err(&restoring)?;
    let since = Instant::now();
    loop {
        match backup.step(-1).map_err(&restoring)? {
            StepResult::Done => break,
            _ if since.elapsed() < patience => std::thread::sleep(PAUSE),
            _ => {
                return Err(Error::NotTheCopy {
                    copy: copy.into(),
                    why: format!(
                        "it cannot be put back while another process uses the database, which it did for {} ms; stop it",
                        since.elapsed().as_millis()
                    ),
                });
            }
        }
    }
    drop(backup);
    reached("redo.restored");
    Ok(undone)
}

/// Between two tries to get the database alone.
const PAUSE: Duration = Duration::from_millis(10);

fn open(copy: &Path) -> Result<Connection> {
    // One that could only read would leave a WAL's files beside it.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(copy, flags).map_err(Error::sqlite("open the copy"))
}
