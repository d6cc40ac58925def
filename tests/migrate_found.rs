//! What the guard guards: the app's database, wherever and however it is
//! called.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use monolite_testkit::disk_dir;
use rusqlite::Connection;

fn make(path: &Path) {
    std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
    let db = Connection::open(path).expect("opened");
    db.execute_batch("CREATE TABLE t (x); INSERT INTO t VALUES (1), (2)")
        .expect("made");
}

fn rows(path: &Path) -> i64 {
    let db = Connection::open(path).expect("opened");
    db.query_row("SELECT count(*) FROM t", [], |row| row.get(0))
        .expect("counted")
}

/// Deletes all rows of the database at `path`, guarded.
fn delete(dir: &Path, words: &[&str], path: &Path) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = Command::new(env!("CARGO_BIN_EXE_monolite"))
        .args(["migrate", "--data", "data"])
        .args(words)
        .args(["--", "python3", "-c"])
        .arg("import sqlite3, sys; db = sqlite3.connect(sys.argv[1]); db.execute('DELETE FROM t'); db.commit()")
        .arg(path)
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .current_dir(dir)
        .output()
        .expect("the binary runs");
    (status.code(), String::from_utf8_lossy(&stderr).into_owned())
}

#[test]
fn a_database_is_guarded_wherever_it_is() {
    let dir = disk_dir();
    let data = dir.path().join("data");
    for n in 0..10_100 {
        let blob = data.join(format!("blobs/{n}"));
        std::fs::create_dir_all(blob.parent().expect("a parent")).expect("a directory");
        std::fs::write(blob, "x").expect("written");
    }
    for (name, words) in [
        ("production", &["--database", "production"][..]),
        ("a/b/c/d/app.sqlite3", &[]),
        ("x.data", &[]),
        ("app.sqlite3.bak", &[]),
        ("z/other.sqlite3", &[]),
        ("cache.sqlite3", &["--database", "cache.sqlite3"]),
    ] {
        let path: PathBuf = data.join(name);
        make(&path);
        let (code, said) = delete(dir.path(), words, &path);
        assert_eq!((code, rows(&path)), (Some(1), 2), "{name}: {said}");
    }
    // A link to a place in the volume.
    std::os::unix::fs::symlink("production", data.join("app.sqlite3")).expect("linked");
    let (code, said) = delete(dir.path(), &[], &data.join("app.sqlite3"));
    assert_eq!(
        (code, rows(&data.join("production"))),
        (Some(1), 2),
        "{said}"
    );
}

#[test]
fn what_cannot_be_guarded_is_refused_before_the_command() {
    let dir = disk_dir();
    let (data, outside) = (dir.path().join("data"), dir.path().join("outside.sqlite3"));
    std::fs::create_dir(&data).expect("a directory");
    make(&outside);
    std::os::unix::fs::symlink(&outside, data.join("app.sqlite3")).expect("linked");
    let (code, said) = delete(dir.path(), &[], &outside);
    assert_eq!((code, rows(&outside)), (Some(1), 2), "{said}");
    assert!(
        said.contains("outside of the data directory") && said.contains("--data"),
        "{said}"
    );
    std::fs::write(data.join("shop"), "no database, or an encrypted one").expect("written");
    let (code, said) = delete(dir.path(), &["--database", "shop"], &outside);
    assert_eq!((code, rows(&outside)), (Some(1), 2), "{said}");
    assert!(said.contains("shop is not a SQLite database"), "{said}");
}
