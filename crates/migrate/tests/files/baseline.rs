//! Baseline: files recorded as applied without running them.

use monolite_migrate::files::{BaselineOptions, Error, applied, baseline};
use rusqlite::Connection;

use crate::common::{NOW_MS, apply, files, versions};

const FIRST: &str = "CREATE TABLE post (id INTEGER PRIMARY KEY, title TEXT NOT NULL); CREATE INDEX by_title ON post (title)";
const SECOND: &str = "ALTER TABLE post ADD COLUMN body TEXT";

fn how(to: Option<u32>, force: bool) -> BaselineOptions {
    BaselineOptions::new(NOW_MS).up_to(to).force(force)
}

#[test]
fn what_is_there_counts_as_applied_and_is_not_run() {
    let db = Connection::open_in_memory().unwrap();
    // Made by hand: the same columns, another text.
    db.execute_batch("CREATE TABLE \"post\"(id integer primary key, title text not null); INSERT INTO post VALUES (1, 'a'); CREATE INDEX by_title ON post (title)").unwrap();
    let recorded = baseline(&db, &files(&[FIRST, SECOND]), &how(Some(1), false)).unwrap();
    assert_eq!(recorded.len(), 1);
    assert_eq!(recorded[0].took_ms, None);
    assert_eq!(applied(&db).unwrap(), recorded);
    assert_eq!(versions(&apply(&db, &[FIRST, SECOND]).unwrap()), [2]);
    let error = baseline(&db, &files(&[FIRST, SECOND]), &how(None, true)).unwrap_err();
    assert!(matches!(error, Error::HasRecords { .. }), "{error}");
}

#[test]
fn what_is_not_there_is_said_and_nothing_recorded() {
    let db = Connection::open_in_memory().unwrap();
    db.execute_batch(
        "CREATE TABLE post (id INTEGER PRIMARY KEY, title TEXT); CREATE TABLE more (x)",
    )
    .unwrap();
    let all = files(&[FIRST, SECOND]);
    let error = baseline(&db, &all, &how(None, false)).unwrap_err();
    let Error::Differs { file, differences } = &error else {
        panic!("{error}");
    };
    assert_eq!(file, "0002_a.sql");
    assert_eq!(
        differences,
        &[
            "the column post.body TEXT is missing",
            "the column post.title TEXT NOT NULL is missing",
            "the index by_title is missing",
            "the column more.x is not from the migrations",
            "the column post.title TEXT is not from the migrations",
        ]
    );
    assert!(applied(&db).unwrap().is_empty());
    assert!(db.is_autocommit());
    assert_eq!(baseline(&db, &all, &how(None, true)).unwrap().len(), 2);
}

#[test]
fn wrong_files_and_numbers_are_refused() {
    let db = Connection::open_in_memory().unwrap();
    let error = baseline(&db, &files(&[FIRST]), &how(Some(2), true)).unwrap_err();
    assert!(
        matches!(
            error,
            Error::NoSuch {
                version: 2,
                newest: 1
            }
        ),
        "{error}"
    );
    let error = baseline(&db, &files(&[]), &how(None, true)).unwrap_err();
    assert!(matches!(error, Error::NoSuch { .. }), "{error}");
    let error = baseline(&db, &files(&["no sql"]), &how(None, true)).unwrap_err();
    assert!(matches!(error, Error::Parse { .. }), "{error}");
    // A file that needs rows cannot be tried.
    let error = baseline(
        &db,
        &files(&["INSERT INTO x VALUES (1)"]),
        &how(None, false),
    )
    .unwrap_err();
    assert!(error.to_string().contains("cannot be tried"), "{error}");
}

/// The same columns and names, and not the same database.
#[test]
fn what_is_only_called_the_same_is_said() {
    const PARENT: &str = "CREATE TABLE p (id INTEGER PRIMARY KEY); ";
    for (made, live, said) in [
        (
            "a INTEGER PRIMARY KEY AUTOINCREMENT",
            "a INTEGER PRIMARY KEY",
            "AUTOINCREMENT`",
        ),
        (
            "a TEXT DEFAULT 'x'",
            "a TEXT",
            "t lacks `a TEXT DEFAULT 'x'`",
        ),
        (
            "a TEXT",
            "a TEXT DEFAULT 'x'",
            "t's `a TEXT DEFAULT 'x'` is not from the migrations",
        ),
        ("a CHECK (a > 0)", "a", "CHECK ( a > 0 )"),
        ("a CHECK (a > 0)", "a CHECK (a > 1)", "CHECK ( a > 0 )"),
        ("a COLLATE NOCASE", "a", "COLLATE NOCASE"),
        ("a REFERENCES p", "a", "REFERENCES p"),
        (
            "a REFERENCES p ON DELETE CASCADE",
            "a REFERENCES p",
            "ON DELETE CASCADE",
        ),
        ("a UNIQUE", "a", "UNIQUE"),
        (
            "a TEXT, b AS (upper(a))",
            "a TEXT, b AS (lower(a))",
            "b AS ( upper ( a ) )",
        ),
        ("a INTEGER) STRICT; --", "a INTEGER", "t is not STRICT"),
        ("a, b", "b, a", "the columns of t are in another order"),
        (
            "a); CREATE UNIQUE INDEX i ON t (a); --",
            "a); CREATE INDEX i ON t (a); --",
            "the index i differs",
        ),
        (
            "a); CREATE INDEX i ON t (a) WHERE a > 1; --",
            "a); CREATE INDEX i ON t (a); --",
            "the index i differs",
        ),
        (
            "a, b); CREATE INDEX i ON t (a); --",
            "a, b); CREATE INDEX i ON t (b); --",
            "the index i differs",
        ),
        (
            "a); CREATE TRIGGER r AFTER INSERT ON t BEGIN DELETE FROM t; END; --",
            "a); CREATE TRIGGER r AFTER INSERT ON t BEGIN SELECT 1; END; --",
            "the trigger r differs",
        ),
        (
            "a); CREATE VIEW v AS SELECT a FROM t; --",
            "a); CREATE VIEW v AS SELECT a FROM t WHERE a; --",
            "the view v differs",
        ),
    ] {
        let of =
            |inside: &str| format!("{PARENT}CREATE TABLE t ({inside}\n);").replace("--\n);", "");
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch(&of(live)).unwrap();
        let error = baseline(&db, &files(&[&of(made)]), &how(None, false)).unwrap_err();
        assert!(error.to_string().contains(said), "{made}: {error}");
        assert!(applied(&db).unwrap().is_empty());
        let same = Connection::open_in_memory().unwrap();
        let by_hand = of(made).replace(
            "CREATE TABLE t",
            "create table if not exists \"t\" -- was: p\n",
        );
        same.execute_batch(&by_hand).unwrap();
        baseline(&same, &files(&[&of(made)]), &how(None, false))
            .unwrap_or_else(|error| panic!("{made}: {error}"));
    }
}

#[test]
fn shadow_tables_and_comments_are_no_difference() {
    let text = "CREATE VIRTUAL TABLE f USING fts5(body);
        CREATE TABLE t (
            a TEXT, -- was: zzz
            b -- monolite: allow t.a: as meant
        );";
    let db = Connection::open_in_memory().unwrap();
    db.execute_batch(text).unwrap();
    baseline(&db, &files(&[text]), &how(None, false)).unwrap();
}
