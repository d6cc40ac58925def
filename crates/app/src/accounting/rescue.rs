//! What an app committed to files that have no name any more, put back or kept.
//!
//! The app has ended. A log without a name is put next to a copy of the database, where SQLite itself
//! replays it; the copy is checked, and then written over the database in one transaction. Where
//! somebody else has committed to a new log meanwhile there are two histories, and no program can
//! say which one is meant: the database stays as its name says, and the app's is kept as a file.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use monolite_platform::durable::{self, IfExists};
use monolite_platform::process::{self, Access};
use monolite_sqlite_format::{shm_path, wal, wal_path};
use monolite_volume::layout;
use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};

use super::held::{Held, checkpoint, connect};

/// How long a lock is waited for.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(30);
const LOCK_PAUSE: Duration = Duration::from_millis(5);
/// How long other connections of this process are waited for, to let go of files without a name.
const LET_GO_TIME_MAX: Duration = Duration::from_secs(10);
const LET_GO_PAUSE: Duration = Duration::from_millis(20);
/// Bytes of a log's header.
const LOG_HEADER: u64 = 32;
/// The copy in a directory of `rescued/`.
const COPY: &str = "database";

/// What became of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Rescued {
    /// Nothing was committed there.
    Nothing,
    /// It is in the database.
    Restored {
        /// Transactions in the log, those that were in the database before included.
        commits: u64,
    },
    /// The database is as its name says; what the app had is here.
    Kept(PathBuf),
}

/// Why something could not be rescued.
#[derive(Debug, thiserror::Error)]
pub(super) enum RescueError {
    #[error("{0}")]
    Sqlite(#[from] rusqlite::Error),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the copy is damaged: {0}")]
    Damaged(String),
    #[error("this process still has its old -wal or -shm open")]
    NotLetGo,
    #[error("it is locked by another process")]
    Locked,
}

/// What is committed to a log that has no name any more. `held` is the database with that log, if it
/// was open in time; `dir` is where copies are kept.
pub(super) fn log(
    database: &Path,
    mut log: &File,
    held: Option<Held>,
    dir: &Path,
) -> Result<Rescued, RescueError> {
    let commits = commits(log)?;
    if commits == 0 {
        return Ok(Rescued::Nothing);
    }
    durable::make_directories(dir, 0o700)?;
    let copy = dir.join(COPY);
    let others_wrote = wal_path(database)
        .metadata()
        .is_ok_and(|of| of.len() > LOG_HEADER);
    if let Some(held) = held
        && others_wrote
    {
        copy_database(&held.conn, &copy)?;
        return Ok(Rescued::Kept(copy));
    }
    // First of all it is on the disk.
    let mut kept = File::create(wal_path(&copy))?;
    log.seek(SeekFrom::Start(0))?;
    io::copy(&mut log, &mut kept)?;
    kept.flush()?;
    kept.sync_all()?;
    durable::sync_directory(dir)?;
    if others_wrote {
        return Ok(Rescued::Kept(wal_path(&copy)));
    }
    // SQLite has one `-shm` for each database in a process: no new connection may get the old one.
    let_go(database)?;
    let mut live = connect(database)?;
    let aside = dir.join("log");
    std::fs::rename(wal_path(&copy), &aside)?;
    copy_database(&live, &copy)?;
    std::fs::rename(&aside, wal_path(&copy))?;
    let from = Connection::open(&copy)?;
    let found: String = from.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if found != "ok" {
        return Err(RescueError::Damaged(found));
    }
    checkpoint(&from, "TRUNCATE")?;
    write_over(&from, &mut live)?;
    drop(from);
    std::fs::remove_dir_all(dir)?;
    Ok(Rescued::Restored { commits })
}

/// A database whose own file has no name any more, as `held` sees it.
pub(super) fn main(mut held: Held, dir: &Path) -> Result<Rescued, RescueError> {
    let path = held.path.clone();
    let is_replaced = path.metadata().is_ok_and(|of| of.len() > 0);
    if is_replaced && !held.is_locked() {
        // Its log was empty, so all that was committed was in a file that somebody replaced.
        return Ok(Rescued::Nothing);
    }
    durable::make_directories(dir, 0o700)?;
    let copy = dir.join(COPY);
    copy_database(&held.conn, &copy)?;
    durable::sync_directory(dir)?;
    let had_log = held.is_locked() && held.has_log();
    held.take_log();
    drop(held);
    if had_log {
        // It is of the old file, and all of it is in the copy. Next to a new file it would be taken
        // for that one's.
        durable::remove(&wal_path(&path))?;
        durable::remove(&shm_path(&path))?;
    }
    if is_replaced {
        return Ok(Rescued::Kept(copy));
    }
    durable::rename(&copy, &path, IfExists::Replace)?;
    std::fs::remove_dir_all(dir)?;
    Ok(Rescued::Restored { commits: 0 })
}

/// A directory that does not exist yet.
pub(super) fn directory(volume: &Path, database: &Path, now: &str) -> PathBuf {
    let name = database.strip_prefix(volume).unwrap_or(database);
    layout::rescued(volume).join(name).join(now)
}

/// How many transactions are whole in a log.
fn commits(mut log: &File) -> io::Result<u64> {
    let mut header = [0; LOG_HEADER as usize];
    log.seek(SeekFrom::Start(0))?;
    if log.read_exact(&mut header).is_err() {
        return Ok(0);
    }
    let Some(header) = wal::Header::parse(&header) else {
        return Ok(0);
    };
    let mut reader = io::BufReader::with_capacity(1 << 20, log);
    let (mut sum, mut commits) = (header.sum, 0);
    let mut frame = vec![0; header.frame_size()];
    while reader.read_exact(&mut frame).is_ok() {
        let Some((of, next)) = wal::frame(&header, sum, &frame) else {
            break;
        };
        sum = next;
        commits += u64::from(of.commit != 0);
    }
    Ok(commits)
}

fn copy_database(from: &Connection, to: &Path) -> Result<(), RescueError> {
    let mut copy = Connection::open(to)?;
    // In WAL mode the log that is put next to it counts.
    write_over(from, &mut copy)?;
    let _: String = copy.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    drop(copy);
    File::open(to)?.sync_all()?;
    Ok(())
}

/// In one transaction.
fn write_over(from: &Connection, to: &mut Connection) -> Result<(), RescueError> {
    let backup = Backup::new(from, to)?;
    let until = Instant::now() + LOCK_WAIT_MAX;
    loop {
        match backup.step(-1)? {
            StepResult::Done => return Ok(()),
            _ if Instant::now() >= until => return Err(RescueError::Locked),
            _ => std::thread::sleep(LOCK_PAUSE),
        }
    }
}

/// Returns once SQLite in this process has no file of the database open that has lost its name.
fn let_go(database: &Path) -> Result<(), RescueError> {
    let until = Instant::now() + LET_GO_TIME_MAX;
    while has_old_files(database) {
        if Instant::now() >= until {
            return Err(RescueError::NotLetGo);
        }
        std::thread::sleep(LET_GO_PAUSE);
    }
    Ok(())
}

/// Whether SQLite in this process has a `-shm` or `-wal` of the database open that is not the file of
/// that name: a new connection would get the old index with a new log, or the other way round.
pub(super) fn has_old_files(database: &Path) -> bool {
    let (index, log) = (shm_path(database), wal_path(database));
    let own = process::open_files(rustix::process::getpid()).unwrap_or_default();
    own.iter().any(|file| {
        // Logs that are kept to be rescued are open for reading alone.
        file.was_deleted_from(&index)
            || file.was_deleted_from(&log) && file.access() != Access::Read
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database(dir: &Path) -> (PathBuf, Connection) {
        let path = dir.canonicalize().unwrap().join("app.db");
        let conn = Connection::open(&path).unwrap();
        let sql = "PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0;
            CREATE TABLE t(x); INSERT INTO t VALUES (1); PRAGMA wal_checkpoint(TRUNCATE);
            INSERT INTO t VALUES (2)";
        conn.execute_batch(sql).unwrap();
        (path, conn)
    }

    fn rows(path: &Path) -> i64 {
        let conn = Connection::open(path).unwrap();
        conn.query_row("SELECT count(*) FROM t", [], |row| row.get(0))
            .unwrap()
    }

    /// What an app leaves that is killed.
    fn kill(app: Connection) {
        let _ = app.set_db_config(
            rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE,
            true,
        );
        drop(app);
    }

    #[test]
    fn a_log_without_a_name_is_put_back() {
        let dir = tempfile::tempdir().unwrap();
        let (path, app) = database(dir.path());
        let open = File::open(wal_path(&path)).unwrap();
        std::fs::remove_file(wal_path(&path)).unwrap();
        std::fs::remove_file(shm_path(&path)).unwrap();
        app.execute_batch("INSERT INTO t VALUES (3); CREATE TABLE u(y)")
            .unwrap();
        kill(app);
        let kept = dir.path().join("kept");
        let rescued = log(&path, &open, None, &kept).unwrap();
        assert_eq!(rescued, Rescued::Restored { commits: 3 });
        assert_eq!(rows(&path), 3);
        assert!(!kept.exists());
        // Once more changes nothing.
        log(&path, &open, None, &kept).unwrap();
        assert_eq!(rows(&path), 3);
    }

    #[test]
    fn where_others_wrote_as_well_both_histories_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let (path, app) = database(dir.path());
        let mut held = Held::lock(&path).unwrap();
        let (_, open) = held.take_log().unwrap();
        for companion in [wal_path(&path), shm_path(&path)] {
            std::fs::remove_file(companion).unwrap();
        }
        app.execute_batch("INSERT INTO t VALUES (3), (4)").unwrap();
        // Another process.
        let code = "import sqlite3,sys; c=sqlite3.connect(sys.argv[1]); \
            c.execute('insert into t values(9)'); c.commit(); import os; os._exit(0)";
        let mut other = std::process::Command::new("python3");
        let other = other.args(["-c", code]).arg(&path).status().unwrap();
        assert!(other.success());
        kill(app);
        let Rescued::Kept(copy) = log(&path, &open, Some(held), &dir.path().join("k")).unwrap()
        else {
            panic!("kept");
        };
        assert_eq!((rows(&copy), rows(&path)), (4, 2));
    }

    #[test]
    fn a_deleted_database_comes_back_and_a_replaced_one_is_kept() {
        for is_replaced in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let (path, app) = database(dir.path());
            let held = Held::lock(&path).unwrap();
            std::fs::remove_file(&path).unwrap();
            app.execute_batch("INSERT INTO t VALUES (3)").unwrap();
            kill(app);
            if is_replaced {
                std::fs::write(&path, "another").unwrap();
            }
            match main(held, &dir.path().join("k")).unwrap() {
                Rescued::Restored { .. } if !is_replaced => assert_eq!(rows(&path), 3),
                Rescued::Kept(copy) if is_replaced => assert_eq!(rows(&copy), 3),
                other => panic!("{other:?}"),
            }
        }
    }
}
