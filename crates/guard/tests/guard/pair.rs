//! A database before and after.

use std::path::PathBuf;

use monolite_guard::{DatabaseProgress, Depth, Loss, Report, compare};
use rusqlite::Connection;
use tempfile::TempDir;

pub(crate) struct Pair {
    _dir: TempDir,
    pub(crate) live: PathBuf,
    pub(crate) before: PathBuf,
}

impl Pair {
    /// A database made by `sql`, and a copy of it.
    pub(crate) fn new(sql: &str) -> Self {
        let memory = std::path::Path::new("/dev/shm");
        let dir = match memory.is_dir() {
            true => tempfile::tempdir_in(memory),
            false => tempfile::tempdir(),
        };
        let dir = dir.unwrap();
        let pair = Self {
            live: dir.path().join("app.sqlite3"),
            before: dir.path().join("before.sqlite3"),
            _dir: dir,
        };
        pair.run(sql);
        std::fs::copy(&pair.live, &pair.before).unwrap();
        pair
    }

    pub(crate) fn open(&self) -> Connection {
        let conn = Connection::open(&self.live).unwrap();
        conn.execute_batch("PRAGMA synchronous = OFF").unwrap();
        conn
    }

    pub(crate) fn run(&self, sql: &str) {
        self.open().execute_batch(sql).unwrap();
    }

    pub(crate) fn report(&self, depth: Depth) -> Report {
        compare(
            &self.live,
            &self.before,
            depth,
            &DatabaseProgress::new("app", &|_| {}),
        )
        .unwrap()
    }
}

/// `kind table.name count/of`, as far as there is one.
pub(crate) fn shown(loss: &Loss) -> String {
    let mut text = loss.kind.name().to_owned();
    let of: Vec<&str> = loss
        .table
        .iter()
        .chain(&loss.name)
        .map(String::as_str)
        .collect();
    if !of.is_empty() {
        text += &format!(" {}", of.join("."));
    }
    if loss.of > 0 || loss.count > 0 {
        text += &format!(" {}/{}", loss.count, loss.of);
    }
    text
}

/// What the report says of a migration from `before` by `sql`: losses, sorted.
pub(crate) fn losses(before: &str, sql: &str) -> Vec<String> {
    let pair = Pair::new(before);
    pair.run(sql);
    let mut losses: Vec<String> = pair.report(Depth::Quick).losses.iter().map(shown).collect();
    losses.sort();
    losses
}

/// Asserts the losses, and that one of the notes contains each of `notes`.
#[track_caller]
pub(crate) fn expect(before: &str, sql: &str, losses: &[&str], notes: &[&str]) {
    let pair = Pair::new(before);
    pair.run(sql);
    let report = pair.report(Depth::Quick);
    let mut found: Vec<String> = report.losses.iter().map(shown).collect();
    let mut losses = losses.to_vec();
    found.sort();
    losses.sort_unstable();
    assert_eq!(found, losses, "{report:#?}");
    for note in notes {
        let has = report.notes.iter().any(|has| has.text.contains(note));
        assert!(has, "no note {note:?} in {:#?}", report.notes);
    }
    if notes.is_empty() && losses.is_empty() {
        assert!(report.notes.is_empty(), "{:#?}", report.notes);
    }
}

/// Posts with comments that go with them, of users that leave them behind.
pub(crate) const BLOG: &str = "
    CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
    CREATE TABLE posts (
        id INTEGER PRIMARY KEY, title TEXT,
        user_id INTEGER REFERENCES users (id) ON DELETE SET NULL
    );
    CREATE TABLE comments (
        id INTEGER PRIMARY KEY, body TEXT,
        post_id INTEGER NOT NULL REFERENCES posts (id) ON DELETE CASCADE
    );
    CREATE INDEX comments_by_post ON comments (post_id);
    WITH RECURSIVE n (n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM n WHERE n < 40)
      INSERT INTO users SELECT n, 'user ' || n FROM n;
    INSERT INTO posts SELECT id, 'post ' || id, id FROM users;
    INSERT INTO comments SELECT id, hex(randomblob(300)), 1 + id % 40 FROM users;
    INSERT INTO comments (body, post_id) SELECT body || 'again', post_id FROM comments;
";
