//! Nothing cascades by accident, and no row loses its parent.

use monolite_migrate::files::Error;
use rusqlite::Connection;

use crate::common::{apply, one};

const BLOG: &str = "CREATE TABLE post (id INTEGER PRIMARY KEY, title TEXT);
    CREATE TABLE comment (id INTEGER PRIMARY KEY, post_id INTEGER REFERENCES post ON DELETE CASCADE);
    CREATE TABLE note (post_id INTEGER REFERENCES post);
    INSERT INTO post VALUES (1, 'a'), (2, 'b');
    INSERT INTO comment VALUES (1, 1), (2, 2), (3, 2);";

/// As every framework's generator writes it.
const DANCE: &str = "CREATE TABLE new (id INTEGER PRIMARY KEY, title TEXT NOT NULL);
    INSERT INTO new SELECT * FROM post;
    DROP TABLE post;
    ALTER TABLE new RENAME TO post;";

fn comments(db: &Connection) -> i64 {
    one(
        db,
        "SELECT count(*) FROM comment WHERE post_id IN (SELECT id FROM post)",
    )
}

#[test]
fn the_cascade_trap_has_no_teeth() {
    for foreign_keys in [true, false] {
        let db = Connection::open_in_memory().unwrap();
        db.pragma_update(None, "foreign_keys", foreign_keys)
            .unwrap();
        apply(&db, &[BLOG, DANCE]).unwrap();
        assert_eq!(comments(&db), 3);
        let table = one::<String>(&db, "SELECT sql FROM sqlite_schema WHERE name = 'comment'");
        assert!(table.contains("REFERENCES post "), "{table}");
    }
}

#[test]
fn a_rebuild_keeps_the_children() {
    let db = Connection::open_in_memory().unwrap();
    let rebuild = "UPDATE post SET title = '' WHERE title IS NULL;
        REBUILD TABLE post (id INTEGER PRIMARY KEY, title TEXT NOT NULL DEFAULT '') STRICT;
        INSERT INTO post (id) VALUES (3);";
    apply(&db, &[BLOG, rebuild]).unwrap();
    assert_eq!(comments(&db), 3);
    assert_eq!(one::<i64>(&db, "SELECT count(*) FROM post"), 3);
    let table = one::<String>(&db, "SELECT sql FROM sqlite_schema WHERE name = 'post'");
    assert!(table.ends_with("STRICT"), "{table}");
    assert_eq!(one::<i64>(&db, "PRAGMA foreign_keys"), 1, "put back");
}

#[test]
fn a_rebuild_that_fails_leaves_nothing_of_its_file() {
    let db = Connection::open_in_memory().unwrap();
    let wrong = "DELETE FROM comment WHERE id = 1;\nREBUILD TABLE post (id INTEGER PRIMARY KEY);";
    let error = apply(&db, &[BLOG, wrong]).unwrap_err();
    assert!(matches!(error, Error::Rebuild { line: 2, .. }), "{error}");
    assert_eq!(comments(&db), 3);
}

#[test]
fn a_delete_cascades_as_it_does_in_the_app() {
    let db = Connection::open_in_memory().unwrap();
    apply(&db, &[BLOG, "DELETE FROM post WHERE id = 2"]).unwrap();
    assert_eq!(one::<i64>(&db, "SELECT count(*) FROM comment"), 1);
}

#[test]
fn a_file_that_leaves_orphans_is_undone() {
    let db = Connection::open_in_memory().unwrap();
    let error = apply(
        &db,
        &[
            BLOG,
            "DELETE FROM post WHERE id = 2; CREATE TABLE x (y); DROP TABLE x",
        ],
    )
    .unwrap_err();
    let Error::Orphans {
        orphans, enforced, ..
    } = &error
    else {
        panic!("{error}");
    };
    assert!(!enforced);
    assert_eq!(orphans.iter().collect::<Vec<_>>(), [("comment", "post", 2)]);
    assert!(
        error
            .to_string()
            .contains("2 rows of comment whose row of post does not exist (foreign keys are off")
    );
    assert_eq!(comments(&db), 3);
    let error = apply(&db, &[BLOG, "DROP TABLE post"]).unwrap_err();
    assert!(matches!(error, Error::Orphans { .. }), "{error}");
    // Foreign keys that wait for the commit are found before it.
    let deferred = "PRAGMA defer_foreign_keys = ON; INSERT INTO note VALUES (99)";
    let error = apply(&db, &[BLOG, deferred]).unwrap_err();
    assert!(
        matches!(error, Error::Orphans { enforced: true, .. }),
        "{error}"
    );
}

#[test]
fn orphans_that_were_there_before_are_no_fault_of_the_file() {
    let db = Connection::open_in_memory().unwrap();
    apply(&db, &[BLOG]).unwrap();
    db.execute_batch("PRAGMA foreign_keys = OFF; INSERT INTO comment VALUES (7, 70), (8, 80)")
        .unwrap();
    apply(&db, &[BLOG, "CREATE TABLE a (x)"]).unwrap();
    apply(&db, &[BLOG, "CREATE TABLE a (x)", DANCE]).unwrap();
    let more = "INSERT INTO post VALUES (9, 'c'); DROP TABLE a; INSERT INTO comment VALUES (9, 90)";
    let error = apply(&db, &[BLOG, "CREATE TABLE a (x)", DANCE, more]).unwrap_err();
    assert!(
        error.to_string().contains(" 1 row of comment"),
        "one more: {error}"
    );
    let fewer = "DELETE FROM comment WHERE post_id = 70";
    apply(&db, &[BLOG, "CREATE TABLE a (x)", DANCE, fewer]).unwrap();
}

#[test]
fn a_foreign_key_that_leads_nowhere_is_found_if_it_is_new() {
    let db = Connection::open_in_memory().unwrap();
    let error = apply(
        &db,
        &["CREATE TABLE p (x); CREATE TABLE c (y REFERENCES p (x))"],
    )
    .unwrap_err();
    assert!(
        error.to_string().contains("without a key to refer to"),
        "{error}"
    );
    // One that was there before, by other means, is in nobody's way.
    db.execute_batch(
        "CREATE TABLE p (x); CREATE TABLE c (y REFERENCES p (x)); INSERT INTO p VALUES (1)",
    )
    .unwrap();
    apply(&db, &[BLOG]).unwrap();
    let error = apply(&db, &[BLOG, "DROP TABLE post"]).unwrap_err();
    assert!(
        error.to_string().contains("3 rows of comment"),
        "not hidden by it: {error}"
    );
}
