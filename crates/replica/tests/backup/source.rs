//! What cannot be copied: one clear error each, and nothing left behind.

use std::path::{Path, PathBuf};
use std::time::Duration;

use monolite_replica::backup::{self, BackupOptions, Check, Copy, Error};
use rusqlite::Connection;

use super::other::start;
use super::place::{database, names, state};

fn refused(db: &Path) -> Error {
    let out = tempfile::tempdir().unwrap();
    let before = db.metadata().map(|of| of.modified().unwrap()).ok();
    let options = BackupOptions {
        patience: Duration::from_millis(20),
        ..BackupOptions::default()
    };
    let error = backup::to_file(db, &out.path().join("copy"), &options, &()).unwrap_err();
    assert_eq!(names(out.path()), [""; 0]);
    assert_eq!(db.metadata().map(|of| of.modified().unwrap()).ok(), before);
    let message = error.to_string();
    assert!(message.contains(db.to_str().unwrap()), "{message}");
    assert!(!message.contains('\n'), "{message}");
    error
}

#[test]
fn what_is_no_database() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let missing = dir.path().join("missing.sqlite3");
    assert!(matches!(refused(&missing), Error::Missing { .. }));
    let missing = dir.path().join("missing/app.sqlite3");
    assert!(matches!(refused(&missing), Error::Missing { .. }));
    let empty = file("empty.sqlite3", b"");
    assert!(matches!(refused(&empty), Error::Empty { .. }));

    let mut encrypted = vec![0; 3 * 4096];
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    for byte in &mut encrypted {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        *byte = random.to_le_bytes()[3];
    }
    let text = "not a database at all\n".repeat(400);
    for path in [
        file("text.sqlite3", text.as_bytes()),
        file("short.sqlite3", b"hello"),
        file("encrypted.sqlite3", &encrypted),
        file("zeros.sqlite3", &[0; 8192]),
        dir.path().to_owned(),
    ] {
        let error = refused(&path);
        assert!(matches!(error, Error::NotADatabase { .. }), "{error}");
    }
    let message = refused(&dir.path().join("encrypted.sqlite3")).to_string();
    assert!(message.contains("encrypted"), "{message}");
    // Nothing was made beside them.
    assert_eq!(names(dir.path()).len(), 5);
}

#[test]
fn a_lock_that_does_not_go_away() {
    let dir = tempfile::tempdir().unwrap();
    let db = database(dir.path(), "DELETE", 1);
    let holder = start("hold", &db, |command| {
        command.stdin(std::process::Stdio::piped());
    });
    holder.line("held");
    let error = refused(&db);
    assert!(
        matches!(error, Error::Busy { waited_ms: 20, .. }),
        "{error}"
    );
    drop(holder);
    Copy::open(&db).unwrap();
}

#[test]
fn a_damaged_database_is_found_when_the_copy_is_checked() {
    let dir = tempfile::tempdir().unwrap();
    let db = database(dir.path(), "DELETE", 100);
    let mut bytes = std::fs::read(&db).unwrap();
    let at = bytes.len() / 2 / 4096 * 4096;
    bytes[at..at + 4096].fill(0x55);
    std::fs::write(&db, bytes).unwrap();
    for name in ["copy", "copy.gz", "copy.zst"] {
        for check in [Check::Quick, Check::Full] {
            let options = BackupOptions {
                check,
                ..BackupOptions::default()
            };
            let error = backup::to_file(&db, &dir.path().join(name), &options, &()).unwrap_err();
            let Error::Damaged { path, findings } = error else {
                panic!("{error}");
            };
            assert_eq!(path, db);
            assert!(!findings.is_empty() && findings.len() <= 10);
        }
    }
    assert_eq!(names(dir.path()), ["app.sqlite3"]);
}

#[test]
fn a_collation_of_the_apps_own_is_no_damage() {
    let dir = tempfile::tempdir().unwrap();
    let db = dir.path().join("app.sqlite3");
    let conn = Connection::open(&db).unwrap();
    conn.execute_batch(
        "CREATE TABLE t (x TEXT COLLATE nocase); CREATE INDEX i ON t (x);
         PRAGMA writable_schema = ON;
         UPDATE sqlite_schema SET sql = replace(sql, 'nocase', 'app_order')",
    )
    .unwrap();
    let out = dir.path().join("copy");
    let checked = BackupOptions {
        check: Check::Full,
        ..BackupOptions::default()
    };
    let error = backup::to_file(&db, &out, &checked, &()).unwrap_err();
    assert!(matches!(error, Error::Unchecked { .. }), "{error}");
    assert!(error.to_string().contains("app_order"), "{error}");
    backup::to_file(&db, &out, &BackupOptions::default(), &()).unwrap();
    assert!(std::fs::read(&out).unwrap() == std::fs::read(&db).unwrap());
}

#[test]
fn names_that_mean_something_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    let db = database(dir.path(), "WAL", 5);
    let link = dir.path().join("link.sqlite3");
    std::os::unix::fs::symlink(&db, &link).unwrap();
    let odd = dir.path().join("a%20b?c=d#é .sqlite3");
    std::fs::copy(&db, &odd).unwrap();
    let checked = BackupOptions {
        check: Check::Full,
        ..BackupOptions::default()
    };
    for (n, from) in [link, odd].iter().enumerate() {
        let out: PathBuf = dir.path().join(format!("copy {n}?x=%41#"));
        backup::to_file(from, &out, &checked, &()).unwrap();
        let plain = dir.path().join(format!("plain{n}"));
        std::fs::rename(out, &plain).unwrap();
        assert_eq!(state(&plain), 5);
    }
}
