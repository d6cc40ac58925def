//! What is refused, and what is said then.

use crate::corpus::{database, query};
use crate::{BLOG, refused};
use monolite_migrate::rebuild::Rebuild;

#[test]
fn what_is_not_named_is_refused() {
    let conn = database(BLOG);
    for (sql, says) in [
        (
            "REBUILD TABLE posts (id INTEGER PRIMARY KEY, user_id INT)",
            "name, price, count are in the table",
        ),
        (
            "REBUILD TABLE users (id INTEGER PRIMARY KEY, name TEXT, mail TEXT NOT NULL)",
            "mail is new",
        ),
        (
            "REBUILD TABLE users (id INTEGER PRIMARY KEY, name TEXT) DROP COLUMN zilch",
            "no column zilch",
        ),
        (
            "REBUILD TABLE users (id INTEGER PRIMARY KEY, name TEXT) RENAME COLUMN zilch TO name",
            "no column zilch",
        ),
        (
            "REBUILD TABLE users (id INTEGER PRIMARY KEY, name TEXT) DROP COLUMN name",
            "name is dropped",
        ),
        (
            "REBUILD TABLE users (id INTEGER PRIMARY KEY) RENAME COLUMN name TO title",
            "title is not in",
        ),
        (
            "REBUILD TABLE users (id INTEGER PRIMARY KEY) SET title = 1",
            "title is not in",
        ),
        (
            "REBUILD TABLE users (id INTEGER PRIMARY KEY, a, b) RENAME COLUMN name TO a RENAME COLUMN name TO b",
            "renamed",
        ),
        (
            "REBUILD TABLE users (id INTEGER PRIMARY KEY, a, b) RENAME COLUMN name TO a DROP COLUMN name",
            "renamed and dropped",
        ),
        (
            "REBUILD TABLE users (id INTEGER PRIMARY KEY, name) SET name = 1, name = 2",
            "SET twice",
        ),
        (
            "REBUILD TABLE posts (id INTEGER PRIMARY KEY, user_id INT, price, count) DROP COLUMN name",
            "index posts_name",
        ),
        ("REBUILD TABLE zilch (a)", "no such table"),
        ("REBUILD TABLE names (a)", "a view"),
        ("REBUILD TABLE sqlite_schema (a)", "SQLite's own"),
        ("REBUILD TABLE posts", "( is expected"),
        (
            "REBUILD TABLE posts (a) RENAME name TO a",
            "COLUMN is expected",
        ),
        ("REBUILD TABLE posts (a) SET a 1", "= is expected"),
        (
            "REBUILD TABLE posts (a) SET a =",
            "an expression is expected",
        ),
        ("REBUILD TABLE posts (a,)", "between two commas"),
        (
            "REBUILD TABLE posts (a) ENGINE = 5",
            "RENAME COLUMN, SET, DROP COLUMN",
        ),
        ("REBUILD TABLE posts (a); SELECT 1", "the end is expected"),
        ("REBUILD TABLE temp.posts (a)", "main is expected"),
        (
            "REBUILD TABLE users (id INTEGER PRIMARY KEY, name TEXT CHECK (nope > 1))",
            "nope",
        ),
    ] {
        let said = refused(&conn, Rebuild::parse(sql));
        assert!(said.contains(says), "{sql}: {said}");
    }
}

#[test]
fn rows_that_do_not_fit_are_refused_with_the_mend() {
    let conn = database(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a, b TEXT); INSERT INTO t VALUES (1, NULL, 'x'), (2, 'word', 'x')",
    );
    for (sql, says) in [
        (
            "(id INTEGER PRIMARY KEY, a NOT NULL, b TEXT)",
            "SET a = coalesce(a, …)",
        ),
        (
            "(id INTEGER PRIMARY KEY, a CHECK (a <> 'word'), b TEXT)",
            "change them first",
        ),
        (
            "(id INTEGER PRIMARY KEY, a INTEGER, b TEXT) STRICT",
            "cannot store TEXT value in INTEGER column t.a",
        ),
        (
            "(id INTEGER PRIMARY KEY, a, b TEXT UNIQUE)",
            "are equal there",
        ),
        (
            "(id INTEGER PRIMARY KEY, a, b TEXT UNIQUE ON CONFLICT IGNORE)",
            "are equal there",
        ),
        (
            "(id INTEGER PRIMARY KEY, a, b TEXT UNIQUE ON CONFLICT REPLACE)",
            "are equal there",
        ),
        (
            "(id INTEGER PRIMARY KEY, a NOT NULL ON CONFLICT REPLACE DEFAULT 5, b TEXT)",
            "NOT NULL",
        ),
        (
            "(id INT, a, b TEXT, PRIMARY KEY (b)) WITHOUT ROWID",
            "are equal there",
        ),
    ] {
        let said = refused(&conn, Ok(Rebuild::table("t").definition(sql)));
        assert!(said.contains(says), "{sql}: {said}");
    }
    // Also when the app has asked SQLite not to look.
    conn.execute_batch("PRAGMA ignore_check_constraints = ON")
        .unwrap();
    refused(
        &conn,
        Ok(Rebuild::table("t").column("a", |a| a.check("a <> 'word'"))),
    );
    assert_eq!(
        query(&conn, "PRAGMA ignore_check_constraints"),
        "Integer(1)|\n"
    );
}

#[test]
fn temporary_triggers_are_not_lost() {
    let conn = database(BLOG);
    conn.execute_batch("CREATE TEMP TRIGGER tt AFTER INSERT ON posts BEGIN SELECT 1; END")
        .unwrap();
    let said = refused(&conn, Ok(Rebuild::table("posts")));
    assert!(said.contains("temporary triggers"), "{said}");
    Rebuild::table("users").run(&conn).unwrap();
    conn.execute_batch("DROP TRIGGER tt; CREATE TEMP TABLE posts (id)")
        .unwrap();
    let said = refused(&conn, Ok(Rebuild::table("posts")));
    assert!(said.contains("temporary table"), "{said}");
}
