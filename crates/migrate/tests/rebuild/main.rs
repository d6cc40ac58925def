//! What a rebuild changes, what it keeps, and what it refuses.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod columns;
mod connection;
#[path = "../corpus/mod.rs"]
mod corpus;
mod definition;
mod dependents;
mod foreign_keys;
mod refusals;
mod rowids;
mod values;

use corpus::{dump, query};
use monolite_migrate::rebuild::{Error, Rebuild, Rebuilt};
use rusqlite::Connection;

const BLOG: &str = "
    CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
    CREATE TABLE posts (
      id INTEGER PRIMARY KEY, -- the id
      user_id INTEGER NOT NULL REFERENCES users ON DELETE CASCADE,
      name TEXT,
      price INTEGER, count INTEGER NOT NULL DEFAULT 1
    );
    CREATE TABLE comments (id INTEGER PRIMARY KEY, post_id INTEGER NOT NULL REFERENCES posts ON DELETE CASCADE);
    CREATE INDEX posts_user ON posts (user_id);
    CREATE INDEX posts_name ON posts (name) WHERE name IS NOT NULL;
    CREATE VIEW names AS SELECT id, name FROM posts;
    CREATE TABLE log (what TEXT);
    CREATE TRIGGER posts_log AFTER UPDATE OF name ON posts BEGIN INSERT INTO log VALUES (old.name || ' to ' || new.name); END;
    INSERT INTO users VALUES (1, 'ann'), (2, 'bob');
    INSERT INTO posts VALUES (1, 1, 'one', 5, 2), (2, 2, NULL, NULL, 3), (7, 1, 'seven', 1, 1);
    INSERT INTO comments VALUES (1, 1), (2, 1), (3, 7);";

fn run(conn: &Connection, sql: &str) -> Rebuilt {
    let rebuilt = Rebuild::parse(sql).and_then(|rebuild| rebuild.run(conn));
    rebuilt.unwrap_or_else(|error| panic!("{sql}: {error}"))
}

/// Refused, with nothing changed; what is said.
#[track_caller]
fn refused(conn: &Connection, rebuild: Result<Rebuild, Error>) -> String {
    let before = (dump(conn), query(conn, "PRAGMA foreign_keys"));
    let error = rebuild.and_then(|rebuild| rebuild.run(conn)).unwrap_err();
    assert!(conn.is_autocommit());
    assert_eq!(before, (dump(conn), query(conn, "PRAGMA foreign_keys")));
    error.to_string()
}

fn text(conn: &Connection, name: &str) -> String {
    let sql = "SELECT sql FROM sqlite_schema WHERE name = ?1";
    conn.query_row(sql, [name], |row| row.get(0)).unwrap()
}

fn count(conn: &Connection, of: &str) -> i64 {
    conn.query_row(&format!("SELECT count(*) FROM {of}"), [], |row| row.get(0))
        .unwrap()
}
