//! What is wrong with any file is said before the first one runs.

use monolite_migrate::files::{Error, Migrations};
use rusqlite::Connection;

use crate::common::{apply, dump, files, one};

/// The second of two files is wrong: nothing of the first is applied.
fn refused(second: &str) -> Error {
    let db = Connection::open_in_memory().unwrap();
    let error = apply(&db, &["CREATE TABLE a (x)", second]).unwrap_err();
    assert_eq!(dump(&db), "", "{second}: {error}");
    assert!(error.to_string().contains("0002_a.sql"), "{error}");
    error
}

#[test]
fn before_anything_runs() {
    for sql in [
        "BEGIN",
        "COMMIT",
        "ROLLBACK",
        "VACUUM",
        "ATTACH 'x' AS y",
        "PRAGMA journal_mode=DELETE",
    ] {
        let error = refused(&format!("SELECT 1; {sql};"));
        assert!(matches!(error, Error::Refused { .. }), "{sql}: {error}");
    }
    assert!(matches!(refused("CREATE TABEL b (x)"), Error::Parse { .. }));
    assert!(matches!(
        refused("SELECT 'never closed"),
        Error::Text { .. }
    ));
    assert!(matches!(
        refused("REBUILD TABLE a (x) SET"),
        Error::Parse { .. }
    ));
    assert!(matches!(
        refused("CREATE TRIGGER t AFTER INSERT ON a BEGIN SELECT 1;"),
        Error::Text { .. } | Error::Parse { .. }
    ));
}

#[test]
fn an_edited_file_stops_those_after_it() {
    let db = Connection::open_in_memory().unwrap();
    apply(&db, &["CREATE TABLE a (x)"]).unwrap();
    let before = dump(&db);
    let error = apply(&db, &["CREATE TABLE a (x) -- edited", "CREATE TABLE b (x)"]).unwrap_err();
    assert!(
        matches!(&error, Error::Edited { file } if file == "0001_a.sql"),
        "{error}"
    );
    assert_eq!(dump(&db), before);
}

#[test]
fn a_file_that_is_gone_a_gap_and_a_twin_are_named() {
    let db = Connection::open_in_memory().unwrap();
    apply(&db, &["CREATE TABLE a (x)", "CREATE TABLE b (x)"]).unwrap();
    // The newest one gone looks like an older version of the app.
    let error = apply(&db, &["CREATE TABLE a (x)"]).unwrap_err();
    assert!(matches!(error, Error::Newer { .. }), "{error}");
    let named =
        |names: &[&'static str]| Migrations::new(names.iter().map(|name| (*name, "SELECT 1")));
    assert!(matches!(
        named(&["0002_b.sql"]),
        Err(Error::Gap { missing: 1, .. })
    ));
    let twin = named(&["0001_a.sql", "0001_b.sql"]).unwrap_err();
    assert_eq!(
        twin.to_string(),
        "0001_a.sql and 0001_b.sql have the same number, 1; give the newer one the next free number"
    );
    // Records of another app altogether.
    db.execute(
        "UPDATE _monolite_migration SET version = 7 WHERE version = 2",
        [],
    )
    .unwrap();
    let all = files(&["CREATE TABLE a (x)", "CREATE TABLE b (x)"]);
    let error = monolite_migrate::files::pending(&db, &all, false).unwrap_err();
    assert!(matches!(error, Error::Newer { .. }), "{error}");
    let error = monolite_migrate::files::pending(&db, &all, true).unwrap_err();
    assert!(matches!(error, Error::OutOfOrder { .. }), "{error}");
}

#[test]
fn a_temporary_table_does_not_outlive_its_file() {
    let db = Connection::open_in_memory().unwrap();
    let error = apply(
        &db,
        &["CREATE TEMP TABLE t AS SELECT 1 AS x; CREATE TABLE a (x)"],
    )
    .unwrap_err();
    assert!(
        matches!(&error, Error::Temporary { name, .. } if name == "table t"),
        "{error}"
    );
    assert_eq!(dump(&db), "");
    let dropped =
        "CREATE TEMP TABLE t AS SELECT 1 AS x; CREATE TABLE a AS SELECT * FROM t; DROP TABLE t";
    apply(&db, &[dropped]).unwrap();
}

/// It would go on with the rows of the files after it.
#[test]
fn a_temporary_trigger_does_not_outlive_its_file() {
    let db = Connection::open_in_memory().unwrap();
    let first = "CREATE TABLE a (x)";
    let left = "CREATE TEMP TRIGGER tr AFTER INSERT ON main.a BEGIN DELETE FROM a; END";
    let error = apply(&db, &[first, left, "INSERT INTO a VALUES (1)"]).unwrap_err();
    assert!(
        matches!(&error, Error::Temporary { name, .. } if name == "trigger tr"),
        "{error}"
    );
    let dropped = format!("{left}; DROP TRIGGER tr");
    apply(&db, &[first, &dropped, "INSERT INTO a VALUES (1)"]).unwrap();
    assert_eq!(one::<i64>(&db, "SELECT count(*) FROM a"), 1);
}

/// A file of comments has its number and nothing to do; one that `migrate new` began is not written
/// yet.
#[test]
fn a_file_without_statements_is_applied_unless_nobody_has_written_it() {
    let db = rusqlite::Connection::open_in_memory().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = monolite_migrate::files::new(dir.path(), "add posts").unwrap();
    let options = monolite_migrate::files::Options::new(0);
    let up = || {
        let migrations = monolite_migrate::files::Migrations::read(dir.path()).unwrap();
        monolite_migrate::files::up(&db, &migrations, &options, &mut |_| {})
    };
    assert!(matches!(up().unwrap_err(), Error::Empty { .. }));
    std::fs::write(path, "-- MySQL only\n").unwrap();
    assert_eq!(up().unwrap().len(), 1);
    assert_eq!(up().unwrap().len(), 0);
}
