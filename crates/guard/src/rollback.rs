//! Makes the databases again what they were before a migration.
//!
//! ```text
//! each database: a copy of what it is now → its snapshot is written over it
//! each database made since → moved away
//! ```
//!
//! A snapshot is written over its database by SQLite's backup, as one transaction: whoever has the
//! database open sees the state before or after it, and a follower of the log finds it there. If
//! the file is damaged so that SQLite cannot write it, and nobody has it open, it is moved away by
//! one rename and written anew. A database in WAL mode whose pages have another size now leaves
//! that mode first, as SQLite demands. Where SQLite cannot write the database for another reason,
//! the disk being full above all, nothing is changed and the error says what to run.
//!
//! Invariant: at any moment a database is what it was found as, or what its snapshot is, or, if it was
//! damaged, it is missing or empty and what it was found as is in `found/`. The snapshot itself is never touched.
//! As long as the journal is there, to do all of it once more leads to the same end.

use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use monolite_sqlite_format::Header;
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, ErrorCode, OpenFlags};
use serde::Serialize;

use crate::error::{Error, Result};
use crate::host::Taken;
use crate::journal::Journal;
use crate::progress::DatabaseProgress;
use crate::snapshots::{self, FOUND, Keep, NEW};
use crate::volume::Volume;
use crate::write_check::WriteCheck;
use crate::{LOCK_WAIT_MAX, compare, files, open_files, steps};

/// Copies that are taken of a database to which others write all the time. The last may lack what
/// they wrote in its last moments.
const COPIES_MAX: usize = 5;
/// Pause between two tries to get SQLite's lock.
const LOCK_PAUSE: Duration = Duration::from_millis(5);
/// Pages written between two reports of progress.
const PAGES_AT_ONCE: i32 = 256;

/// What was rolled back, and what is kept of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Rollback {
    /// The command of the migration.
    pub command: String,
    /// Nothing was rolled back: as was asked, or since other processes were at work on the
    /// databases.
    pub is_left: bool,
    /// Databases that were not what they had been before the migration, and are again.
    pub databases: Vec<String>,
    /// Copies of what they were meanwhile, where there was room for that.
    pub found: Vec<PathBuf>,
    /// Databases that the migration had made, by their paths in the volume …
    pub made: Vec<String>,
    /// … and where they are now.
    pub set_aside: Vec<PathBuf>,
    /// The directory with all of that, and with the snapshots from before the migration.
    pub kept: PathBuf,
    /// That directory stays until somebody removes it, as another process may have written
    /// something that is nowhere else; else for a week.
    pub until_removed: bool,
}

/// What to do if there is no room for a copy of a state that is rolled back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoCopy {
    /// Warn, and go on.
    Goes,
    /// Roll nothing back.
    Stops,
}

/// Makes every database what it was. `is_alone`: no other process has one open now.
pub(crate) fn roll_back(
    volume: &Volume,
    journal: &Journal,
    no_copy: NoCopy,
    is_alone: bool,
) -> Result<Rollback> {
    let dir = journal.copies(volume);
    let done = Rollback {
        command: journal.command.clone(),
        kept: dir.clone(),
        ..Rollback::default()
    };
    let mut work = Work {
        volume,
        dir,
        no_copy,
        done,
    };
    if !(is_alone && journal.alone) {
        work.keep_until_removed()?;
    }
    for database in &journal.databases {
        match &database.snapshot {
            Some(snapshot) => work.restore(&database.name, &work.dir.join(snapshot))?,
            // It was empty: what is in it now is new.
            None => work.set_aside(&database.name)?,
        }
    }
    for name in volume.names() {
        match (journal.knows(&name), journal.is_new(&name)) {
            (true, _) => {}
            (false, true) => work.set_aside(&name)?,
            (false, false) => volume.warn_unguarded(&name),
        }
    }
    steps::reached("guard.all-rolled-back");
    Ok(work.done)
}

struct Work<'w> {
    volume: &'w Volume,
    /// Where the copies are.
    dir: PathBuf,
    no_copy: NoCopy,
    done: Rollback,
}

impl Work<'_> {
    /// Before anything is kept that another process may have written.
    fn keep_until_removed(&mut self) -> Result<()> {
        self.done.until_removed = true;
        snapshots::keep(&self.dir, Keep::UntilRemoved)
    }

    /// Makes one database what its snapshot is.
    fn restore(&mut self, name: &Path, snapshot: &Path) -> Result<()> {
        let shown = name.display().to_string();
        let file = self.volume.file(name);
        let failed = |why: String| Error::Rollback {
            database: shown.clone(),
            why,
            file: file.clone(),
            snapshot: snapshot.into(),
        };
        if !snapshot.exists() {
            return Err(failed("the snapshot is gone".into()));
        }
        let report = |progress| self.volume.host.report(progress);
        let progress = DatabaseProgress::new(&shown, &report);
        let mut is_there = file.metadata().is_ok_and(|file| file.len() > 0);
        if is_there && matches!(compare::is_same(&file, snapshot, &progress), Ok(true)) {
            return Ok(());
        }
        if self
            .volume
            .stays_open(std::slice::from_ref(&file))
            .is_some()
        {
            self.keep_until_removed()?;
        }
        if is_there && let Err(error) = allow_page_size(&file, snapshot) {
            return Err(failed(error.to_string()));
        }
        let mut moved = None;
        for attempt in 1.. {
            let mut check = None;
            if is_there {
                check = Some(WriteCheck::begin(&file)).filter(|_| attempt < COPIES_MAX);
                if !self.copy(name, &file, snapshot)? {
                    check = None;
                }
                steps::reached("guard.found-kept");
            }
            let written = match is_there {
                true => Ok(()),
                false => create(&file, snapshot, moved.as_deref()),
            };
            match written.and_then(|()| write_back(&file, snapshot, check, &progress)) {
                Ok(()) => break,
                // That is in neither the copy nor the snapshot: one more copy.
                Err(error) if error.is_written() => self.keep_until_removed()?,
                Err(error) if error.is_damage() && is_there && !self.is_open(&file) => {
                    let found = self.move_away(name, FOUND)?;
                    self.done.found.push(found.clone());
                    moved = Some(found);
                    steps::reached("guard.moved-away");
                    is_there = false;
                }
                Err(error) => {
                    // It is no worse than it was.
                    if let Some(moved) = moved {
                        files::move_database(&moved, &file)?;
                    }
                    return Err(failed(error.to_string()));
                }
            }
        }
        self.done.databases.push(shown);
        steps::reached("guard.rolled-back");
        Ok(())
    }

    fn is_open(&self, file: &Path) -> bool {
        open_files::is_open(file, self.volume.host.has_no_database_open())
    }

    /// Keeps a copy of what is there now; false if SQLite reads nothing in it.
    fn copy(&mut self, name: &Path, file: &Path, snapshot: &Path) -> Result<bool> {
        let into = snapshots::unused_path(&self.dir.join(FOUND).join(name));
        let database = || name.display().to_string();
        match self.volume.host.snapshot(file, &into) {
            Ok(Taken::File { path, .. }) => {
                self.done.found.push(path);
                Ok(true)
            }
            Ok(Taken::Empty | Taken::NotADatabase) => Ok(false),
            Err(error) if self.no_copy == NoCopy::Stops => Err(Error::NoCopy {
                database: database(),
                why: error.why(),
                snapshot: snapshot.into(),
            }),
            Err(error) => {
                let why = error.why();
                self.volume.warn(format!(
                    "{}: no copy of its present state is kept: {why}",
                    database()
                ));
                Ok(false)
            }
        }
    }

    /// Moves a database that the migration made out of the way, if nobody has it open, whose it may
    /// be.
    fn set_aside(&mut self, name: &Path) -> Result<()> {
        let file = self.volume.file(name);
        let holds = |path: &Path| path.metadata().is_ok_and(|file| file.len() > 0);
        if !file.exists() || !(holds(&file) || holds(&files::beside(&file, "-wal"))) {
            return Ok(());
        }
        if let Some((_, by)) = self.volume.stays_open(std::slice::from_ref(&file)) {
            self.volume.warn(format!(
                "{} was made while the migration ran, and is open in {by}: it stays where it is",
                name.display()
            ));
            return self.keep_until_removed();
        }
        // Whoever closes it last brings its log into it, so that one file is the whole.
        if !close_cleanly(&file) {
            return Ok(());
        }
        self.volume.sync(&file)?;
        let aside = self.move_away(name, NEW)?;
        steps::reached("guard.set-aside");
        self.done.made.push(name.display().to_string());
        self.done.set_aside.push(aside);
        Ok(())
    }

    /// Moves a database to the directory `kind` of the copies, or to a name beside its own if it is
    /// on another mount, where no rename leads to the copies.
    fn move_away(&mut self, name: &Path, kind: &str) -> Result<PathBuf> {
        let file = self.volume.file(name);
        let is_near = files::is_same_mount(files::directory(&file), &self.volume.own_dir());
        let target = match is_near {
            true => self.dir.join(kind).join(name),
            false => {
                // The rule for copies does not reach it.
                self.keep_until_removed()?;
                let stamp = self.dir.file_name().unwrap_or_default().to_string_lossy();
                files::beside(&file, &format!(".{kind}-{stamp}"))
            }
        };
        let target = snapshots::unused_path(&target);
        files::move_database(&file, &target)?;
        Ok(target)
    }
}

/// Has SQLite open and close a database that nobody else has open; false if it is none.
fn close_cleanly(file: &Path) -> bool {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let read = Connection::open_with_flags(file, flags)
        .and_then(|conn| conn.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(())));
    match read {
        Ok(()) => true,
        Err(error) => error.sqlite_error_code() == Some(ErrorCode::DatabaseCorrupt),
    }
}

/// SQLite's backup does not change the size of the pages of a database in WAL mode.
fn allow_page_size(file: &Path, snapshot: &Path) -> Result<()> {
    let at = |error| Error::at("read", file, error);
    let page_size = |conn: &Connection| -> rusqlite::Result<u32> {
        conn.pragma_query_value(None, "page_size", |row| row.get(0))
    };
    let wanted = page_size(&open_snapshot(snapshot)?);
    let wanted = wanted.map_err(|error| Error::at("read", snapshot, error))?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(file, flags).map_err(at)?;
    // Of a file that is damaged nothing is known; it is written anew.
    let is = page_size(&conn).unwrap_or(wanted);
    let mode = conn.pragma_query_value(None, "journal_mode", |row| row.get::<_, String>(0));
    if is == wanted || !matches!(mode.as_deref(), Ok("wal")) {
        return Ok(());
    }
    conn.busy_timeout(LOCK_WAIT_MAX).map_err(at)?;
    let set = conn.query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(()));
    set.map_err(|error| Error::at("change the page size of", file, error))
}

/// Makes an empty file for a database that is missing, with the owner and the permissions of the
/// one that was moved away, else with those that its snapshot says.
fn create(file: &Path, snapshot: &Path, moved: Option<&Path>) -> Result<()> {
    let like = moved.unwrap_or(snapshot);
    let made = || {
        let mode = like.metadata()?.permissions().mode() & 0o666;
        let mut options = OpenOptions::new();
        let options = options.write(true).create(true).truncate(false);
        let made = options.mode(mode).open(file)?;
        made.set_permissions(std::fs::Permissions::from_mode(mode))
    };
    made().map_err(|error| Error::file("write", file, error))?;
    files::own_as(file, moved.unwrap_or(files::directory(file)));
    files::sync(files::directory(file))
}

/// Writes a snapshot over its database, unless somebody has written since `check` began:
/// [`Error::is_written`].
fn write_back(
    file: &Path,
    snapshot: &Path,
    check: Option<WriteCheck>,
    progress: &DatabaseProgress<'_>,
) -> Result<()> {
    write_over(file, snapshot, check, progress)?;
    steps::reached("guard.written-back");
    match compare::is_same(file, snapshot, progress)? {
        true => Ok(()),
        false => {
            let why = std::io::Error::other("it is not what its snapshot is");
            Err(Error::file("verify", file, why))
        }
    }
}

fn open_snapshot(snapshot: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_URI
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(files::immutable(snapshot), flags)
        .map_err(|error| Error::at("read", snapshot, error))
}

fn write_over(
    file: &Path,
    snapshot: &Path,
    mut check: Option<WriteCheck>,
    progress: &DatabaseProgress<'_>,
) -> Result<()> {
    let at = |error| Error::at("write", file, error);
    let from = open_snapshot(snapshot)?;
    let number = |name: &str| -> Result<u64> {
        let number = from.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        let number = number.map_err(|error| Error::at("read", snapshot, error))?;
        Ok(number.unsigned_abs())
    };
    let page_size = number("page_size")?;
    let was_wal = is_wal(snapshot).map_err(|error| Error::file("read", snapshot, error))?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut to = Connection::open_with_flags(file, flags).map_err(at)?;
    // When it is done it is on the disk, also in WAL mode, and the journal that would take it back
    // is gone from the disk, too.
    to.execute_batch("PRAGMA synchronous = EXTRA; PRAGMA wal_autocheckpoint = 0")
        .map_err(at)?;
    progress.step("putting back", Some(number("page_count")? * page_size));
    let backup = Backup::new(&from, &mut to).map_err(at)?;
    let since = Instant::now();
    let mut reported = 0;
    loop {
        // The first step takes the lock, and writes nothing.
        let pages = match check {
            Some(_) => 0,
            None => PAGES_AT_ONCE,
        };
        match backup.step(pages).map_err(at)? {
            StepResult::Done => break,
            StepResult::More if check.is_some() => {
                check.take().map_or(Ok(()), WriteCheck::end)?;
            }
            StepResult::More => {
                let state = backup.progress();
                let done = state.pagecount.saturating_sub(state.remaining);
                let done = u64::try_from(done).unwrap_or(0) * page_size;
                progress.advance(done.saturating_sub(reported));
                reported = done;
                steps::reached("guard.writing-back");
            }
            _ if since.elapsed() < LOCK_WAIT_MAX => std::thread::sleep(LOCK_PAUSE),
            _ => {
                let busy = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY);
                let why = Some("another process writes it all the time".into());
                return Err(at(rusqlite::Error::SqliteFailure(busy, why)));
            }
        }
    }
    drop(backup);
    if was_wal {
        // Else the log would stay as long as the database is. While somebody reads it cannot be
        // cut, and is cut later.
        let _ = to.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    } else {
        // If nobody else has it open.
        let _ = to.query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(()));
    }
    Ok(())
}

fn is_wal(snapshot: &Path) -> std::io::Result<bool> {
    let mut header = [0; Header::SIZE];
    std::fs::File::open(snapshot)?.read_exact(&mut header)?;
    Ok(Header::parse(&header).is_some_and(|header| header.is_wal))
}
