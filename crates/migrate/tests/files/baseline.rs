use monolite_migrate::files::{Baseline, Error, applied, baseline};
use rusqlite::Connection;

use crate::common::{NOW_MS, apply, files, versions};

const FIRST: &str = "CREATE TABLE post (id INTEGER PRIMARY KEY, title TEXT NOT NULL); CREATE INDEX by_title ON post (title)";
const SECOND: &str = "ALTER TABLE post ADD COLUMN body TEXT";

fn how(to: Option<u32>, force: bool) -> Baseline {
    let mut how = Baseline::default();
    (how.to, how.force, how.now_ms) = (to, force, NOW_MS);
    how
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
            "it has not the column post.body TEXT",
            "it has not the column post.title TEXT NOT NULL",
            "it has not the index by_title",
            "they do not make the column more.x",
            "they do not make the column post.title TEXT",
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
