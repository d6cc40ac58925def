//! `monolite migrate diff`: from the database there is to a schema file.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use monolite_testkit::disk_dir;
use rusqlite::Connection;
use serde_json::Value;
use tempfile::TempDir;

const LIVE: &str = "
    CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
    CREATE TABLE posts (
      id INTEGER PRIMARY KEY AUTOINCREMENT,
      user_id INTEGER NOT NULL REFERENCES users ON DELETE CASCADE,
      name TEXT, price INTEGER, count INTEGER
    );
    CREATE TABLE comments (id INTEGER PRIMARY KEY, post_id INTEGER NOT NULL REFERENCES posts ON DELETE CASCADE);
    CREATE INDEX posts_name ON posts (name);
    CREATE VIEW names AS SELECT id, name FROM posts;
    INSERT INTO users VALUES (1, 'ann'), (2, 'bob');
    INSERT INTO posts VALUES (3, 1, 'three', 5, 2), (8, 2, 'eight', 7, NULL);
    INSERT INTO comments VALUES (1, 3), (2, 3), (3, 8);";

const SCHEMA: &str = "
CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL, mail TEXT NOT NULL DEFAULT '');
CREATE TABLE posts (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  user_id INTEGER NOT NULL REFERENCES users ON DELETE CASCADE,
  title TEXT NOT NULL DEFAULT '',       -- was: name
  total INTEGER NOT NULL CHECK (total >= 0) -- set: price * coalesce(count, 1)
) STRICT;
CREATE TABLE comments (id INTEGER PRIMARY KEY, post_id INTEGER NOT NULL REFERENCES posts ON DELETE CASCADE);
CREATE TABLE tags (name TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE INDEX posts_name ON posts (title);
CREATE VIEW names AS SELECT id, title FROM posts;
";

struct Project {
    dir: TempDir,
}

impl Project {
    fn new(schema: &str) -> Self {
        let project = Self { dir: disk_dir() };
        std::fs::create_dir(project.path("data")).expect("a directory");
        project.db().execute_batch(LIVE).expect("a database");
        std::fs::write(project.path("schema.sql"), schema).expect("written");
        project
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn db(&self) -> Connection {
        Connection::open(self.path("data/app.sqlite3")).expect("opened")
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_monolite"));
        command
            .arg("migrate")
            .args(words)
            .args(["--data", "data"])
            .env_clear()
            .stdin(Stdio::null())
            .current_dir(self.dir.path());
        command
    }

    /// Exit code, output, errors.
    fn run(&self, words: &[&str]) -> (i32, String, String) {
        let Output {
            status,
            stdout,
            stderr,
        } = self.command(words).output().expect("the binary runs");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
        let (out, errors) = (text(stdout), text(stderr));
        assert!(!(out.clone() + &errors).contains('\x1b'), "{out}{errors}");
        (status.code().expect("it exits"), out, errors)
    }

    fn one(&self, sql: &str) -> String {
        self.db()
            .query_row(sql, [], |row| row.get(0))
            .unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    fn files(&self) -> Vec<String> {
        let all = std::fs::read_dir(self.path("migrations"));
        let mut names: Vec<String> = all
            .into_iter()
            .flatten()
            .map(|entry| {
                entry
                    .expect("a file")
                    .file_name()
                    .into_string()
                    .expect("UTF-8")
            })
            .collect();
        names.sort();
        names
    }
}

#[test]
fn from_a_database_with_rows_to_a_schema_file() {
    let project = Project::new(SCHEMA);
    let allow = ["--allow-loss", "column:posts.price,posts.count"];
    let (code, printed, errors) = project.run(&[&["diff", "schema.sql"], &allow[..]].concat());
    assert_eq!((code, errors.as_str()), (0, ""), "{printed}");
    assert!(printed.contains("REBUILD TABLE posts (\n"), "{printed}");
    let allow_them = "-- monolite: allow column:posts.price, column:posts.count: ";
    assert!(printed.contains(allow_them), "{printed}");
    assert_eq!(project.files(), [""; 0], "printed only");

    let new = ["diff", "schema.sql", "Total", "of", "posts"];
    let (code, out, errors) = project.run(&[&new, &allow[..]].concat());
    assert_eq!((code, errors.as_str()), (0, ""), "{out}");
    assert_eq!(out.trim_end(), "migrations/0001_total_of_posts.sql");
    assert_eq!(project.files(), ["0001_total_of_posts.sql"]);
    let text = std::fs::read_to_string(project.path(out.trim_end())).expect("the file");
    assert_eq!(text, printed);

    // Not applied yet: that is said, and nothing has changed.
    let (code, _, errors) = project.run(&[&["diff", "schema.sql"], &allow[..]].concat());
    assert_eq!(code, 0);
    assert!(
        errors.contains("1 migration is not applied yet"),
        "{errors}"
    );
    assert_eq!(
        project.one("SELECT group_concat(name ORDER BY id) FROM posts"),
        "three,eight"
    );

    let (code, _, errors) = project.run(&["up"]);
    assert_eq!(code, 0, "{errors}");
    assert_eq!(
        project.one(
            "SELECT group_concat(concat_ws(' ', id, user_id, title, total) ORDER BY id) FROM posts"
        ),
        "3 1 three 10,8 2 eight 7"
    );
    assert_eq!(
        project.one("SELECT group_concat(post_id ORDER BY id) FROM comments"),
        "3,3,8"
    );
    assert_eq!(
        project.one("SELECT group_concat(title ORDER BY id) FROM names"),
        "three,eight"
    );
    assert_eq!(project.one("SELECT seq || '' FROM sqlite_sequence"), "8");
    assert_eq!(project.one("PRAGMA integrity_check"), "ok");

    // Nothing is left to do, also without what was allowed.
    let (code, out, errors) = project.run(&["diff", "schema.sql"]);
    assert_eq!((code, out.as_str()), (0, ""));
    assert!(errors.contains("is as schema.sql says"), "{errors}");
    let (code, out, _) = project.run(&["diff", "schema.sql", "--json"]);
    let report: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(
        (code, &report["same"], &report["sql"]),
        (0, &true.into(), &"".into())
    );
    let (code, out, _) = project.run(&["diff", "schema.sql", "nothing"]);
    assert_eq!((code, out.as_str()), (0, ""));
    assert_eq!(project.files(), ["0001_total_of_posts.sql"]);
}

#[test]
fn what_is_refused_writes_nothing() {
    let project = Project::new(SCHEMA);
    let refused = |words: &[&str], code: i32, says: &[&str]| {
        let (is, out, errors) = project.run(words);
        assert_eq!((is, out.as_str()), (code, ""), "{words:?}: {errors}");
        for word in says {
            assert!(errors.contains(word), "{words:?}: {errors}");
        }
        assert_eq!(project.files(), [""; 0], "{words:?}");
    };
    refused(
        &["diff", "schema.sql", "total"],
        1,
        &[
            "posts.price, posts.count would be dropped",
            "--allow-loss column:posts.price",
        ],
    );
    refused(&["diff", "nowhere.sql"], 1, &["cannot read nowhere.sql"]);
    refused(&["diff"], 2, &["SCHEMA"]);
    let allow = ["--allow-loss", "column:posts.price,posts.count"];
    refused(
        &[&["diff", "schema.sql", "17"], &allow[..]].concat(),
        2,
        &["17"],
    );
    for (schema, says) in [
        ("CREATE TABLE a (b", "line 1"),
        (
            "\nDROP TABLE posts;",
            "line 2 of the wanted schema: DROP TABLE posts; does not belong",
        ),
        (
            "CREATE TABLE a AS SELECT 1 AS n;",
            "write its columns instead: CREATE TABLE a(n)",
        ),
    ] {
        std::fs::write(project.path("wrong.sql"), schema).expect("written");
        refused(&["diff", "wrong.sql", "wrong"], 1, &[says]);
    }
    assert_eq!(
        project.one("SELECT group_concat(name ORDER BY id) FROM posts"),
        "three,eight"
    );
}

#[test]
fn a_reader_that_goes_away_is_no_failure_to_speak_of() {
    let project = Project::new(SCHEMA);
    let mut child = project
        .command(&[
            "diff",
            "schema.sql",
            "--allow-loss",
            "posts.price,posts.count",
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    drop(child.stdout.take());
    let said = child.wait_with_output().expect("it exits");
    let errors = String::from_utf8_lossy(&said.stderr);
    assert!(!errors.contains("panicked"), "{errors}");
}
