//! Which other processes have a database open: what they write during a migration would be lost if
//! it were rolled back.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use monolite_platform::path::with_suffix;
use monolite_platform::process::{self, Named, OpenFile};
use monolite_sqlite_format::SUFFIXES;
use rustix::process::{Flock, FlockOffsetType, FlockType, fcntl_getlk};

/// Longest time between a process's fork and exec, in which it has open what its parent has.
const FORK_TIME_MAX: Duration = Duration::from_millis(300);
/// Pause between two looks.
const LOOK_PAUSE: Duration = Duration::from_millis(10);
/// Where SQLite's locks are: `PENDING_BYTE`, and 512 bytes.
const LOCK_BYTE: i64 = 0x4000_0000;
const LOCK_BYTES: i64 = 512;

/// A process that only its lock shows: it is in another container.
pub(crate) const UNKNOWN_PROCESS: &str = "another process";

/// A database that another process has open, and which, in words. `probe` asks
/// SQLite's locks, too, which show processes of other containers; closing the
/// file then takes all locks of this process on it, so that is only for one
/// that has no database open.
pub(crate) fn any_open(databases: &[PathBuf], probe: bool) -> Option<(PathBuf, String)> {
    open(databases, probe, &SUFFIXES, |_| true)
}

/// As [`any_open`], of those that may write. A lock of another container does
/// say which of the two it is, and counts.
pub(crate) fn any_writer(databases: &[PathBuf], probe: bool) -> Option<(PathBuf, String)> {
    // Who reads writes to `-shm`.
    let readers_are_seen = in_process(databases, &SUFFIXES, |_| true).is_some();
    open(
        databases,
        probe && !readers_are_seen,
        &["-wal", "-journal"],
        |file| file.access().may_write(),
    )
}

fn open(
    databases: &[PathBuf],
    probe: bool,
    with: &[&str],
    counts: fn(&OpenFile) -> bool,
) -> Option<(PathBuf, String)> {
    in_process(databases, with, counts).or_else(|| {
        let mut databases = databases.iter().filter(|_| probe);
        let locked = databases.find(|database| is_locked(database))?;
        Some((locked.clone(), UNKNOWN_PROCESS.into()))
    })
}

/// As [`any_open`], if it stays so: a process that was just forked still has open what its parent
/// had, until it is another program.
pub(crate) fn stays_open(databases: &[PathBuf], probe: bool) -> Option<(PathBuf, String)> {
    let since = Instant::now();
    loop {
        let open = any_open(databases, probe)?;
        if since.elapsed() >= FORK_TIME_MAX {
            return Some(open);
        }
        std::thread::sleep(LOOK_PAUSE);
    }
}

/// Whether another process has a database open now.
pub(crate) fn is_open(database: &Path, probe: bool) -> bool {
    any_open(&[database.into()], probe).is_some()
}

/// By `/proc`: processes of this container, and of this user unless it is root.
fn in_process(
    databases: &[PathBuf],
    with: &[&str],
    counts: fn(&OpenFile) -> bool,
) -> Option<(PathBuf, String)> {
    let mut wanted = HashMap::new();
    for database in databases {
        let Ok(path) = database.canonicalize() else {
            continue;
        };
        for suffix in with {
            wanted.insert(with_suffix(&path, suffix), database);
        }
        wanted.insert(path, database);
    }
    let open = process::open_elsewhere(|file| wanted.contains_key(file.path()) && counts(file));
    let file = open.ok()?.into_iter().next()?;
    let database = *wanted.get(file.path())?;
    Some((database.clone(), Named(file.pid).to_string()))
}

/// Whoever has read a database in WAL mode holds a lock on it until it closes
/// it; in other modes, as long as it reads or writes.
fn is_locked(database: &Path) -> bool {
    let Ok(file) = File::open(database) else {
        return false;
    };
    let wanted = Flock {
        typ: FlockType::WriteLock,
        offset_type: FlockOffsetType::Set,
        start: LOCK_BYTE as u64,
        length: LOCK_BYTES as u64,
        pid: None,
    };
    matches!(fcntl_getlk(file.as_fd(), &wanted), Ok(Some(_)))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_database_is_open_as_long_as_somebody_has_it_or_its_log() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.db");
        std::fs::write(&path, "x").unwrap();
        std::fs::write(with_suffix(&path, "-wal"), "x").unwrap();
        let databases = [path.clone()];
        assert_eq!(any_open(&databases, true), None);
        for file in [path.clone(), with_suffix(&path, "-wal")] {
            let mut reader = Command::new("cat")
                .stdin(Stdio::piped())
                .stderr(File::open(file).unwrap())
                .spawn()
                .unwrap();
            let (_, by) = any_open(&databases, false).unwrap();
            assert!(
                by.contains("cat") && by.contains(&reader.id().to_string()),
                "{by}"
            );
            reader.kill().unwrap();
            reader.wait().unwrap();
            assert_eq!(any_open(&databases, true), None);
        }
    }

    #[test]
    fn who_only_reads_is_no_writer() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.db");
        std::fs::write(&path, "x").unwrap();
        for (write, counts) in [(false, false), (true, true)] {
            let file = File::options().read(true).write(write).open(&path).unwrap();
            let mut other = Command::new("cat")
                .stdin(Stdio::piped())
                .stderr(file)
                .spawn()
                .unwrap();
            assert!(is_open(&path, false));
            let databases = [path.clone()];
            assert_eq!(any_writer(&databases, true).is_some(), counts);
            other.kill().unwrap();
            other.wait().unwrap();
        }
    }

    #[test]
    fn a_lock_shows_where_the_process_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.db");
        rusqlite::Connection::open(&path)
            .unwrap()
            .execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (x)")
            .unwrap();
        assert!(!is_locked(&path));
        let mut shell = Command::new("python3")
            .args(["-c", "import sqlite3, sys\nc = sqlite3.connect(sys.argv[1])\nc.execute('SELECT * FROM t').fetchall()\nprint('open', flush=True)\nsys.stdin.read()"])
            .arg(&path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let out = std::io::BufReader::new(shell.stdout.take().unwrap());
        std::io::BufRead::read_line(&mut { out }, &mut line).unwrap();
        assert!(is_locked(&path), "{line}");
        drop(shell.stdin.take());
        shell.wait().unwrap();
        assert!(!is_locked(&path));
    }
}
