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
//! one rename and written anew. A snapshot that is damaged itself is not written over anything. A
//! database in WAL mode whose pages have another size now leaves that mode first, as SQLite
//! demands. Where SQLite cannot write the database for another reason,
//! the disk being full above all, nothing is changed and the error says what to run.
//!
//! Invariant: at any moment a database is what it was found as, or what its snapshot is, or, if it was
//! damaged, it is missing or empty and what it was found as is in `found/`. The snapshot itself is never touched.
//! As long as the journal is there, to do all of it once more leads to the same end.

use std::fs::OpenOptions;
use std::io::Read;
use std::ops::ControlFlow;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use monolite_sqlite_format::Header;
use monolite_sqlite_pages::Pages;
use monolite_volume::layout;
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, ErrorCode, OpenFlags};
use serde::Serialize;

use crate::earlier_copies::state_before;
use crate::error::{Error, Result};
use crate::host::{NoSnapshot, Taken};
use crate::journal::Journal;
use crate::other_writers::OtherWriter;
use crate::progress::DatabaseProgress;
use crate::snapshots::{self, FOUND, Keep, NEW};
use crate::volume::Volume;
use crate::write_check::WriteCheck;
use crate::{LOCK_WAIT_MAX, compare, files, open_files};
use monolite_platform::failpoint;

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
    /// Copies of what they were meanwhile, where the disk had room for that.
    pub found: Vec<PathBuf>,
    /// Databases that the migration had made, by their paths in the volume …
    pub made: Vec<String>,
    /// … and where they are now.
    pub set_aside: Vec<PathBuf>,
    /// The directory with all of that, and with the snapshots from before the migration.
    pub kept: PathBuf,
    /// Other processes that had a database open for writing while the migration ran: what they wrote
    /// is only in the copies.
    pub writers: Vec<OtherWriter>,
    /// That directory stays until somebody removes it, as another process may have written
    /// something that is nowhere else; else for a week.
    pub until_removed: bool,
}

/// What to do if the disk is too full for a copy of a state that is rolled back. If there is no copy
/// for another reason, nothing is rolled back.
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
        dir: dir.clone(),
        no_copy,
        done,
    };
    if !(is_alone && journal.alone) {
        work.keep_until_removed()?;
    }
    for database in &journal.databases {
        match state_before(&dir, database) {
            Some(state) => work.restore(&database.name, &state)?,
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
    failpoint::reached("guard.all-rolled-back");
    // An earlier try may have seen another process.
    work.done.until_removed |= snapshots::kept(&dir) == Some(Keep::UntilRemoved);
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
            return Err(failed("its snapshot is gone".into()));
        }
        let report = |progress| self.volume.host.report(progress);
        let progress = DatabaseProgress::new(&shown, &report);
        let mut is_there = file.metadata().is_ok_and(|file| file.len() > 0);
        if is_there && matches!(compare::is_same(&file, snapshot, &progress), Ok(true)) {
            return Ok(());
        }
        // Else its damage would be taken for the database's.
        if let Err(error) = read_all(&open_snapshot(snapshot)?, snapshot) {
            return Err(failed(format!("its snapshot cannot be used: {error}")));
        }
        let open = self.volume.stays_open(std::slice::from_ref(&file));
        if open.is_some() {
            self.keep_until_removed()?;
        }
        if is_there && let Err(error) = allow_page_size(&file, snapshot) {
            return Err(failed(error.to_string()));
        }
        let mut moved = None;
        let has_log = files::logs(&file).iter().any(|log| log.exists());
        if let (false, true, Some((_, by))) = (is_there, has_log, open) {
            return Err(failed(format!("its file is empty, and is open in {by}")));
        }
        if !is_there && has_log {
            // A log without its database, or of an empty one, would be replayed over the new one.
            moved = self.move_away_to_found(name)?;
        }
        for attempt in 1.. {
            let mut check = None;
            if is_there {
                check = Some(WriteCheck::begin(&file)).filter(|_| attempt < COPIES_MAX);
                match self.copy(name, &file, snapshot)? {
                    Copied::Yes => {}
                    Copied::No => check = None,
                    Copied::Unreadable => {
                        check = None;
                        moved = self.move_away_to_found(name)?;
                        is_there = false;
                    }
                }
                failpoint::reached("guard.found-kept");
            }
            let written = match is_there {
                true => Ok(()),
                false => {
                    let like = moved.clone().or_else(|| self.moved_before(name));
                    create(&file, snapshot, like.as_deref())
                }
            };
            match written.and_then(|()| write_back(&file, snapshot, check, &progress)) {
                Ok(()) => break,
                // That is in neither the copy nor the snapshot: one more copy.
                Err(error) if error.is_written() => self.keep_until_removed()?,
                Err(error) if error.is_damage() && is_there && !self.is_open(&file) => {
                    moved = self.move_away_to_found(name)?;
                    is_there = false;
                }
                Err(error) => {
                    let mut why = error.to_string();
                    match moved {
                        // Whoever has the new one open would go on with it.
                        Some(moved) if self.is_open(&file) => {
                            why += &format!("; what was there is in {}", moved.display());
                        }
                        // It is no worse than it was.
                        Some(moved) => {
                            let new = self.move_away(name, FOUND)?;
                            move_back(&moved, &file, &new)?;
                        }
                        None => {}
                    }
                    return Err(failed(why));
                }
            }
        }
        self.done.databases.push(shown);
        failpoint::reached("guard.rolled-back");
        Ok(())
    }

    fn is_open(&self, file: &Path) -> bool {
        open_files::is_open(file, self.volume.host.has_no_database_open())
    }

    /// Keeps a copy of what is there now.
    fn copy(&mut self, name: &Path, file: &Path, snapshot: &Path) -> Result<Copied> {
        let into = snapshots::unused_path(&self.dir.join(FOUND).join(name));
        let host = &self.volume.host;
        let error = match host.snapshot(file, &into) {
            Ok(Taken::File { path, .. }) => {
                self.done.found.push(path);
                return Ok(Copied::Yes);
            }
            Ok(Taken::Empty | Taken::NotADatabase) => return Ok(Copied::No),
            Err(_) if host.cancel().is_cancelled() => return Err(Error::Cancelled),
            Err(error) => error,
        };
        let is_full = matches!(error, NoSnapshot::DiskFull { .. });
        let (database, why) = (name.display().to_string(), error.why());
        if is_full && self.no_copy == NoCopy::Goes {
            self.volume.warn(format!(
                "{database}: no copy of its present state is kept: {why}"
            ));
            return Ok(Copied::No);
        }
        if !is_full && is_damaged(file) && !self.is_open(file) {
            return Ok(Copied::Unreadable);
        }
        Err(Error::NoCopy {
            database,
            why,
            snapshot: snapshot.into(),
        })
    }

    /// Moves a database that the migration made out of the way, if nobody has it open, whose it may
    /// be.
    fn set_aside(&mut self, name: &Path) -> Result<()> {
        let file = self.volume.file(name);
        let holds = |path: &Path| path.metadata().is_ok_and(|file| file.len() > 0);
        if !file.exists() || !(holds(&file) || holds(&files::with_suffix(&file, "-wal"))) {
            return Ok(());
        }
        if let Some((_, by)) = self.volume.stays_open(std::slice::from_ref(&file)) {
            self.volume.warn(format!(
                "{} was made while the migration ran, and is open in {by}: it stays where it is",
                name.display()
            ));
            return self.keep_until_removed();
        }
        if !is_database(&file) {
            return Ok(());
        }
        self.volume.sync(&file)?;
        let aside = self.move_away(name, NEW)?;
        failpoint::reached("guard.set-aside");
        self.done.made.push(name.display().to_string());
        self.done.set_aside.push(aside);
        Ok(())
    }

    /// Moves what is there away; answers with where the database is, if it was there.
    fn move_away_to_found(&mut self, name: &Path) -> Result<Option<PathBuf>> {
        let found = self.move_away(name, FOUND)?;
        failpoint::reached("guard.moved-away");
        let found = Some(found).filter(|found| found.exists());
        self.done.found.extend(found.clone());
        Ok(found)
    }

    /// Moves a database to the directory `kind` of the copies, or to a name like its own if it is on
    /// another mount, where no rename leads to the copies.
    fn move_away(&mut self, name: &Path, kind: &str) -> Result<PathBuf> {
        let file = self.volume.file(name);
        let target = self.away(name, kind);
        if !target.starts_with(&self.dir) {
            // The rule for copies does not reach it.
            self.keep_until_removed()?;
        }
        let target = snapshots::unused_path(&target);
        files::move_database(&file, &target)?;
        Ok(target)
    }

    /// Where [`move_away`](Self::move_away) moves a database first.
    fn away(&self, name: &Path, kind: &str) -> PathBuf {
        let file = self.volume.file(name);
        match files::is_same_mount(files::directory(&file), &self.volume.own_dir()) {
            true => self.dir.join(kind).join(name),
            false => {
                let stamp = self.dir.file_name().unwrap_or_default().to_string_lossy();
                files::with_suffix(&file, &format!(".{kind}-{stamp}"))
            }
        }
    }

    /// The database that an earlier try moved away before it died, if one did.
    fn moved_before(&self, name: &Path) -> Option<PathBuf> {
        let mut paths = snapshots::used_paths(&self.away(name, FOUND));
        // A copy is a directory.
        paths.retain(|path| path.is_file());
        paths.pop()
    }
}

/// Whether there is a copy of what is there now.
enum Copied {
    Yes,
    /// There is nothing to copy, or no room.
    No,
    /// SQLite cannot read it, as it is damaged; nobody has it open.
    Unreadable,
}

/// Moves a database back that was moved away. The file that was to replace it is at `new` by then,
/// with its log, which must not be replayed over another file. It stays there if anything is in it,
/// which somebody may have written.
fn move_back(moved: &Path, file: &Path, new: &Path) -> Result<()> {
    let holds = |path: &Path| path.metadata().is_ok_and(|file| file.len() > 0);
    if !holds(new) && !files::logs(new).iter().any(|log| holds(log)) {
        files::remove(new)?;
        for log in layout::companions(new) {
            files::remove(&log)?;
        }
    }
    files::move_database(moved, file)
}

/// Whether SQLite finds it damaged as soon as it reads the pages.
fn is_damaged(file: &Path) -> bool {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let read = Connection::open_with_flags(file, flags)
        .map_err(|error| Error::at("read", file, error))
        .and_then(|conn| read_all(&conn, file));
    read.is_err_and(|error| error.is_damage())
}

/// Reads all pages.
fn read_all(conn: &Connection, file: &Path) -> Result<()> {
    let read = Pages::begin(conn).and_then(|pages| {
        let _: ControlFlow<()> = pages.each(|_, _| ControlFlow::Continue(()))?;
        Ok(())
    });
    read.map_err(|error| Error::at("read", file, error))
}

/// Whether it is a database, damaged or not. SQLite opens it for that: where nobody else has it open,
/// closing it brings its log into the file, so that one file is the whole.
fn is_database(file: &Path) -> bool {
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
/// one that was `moved` away, else with those that its snapshot says.
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
    failpoint::reached("guard.written-back");
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
                failpoint::reached("guard.writing-back");
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_of_the_new_file_does_not_stay_with_the_old_one() {
        let log = |path: &Path| files::with_suffix(path, "-journal");
        for (written, is_kept) in [("", false), ("new", true)] {
            let dir = tempfile::tempdir().unwrap();
            let [file, moved, new] =
                ["app.db", "found.db", "found.db-2"].map(|name| dir.path().join(name));
            for (path, text) in [(&moved, "old"), (&new, written)] {
                std::fs::write(path, text).unwrap();
                std::fs::write(log(path), text).unwrap();
            }
            move_back(&moved, &file, &new).unwrap();
            for path in [&file, &log(&file)] {
                assert_eq!(std::fs::read(path).unwrap(), b"old");
            }
            for path in [&new, &log(&new)] {
                assert_eq!(path.exists(), is_kept);
            }
        }
    }
}
