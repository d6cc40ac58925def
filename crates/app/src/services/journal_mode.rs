//! Puts the volume's databases in WAL mode, between the migrations and the start of the app.
//!
//! In the mode that SQLite has by default a writer keeps all readers waiting, and readers the writer;
//! the same app answers up to ten times as many requests in WAL mode. The mode stays in the file.
//!
//! It is changed only where nobody else has the file open, and by SQLite itself, which takes the
//! database for itself alone meanwhile: dying at any moment leaves the one mode or the other. A
//! database that is in use, read-only, empty or damaged is left as it is; that is no reason not to
//! start.
//!
//! It comes after replication has started: a change before would make a database look as if an app
//! had written to it since it was stored last.

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use monolite_platform::process::{self, Inode};
use monolite_replica::Find;
use monolite_supervisor::{Error, Run, Service, Started};
use rusqlite::{Connection, OpenFlags};

use crate::database_filter::name_in;

/// Longest wait for somebody who reads or writes a database at the moment. Its replica may read all
/// of it.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(5);

pub(crate) struct JournalMode {
    pub(crate) volume: PathBuf,
    pub(crate) find: Find,
    pub(crate) is_on: bool,
}

#[async_trait(?Send)]
impl Service for JournalMode {
    fn name(&self) -> &'static str {
        "journal mode"
    }

    async fn start(&mut self, run: &mut Run) -> Result<Started, Error> {
        if !self.is_on {
            return Ok(Started::Yes);
        }
        let (volume, find) = (self.volume.clone(), self.find.clone());
        let mut work = tokio::task::spawn_blocking(move || set_all(&volume, &find()));
        tokio::select! {
            done = &mut work => {
                if let Err(error) = done {
                    tracing::error!(%error, "the databases' journal mode was not looked at");
                }
            }
            () = run.stop_requested() => {
                // A statement under way is short, and is not broken off.
                let _ = work.await;
                return Ok(Started::Stopped(monolite_supervisor::Exit::Code(0)));
            }
        }
        Ok(Started::Yes)
    }
}

/// What became of one database.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// It is in WAL mode now, and was in this one before.
    Changed(String),
    /// It was in WAL mode, or is none of ours to change.
    Left,
    /// It should be, but somebody uses it.
    InUse(String),
}

fn set_all(volume: &Path, databases: &[PathBuf]) {
    for path in databases {
        let name = name_in(volume, path).unwrap_or_else(|| path.display().to_string());
        match set(path) {
            Ok(Outcome::Changed(from)) => tracing::info!(
                database = name,
                from,
                "put in WAL mode, in which readers and writers do not wait for each other; the mode stays in the file (--wal=false leaves it as it is)"
            ),
            Ok(Outcome::Left) => {}
            Ok(Outcome::InUse(mode)) => tracing::warn!(
                database = name,
                mode,
                fix = "run `PRAGMA journal_mode = WAL` in it once, while nobody else uses it",
                "not in WAL mode, and in use: left as it is"
            ),
            Err(error) => {
                tracing::debug!(database = name, %error, "the journal mode cannot be set");
            }
        }
    }
}

fn set(path: &Path) -> rusqlite::Result<Outcome> {
    // Neither a link to somewhere else, nor a file without a byte, which is no database yet: some
    // frameworks create theirs themselves, and look whether there is one.
    if !path
        .symlink_metadata()
        .is_ok_and(|of| of.is_file() && of.len() > 0)
    {
        return Ok(Outcome::Left);
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    conn.busy_timeout(LOCK_WAIT_MAX)?;
    let is_read_only = conn.is_readonly(rusqlite::MAIN_DB)?;
    let mode: String = conn.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
    // The others (`truncate`, `memory`, `off`) are of a connection, and the file says `delete`.
    if mode == "wal" || is_read_only {
        return Ok(Outcome::Left);
    }
    if is_open_elsewhere(path) {
        return Ok(Outcome::InUse(mode));
    }
    match conn.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get::<_, String>(0)) {
        Ok(now) if now == "wal" => Ok(Outcome::Changed(mode)),
        Ok(_) => Ok(Outcome::Left),
        Err(error) if is_busy(&error) => Ok(Outcome::InUse(mode)),
        Err(error) => Err(error),
    }
}

fn is_busy(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseBusy, DatabaseLocked};
    matches!(
        error.sqlite_error_code(),
        Some(DatabaseBusy | DatabaseLocked)
    )
}

/// As far as the system shows it.
fn is_open_elsewhere(path: &Path) -> bool {
    let Some(inode) = Inode::of(path) else {
        return false;
    };
    let is_it = |file: &process::OpenFile| {
        // Most are sockets and pipes.
        file.path().is_absolute() && file.inode() == Some(inode)
    };
    process::open_elsewhere(is_it).is_ok_and(|files| !files.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database(dir: &Path, setup: &str) -> PathBuf {
        let path = dir.join("app.sqlite3");
        let conn = Connection::open(&path).unwrap();
        conn.execute_batch("CREATE TABLE t(x); INSERT INTO t VALUES (1), (2)")
            .unwrap();
        conn.execute_batch(setup).unwrap();
        path
    }

    fn mode(path: &Path) -> (String, i64) {
        let conn = Connection::open(path).unwrap();
        let mode = conn.pragma_query_value(None, "journal_mode", |row| row.get(0));
        let rows = conn.query_row("SELECT count(*) FROM t", [], |row| row.get(0));
        (mode.unwrap(), rows.unwrap())
    }

    #[test]
    fn the_mode_is_changed_once_and_stays_in_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = database(dir.path(), "");
        assert_eq!(mode(&path), ("delete".into(), 2));
        assert_eq!(set(&path), Ok(Outcome::Changed("delete".into())));
        assert_eq!(mode(&path), ("wal".into(), 2));
        assert_eq!(set(&path), Ok(Outcome::Left));
    }

    #[test]
    fn a_database_that_somebody_writes_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = database(dir.path(), "");
        // In this process, which the look at the other ones leaves out: SQLite's lock decides.
        let writer = Connection::open(&path).unwrap();
        writer
            .execute_batch("BEGIN IMMEDIATE; INSERT INTO t VALUES (3)")
            .unwrap();
        assert_eq!(set(&path), Ok(Outcome::InUse("delete".into())));
        writer.execute_batch("COMMIT").unwrap();
        drop(writer);
        assert_eq!(mode(&path), ("delete".into(), 3));
    }

    #[test]
    fn a_database_that_another_process_has_open_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = database(dir.path(), "");
        let file = std::fs::File::open(&path).unwrap();
        let mut command = std::process::Command::new("sleep");
        let mut other = command.arg("1000").stdin(file).spawn().unwrap();
        assert_eq!(set(&path), Ok(Outcome::InUse("delete".into())));
        other.kill().unwrap();
        other.wait().unwrap();
        assert_eq!(set(&path), Ok(Outcome::Changed("delete".into())));
    }

    #[test]
    fn what_is_no_database_is_left_and_is_no_error_of_the_run() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.db");
        assert_eq!(set(&path), Ok(Outcome::Left), "missing");
        std::fs::write(&path, "").unwrap();
        assert_eq!(set(&path), Ok(Outcome::Left), "empty");
        assert_eq!(path.metadata().unwrap().len(), 0);
        let noise = "no database at all, but long enough to look at ".repeat(100);
        std::fs::write(&path, &noise).unwrap();
        assert!(set(&path).is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), noise);
        set_all(dir.path(), &[path]);
    }
}
