//! Has the disk keep a database that this process may have open.

use std::fs::File;
use std::io;
use std::path::Path;

use super::reflink::with_own_table;

/// Has the disk keep what the file at `path` holds. It may be a database that
/// this process has open: no lock on it is lost. Where this process may not
/// have a table of descriptors of its own, all of the filesystem is synced.
///
/// # Errors
/// It cannot be opened, or the disk does not take it.
pub fn sync(path: &Path) -> io::Result<()> {
    let synced = with_own_table("backup-sync", || {
        Ok(File::open(path).and_then(|file| file.sync_all()))
    });
    match synced {
        Ok(synced) => synced,
        Err(_) => sync_all_with(path),
    }
}

/// By the directory, whose descriptor holds no locks of anybody.
fn sync_all_with(path: &Path) -> io::Result<()> {
    // What is not there is said alike.
    path.metadata()?;
    let real = path.canonicalize()?;
    let directory = real.parent().unwrap_or(Path::new("/"));
    Ok(rustix::fs::syncfs(File::open(directory)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_way_says_what_is_missing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.sqlite3");
        for sync in [sync, sync_all_with] {
            let error = sync(&path).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::NotFound);
        }
        std::fs::write(&path, "x").unwrap();
        sync(&path).unwrap();
        sync_all_with(&path).unwrap();
    }

    #[test]
    fn no_lock_of_this_process_is_lost() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.sqlite3");
        let conn = rusqlite::Connection::open(&path).unwrap();
        conn.execute_batch("CREATE TABLE t (x); BEGIN IMMEDIATE; INSERT INTO t VALUES (1)")
            .unwrap();
        let other_may_write = || {
            let script = "import sqlite3, sys\nc = sqlite3.connect(sys.argv[1], timeout=0)\nc.execute('BEGIN IMMEDIATE')";
            let python = std::process::Command::new("python3")
                .args(["-c", script])
                .arg(&path)
                .stderr(std::process::Stdio::null())
                .status();
            python.unwrap().success()
        };
        assert!(!other_may_write());
        sync(&path).unwrap();
        sync_all_with(&path).unwrap();
        assert!(!other_may_write(), "the lock is held on");
        // What a plain look would do: the test can fail.
        drop(File::open(&path).unwrap());
        assert!(other_may_write());
    }
}
