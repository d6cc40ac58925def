//! A blog's database, a big one, and the linter over one file.

use monolite_migrate::lint::{Finding, Linter};
use rusqlite::Connection;

pub(crate) const BLOG: &str = "
    CREATE TABLE users (
        id INTEGER PRIMARY KEY, name TEXT NOT NULL DEFAULT '', email TEXT UNIQUE,
        age INTEGER, upper_name TEXT AS (upper(name))
    );
    CREATE TABLE posts (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        user_id INTEGER REFERENCES users ON DELETE CASCADE,
        title TEXT NOT NULL DEFAULT '', body TEXT, price INTEGER CHECK (price >= 0)
    );
    CREATE TABLE comments (id INTEGER PRIMARY KEY, post_id INTEGER REFERENCES posts ON DELETE CASCADE, text TEXT);
    CREATE TABLE likes (post_id INTEGER REFERENCES posts ON DELETE SET NULL);
    CREATE TABLE audits (user_id INTEGER REFERENCES users);
    CREATE TABLE tags (name TEXT PRIMARY KEY);
    CREATE TABLE empty (x);
    CREATE INDEX posts_title ON posts (title);
    CREATE TRIGGER posts_new AFTER INSERT ON posts BEGIN UPDATE users SET age = age WHERE id = new.user_id; END;
    CREATE VIEW authors AS SELECT name FROM users;
    INSERT INTO users (id) VALUES (1), (2), (3);
    INSERT INTO posts (id, user_id) VALUES (1, 1), (2, 1), (3, 2), (4, NULL);
    INSERT INTO comments (post_id) VALUES (1), (1), (2), (NULL);
    INSERT INTO likes VALUES (1), (2), (NULL);
    INSERT INTO audits VALUES (1), (1);
    INSERT INTO tags VALUES ('a');
    CREATE TABLE _monolite_other (x);
";

pub(crate) fn blog() -> Connection {
    let db = Connection::open_in_memory().unwrap();
    db.execute_batch(BLOG).unwrap();
    db
}

/// Rows enough to take seconds.
pub(crate) fn big() -> Connection {
    let db = Connection::open_in_memory().unwrap();
    db.execute_batch(
        "CREATE TABLE log (id INTEGER PRIMARY KEY, n INTEGER);
         WITH RECURSIVE r(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r WHERE i < 1300000)
         INSERT INTO log SELECT i, i FROM r;",
    )
    .unwrap();
    db
}

pub(crate) fn lint(db: Option<&Connection>, text: &str) -> Vec<Finding> {
    Linter::new(db).unwrap().file("0001_a.sql", text).unwrap()
}

pub(crate) fn names(found: &[Finding]) -> Vec<&'static str> {
    found.iter().map(|finding| finding.rule.name).collect()
}
