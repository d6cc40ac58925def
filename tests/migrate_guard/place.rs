//! A volume, and `monolite migrate` on it.

use std::path::{Path, PathBuf};

use monolite_testkit::{Process, disk_dir, root};
use rusqlite::Connection;
use tempfile::TempDir;

/// A blog whose comments go with their posts.
pub(super) const BLOG: &str = "
    PRAGMA journal_mode = WAL;
    CREATE TABLE posts (id INTEGER PRIMARY KEY, title TEXT);
    CREATE TABLE comments (id INTEGER PRIMARY KEY, body TEXT,
        post_id INTEGER NOT NULL REFERENCES posts ON DELETE CASCADE);
    INSERT INTO posts VALUES (1, 'one'), (2, 'two');
    INSERT INTO comments VALUES (1, 'a', 1), (2, 'b', 2), (3, 'c', 2);";

/// The trap, as SQL.
pub(super) const TRAP: &str = "
    PRAGMA foreign_keys = ON; BEGIN; PRAGMA foreign_keys = OFF;
    CREATE TABLE n (id INTEGER PRIMARY KEY, title TEXT NOT NULL); INSERT INTO n SELECT * FROM posts;
    DROP TABLE posts; ALTER TABLE n RENAME TO posts; COMMIT;";

/// Runs the SQL that comes on its standard input; `$1` is a file it waits for
/// when it is done, if it is given.
pub(super) const SQL: &str = "
import os, sqlite3, sys, time
c = sqlite3.connect(os.environ['DATABASE_PATH'], timeout=30, isolation_level=None)
c.executescript(sys.stdin.read())
print('ran', flush=True)
while len(sys.argv) > 1 and not os.path.exists(sys.argv[1]): time.sleep(0.01)
";

pub(super) struct Place {
    pub(super) dir: TempDir,
}

impl Place {
    pub(super) fn new() -> Self {
        Self { dir: disk_dir() }
    }

    /// With the blog in `app.sqlite3`.
    pub(super) fn with_blog() -> Self {
        let place = Self::new();
        place.sql(BLOG);
        place
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(super) fn sql(&self, sql: &str) {
        self.open().execute_batch(sql).unwrap();
    }

    pub(super) fn open(&self) -> Connection {
        Connection::open(self.path("app.sqlite3")).unwrap()
    }

    pub(super) fn number(&self, sql: &str) -> i64 {
        self.open().query_row(sql, [], |row| row.get(0)).unwrap()
    }

    /// `monolite migrate`, with `options` and `command`, in `app`; its input
    /// is the text.
    pub(super) fn migrate(
        &self,
        app: &Path,
        options: &[&str],
        command: &[&str],
        input: &str,
    ) -> Process {
        let mut arguments = vec![
            "migrate".to_owned(),
            "--data".into(),
            self.dir.path().display().to_string(),
        ];
        arguments.extend(options.iter().map(|s| (*s).to_owned()));
        arguments.push("--".into());
        arguments.extend(command.iter().map(|s| (*s).to_owned()));
        let file = self.path("input.sql");
        std::fs::write(&file, input).unwrap();
        Process::start(env!("CARGO_BIN_EXE_monolite"), arguments, |command| {
            command
                .current_dir(app)
                .stdin(std::fs::File::open(&file).unwrap())
                .env_remove("DATABASE_URL")
                .env("PYTHONDONTWRITEBYTECODE", "1");
        })
    }

    /// Runs SQL under the guard, to its end: the exit code and all output.
    pub(super) fn guarded(&self, options: &[&str], sql: &str) -> (i32, String) {
        let run = self.migrate(self.dir.path(), options, &["python3", "-c", SQL], sql);
        ended(run)
    }

    /// What is in the guard's directory.
    pub(super) fn kept(&self) -> Vec<PathBuf> {
        let all = std::fs::read_dir(self.path(".monolite/migrating"));
        let all = all.into_iter().flatten().flatten();
        all.map(|entry| entry.path()).collect()
    }
}

/// The exit code, or 128 and the signal's number; and all output.
pub(super) fn ended(run: Process) -> (i32, String) {
    use std::os::unix::process::ExitStatusExt;
    let (status, output) = run.end();
    let code = status.code().or(status.signal().map(|signal| 128 + signal));
    (code.unwrap(), output)
}

#[track_caller]
pub(super) fn has(output: &str, texts: &[&str]) {
    for text in texts {
        assert!(output.contains(text), "no {text:?} in:\n{output}");
    }
}

pub(super) fn fixture(name: &str) -> PathBuf {
    root().join("tests/fixtures").join(name)
}
