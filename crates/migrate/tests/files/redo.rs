//! `redo`: the last `up` undone from a copy.

use std::path::Path;
use std::time::Duration;

use monolite_migrate::files::{Error, applied, undo, would_undo};
use rusqlite::Connection;

use crate::common::{apply, dump, one, versions};

const PATIENCE: Duration = Duration::from_millis(50);

fn copy(from: &Connection, to: &Path) {
    from.execute("VACUUM INTO ?1", [to.to_str().unwrap()])
        .unwrap();
}

#[test]
fn the_last_ones_are_undone_from_the_copy_and_applied_again() {
    for journal in ["WAL", "DELETE"] {
        let dir = tempfile::tempdir().unwrap();
        let kept = dir.path().join("copy.sqlite3");
        let path = dir.path().join("app.sqlite3");
        let mut db = Connection::open(&path).unwrap();
        let _ = one::<String>(&db, &format!("PRAGMA journal_mode = {journal}"));
        let first = "CREATE TABLE a (x)";
        apply(&db, &[first]).unwrap();
        let before = dump(&db);
        copy(&db, &kept);
        apply(&db, &[first, "CREATE TABLE b (x)", "DROP TABLE a"]).unwrap();
        // Another connection, as of an editor, sees what happens.
        let other = Connection::open(&path).unwrap();
        assert_eq!(one::<i64>(&other, "SELECT count(*) FROM b"), 0);
        let undone = undo(&mut db, &kept, PATIENCE).unwrap();
        let names: Vec<_> = undone.files.iter().map(|file| file.name.as_str()).collect();
        assert_eq!(names, ["0002_a", "0003_a"]);
        assert_eq!(dump(&db), before, "{journal}");
        assert_eq!(dump(&other), before, "{journal}");
        assert_eq!(
            one::<String>(&db, "PRAGMA journal_mode").to_uppercase(),
            journal
        );
        let again = apply(&db, &[first, "CREATE TABLE c (x)"]).unwrap();
        assert_eq!(versions(&again), [2]);
        assert_eq!(one::<i64>(&other, "SELECT count(*) FROM c"), 0);
    }
}

#[test]
fn a_copy_of_something_else_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let mut db = Connection::open(path("app.sqlite3")).unwrap();
    apply(&db, &["CREATE TABLE a (x)", "CREATE TABLE b (x)"]).unwrap();
    let now = dump(&db);
    copy(&db, &path("same"));
    let other = Connection::open_in_memory().unwrap();
    apply(&other, &["CREATE TABLE z (x)"]).unwrap();
    copy(&other, &path("other"));
    let newer = Connection::open_in_memory().unwrap();
    apply(
        &newer,
        &["CREATE TABLE a (x)", "CREATE TABLE b (x)", "SELECT 1"],
    )
    .unwrap();
    copy(&newer, &path("newer"));
    std::fs::write(
        path("text"),
        "no database at all, but long enough to be one, maybe",
    )
    .unwrap();
    for name in ["same", "other", "newer"] {
        let error = undo(&mut db, &path(name), PATIENCE).unwrap_err();
        assert!(matches!(error, Error::NotTheCopy { .. }), "{name}: {error}");
        assert!(would_undo(&db, &path(name)).is_err());
    }
    for name in ["text", "missing"] {
        assert!(undo(&mut db, &path(name), PATIENCE).is_err(), "{name}");
        assert!(!path("missing").exists());
    }
    assert_eq!(dump(&db), now);
    assert_eq!(applied(&db).unwrap().len(), 2);
}

#[test]
fn a_database_in_use_is_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.sqlite3");
    let mut db = Connection::open(&path).unwrap();
    copy(&db, &dir.path().join("copy"));
    apply(&db, &["CREATE TABLE a (x)"]).unwrap();
    let writer = Connection::open(&path).unwrap();
    writer
        .execute_batch("BEGIN IMMEDIATE; INSERT INTO a VALUES (1)")
        .unwrap();
    let error = undo(&mut db, &dir.path().join("copy"), PATIENCE).unwrap_err();
    assert!(
        error.to_string().contains("while another process uses"),
        "{error}"
    );
    writer.execute_batch("COMMIT").unwrap();
    assert_eq!(one::<i64>(&db, "SELECT count(*) FROM a"), 1);
}
