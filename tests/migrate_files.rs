//! `monolite migrate` with files of one's own, as a newcomer runs it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use monolite_testkit::{Outcome, Process, Signal, disk_dir, wait_until};
use rusqlite::Connection;
use serde_json::Value;
use tempfile::TempDir;

/// A project, with a data directory and nothing in it.
struct Project {
    dir: TempDir,
}

impl Project {
    fn new() -> Self {
        let dir = disk_dir();
        std::fs::create_dir(dir.path().join("data")).expect("a directory");
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        std::fs::write(path, text).expect("written");
    }

    fn db(&self) -> Connection {
        Connection::open(self.path("data/app.sqlite3")).expect("opened")
    }

    fn has_table(&self, name: &str) -> bool {
        self.db().table_exists(None, name).expect("looked up")
    }

    fn command(&self, words: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_monolite"));
        command
            .arg("migrate")
            .args(words.split_whitespace())
            .env_clear()
            .current_dir(self.dir.path());
        command
    }

    fn run(&self, words: &str) -> Outcome {
        Outcome::of(&mut self.command(words))
    }

    fn good(&self, words: &str) -> String {
        let said = self.run(words);
        assert_eq!(said.code, 0, "{words}: {said:?}");
        assert_eq!(said.errors, "", "{words}");
        assert!(!said.out.contains('\x1b'), "{words}: {said:?}");
        said.out
    }

    fn json(&self, words: &str) -> Value {
        serde_json::from_str(&self.good(words)).expect("JSON")
    }

    /// One line that names the thing and the mend.
    fn refused(&self, words: &str, code: i32, said: &[&str]) {
        let run = self.run(words);
        assert_eq!(run.code, code, "{words}: {run:?}");
        assert_eq!(run.errors.trim_end().lines().count(), 1, "{words}: {run:?}");
        for word in said {
            assert!(
                run.errors.contains(word),
                "{words}: {word:?} is not in {run:?}"
            );
        }
    }

    /// What lies in the data directory, and below.
    fn files(&self) -> Vec<String> {
        fn list(dir: &Path, into: &mut Vec<String>) {
            for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
                match entry.path() {
                    path if path.is_dir() => list(&path, into),
                    path => into.push(path.display().to_string()),
                }
            }
        }
        let mut all = Vec::new();
        list(&self.path("data"), &mut all);
        let root = format!("{}/", self.path("data").display());
        let mut all: Vec<String> = all.iter().map(|path| path.replace(&root, "")).collect();
        all.sort();
        all
    }
}

const POSTS: &str = "CREATE TABLE post (id INTEGER PRIMARY KEY, title TEXT);
INSERT INTO post (title) VALUES ('Hello'), ('World');
CREATE TABLE comment (post_id INTEGER REFERENCES post ON DELETE CASCADE);
INSERT INTO comment VALUES (1), (2);\n";

#[test]
fn from_nothing_to_a_database() {
    let project = Project::new();
    project.refused(
        "up",
        1,
        &["there is no directory migrations", "monolite migrate new"],
    );
    project.refused("check", 1, &["monolite migrate new"]);
    assert_eq!(
        project.good("new Add posts"),
        "migrations/0001_add_posts.sql\n"
    );
    project.refused("up", 1, &["0001_add_posts.sql has no statement yet"]);
    assert_eq!(
        project.files(),
        [] as [&str; 0],
        "none was made for nothing"
    );
    project.write("migrations/0001_add_posts.sql", POSTS);
    let plan = project.good("up --dry-run");
    assert!(plan.contains("0001_add_posts.sql: writers wait"), "{plan}");
    assert_eq!(project.files(), [] as [&str; 0]);
    assert_eq!(
        project.good("check"),
        "1 file, judged by the files alone: 0 errors, 0 warnings\n"
    );

    let up = project.good("up");
    assert!(
        up.starts_with("applied 0001_add_posts.sql to app.sqlite3 in "),
        "{up}"
    );
    assert_eq!(
        project.good("up"),
        "app.sqlite3: nothing to apply of 1 migration\n"
    );
    let mode: String = project
        .db()
        .query_row("PRAGMA journal_mode", [], |row| row.get(0))
        .expect("a mode");
    assert_eq!(mode, "wal");
    let status = project.json("check --json");
    assert_eq!(status["migrations"][0]["state"], "applied");
    assert_eq!(status["pending"], 0);
    let status = project.good("check");
    assert!(
        status.starts_with(
            "app.sqlite3: 1 of 1 migration applied, the newest 0001_add_posts.sql at "
        ),
        "{status}"
    );

    assert_eq!(
        project.good("new index titles"),
        "migrations/0002_index_titles.sql\n"
    );
    project.write(
        "migrations/0002_index_titles.sql",
        "CREATE INDEX post_title ON post (title);\n",
    );
    let plan = project.json("up --dry-run --json");
    assert_eq!(plan["files"][0]["name"], "0002_index_titles");
    assert_eq!(plan["files"][0]["locks"]["readers"], "never");
    assert_eq!(plan["files"][0]["statements"][0]["line"], 1);
    assert!(plan["size"].as_u64() > Some(4096), "{plan}");
    let left = [".monolite/migrating.lock", "app.sqlite3"];
    assert_eq!(project.files(), left, "the copy is gone");
    let up = project.json("up --json");
    assert_eq!(up["applied"][0]["version"], 2);
    assert_eq!(
        project.json("up --json")["applied"]
            .as_array()
            .map(Vec::len),
        Some(0)
    );
}

#[test]
fn what_is_wrong_is_said_in_one_line_and_nothing_is_changed() {
    let project = Project::new();
    project.write("migrations/0001_a.sql", POSTS);
    for (name, text, said) in [
        (
            "0003_b.sql",
            "SELECT 1",
            &["no migration 0002", "0003_b.sql"][..],
        ),
        (
            "0001_b.sql",
            "SELECT 1",
            &["0001_a.sql and 0001_b.sql have the same number"],
        ),
        ("two.sql", "SELECT 1", &["two.sql", "rename it"]),
        ("0002_b.SQL", "SELECT 1", &["0002_b.SQL", "rename it"]),
        (
            "0002_b.sql",
            "CREATE TABEL b (x)",
            &["0002_b.sql, line 1", "TABEL", "syntax error"],
        ),
        (
            "0002_b.sql",
            "\nCOMMIT;",
            &["0002_b.sql, line 2: COMMIT cannot be part", "remove it"],
        ),
        (
            "0002_b.sql",
            "PRAGMA journal_mode=DELETE;",
            &[
                "PRAGMA journal_mode=DELETE",
                "cannot be changed in a transaction",
            ],
        ),
        ("0002_b.sql", "SELECT 'a", &["0002_b.sql, line 1"]),
        ("0002_b.sql", "REBUILD TABLE post", &["0002_b.sql, line 1"]),
    ] {
        project.write(&format!("migrations/{name}"), text);
        for words in [
            "up",
            "up --dry-run",
            "up --json",
            "up --redo",
            "up --baseline",
        ] {
            project.refused(words, 1, said);
        }
        std::fs::remove_file(project.path("migrations").join(name)).expect("removed");
    }
    assert_eq!(project.files(), [] as [&str; 0]);
    project.good("up");
    // While it runs: all of the file, or nothing.
    let orphans =
        "CREATE TABLE b (x);\n-- monolite: allow links:post, table:post: to see\nDROP TABLE post;";
    project.write("migrations/0002_b.sql", orphans);
    project.refused("up --dry-run", 1, &["2 rows of comment whose row of post"]);
    project.refused(
        "up",
        1,
        &[
            "0002_b.sql would leave 2 rows of comment",
            "nothing of it was applied",
        ],
    );
    project.write(
        "migrations/0002_b.sql",
        "CREATE TABLE b (x);\nINSERT INTO no VALUES (1);",
    );
    project.refused(
        "up",
        1,
        &[
            "0002_b.sql, line 2: no such table: no",
            "nothing of this file",
        ],
    );
    assert!(!project.has_table("b"));
    // Edited, gone, and further than the files.
    project.write("migrations/0001_a.sql", "SELECT 1");
    project.refused("up", 1, &["0001_a.sql was changed after it was applied"]);
    let status = project.run("check");
    assert_eq!(status.code, 1);
    assert!(
        status.out.contains("0001_a.sql was changed since")
            && status.errors.contains("was changed"),
        "{status:?}"
    );
    std::fs::remove_file(project.path("migrations/0001_a.sql")).expect("removed");
    std::fs::remove_file(project.path("migrations/0002_b.sql")).expect("removed");
    project.refused(
        "up",
        1,
        &[
            "the database is at 0001_a",
            "there is no migration here",
            "older version of the app",
            "--to 0",
        ],
    );
    project.write("migrations/0001_a.sql", POSTS);
    let applied = "INSERT INTO _monolite_migration SELECT 2, '0002_newer', checksum, applied_at_ms, took_ms FROM _monolite_migration";
    project
        .db()
        .execute_batch(applied)
        .expect("as by a newer version");
    project.refused("up", 1, &["the database is at 0002_newer", "--to 1"]);
    project.refused("up --dry-run", 1, &["--to 1"]);
    for words in ["up --dry-run --to 1", "up --to 1"] {
        assert!(project.good(words).contains("nothing to apply"), "{words}");
    }
}

#[test]
fn wrong_words_are_wrong_usage() {
    let project = Project::new();
    project.write("migrations/0001_a.sql", POSTS);
    for (words, said) in [
        ("new", "WORDS"),
        ("new --", "WORDS"),
        ("new 123", "a few words that say"),
        ("up --to x", "--to"),
        ("up --dry-run --redo", "--redo"),
        ("--interrupted keep check", "--interrupted"),
        ("up --tow 1", "--to"),
        ("upp", "up"),
        ("up --database s3://bucket/x", "name a file"),
        ("up --database ../x.db", "without `..`"),
        ("up --baseline --to 9", "there is no migration 0009"),
        ("up --config no.toml", "no.toml"),
        ("up --database /tmp", "/tmp is a directory"),
    ] {
        // Some of them are about a database.
        if words.contains("baseline") {
            drop(project.db());
        }
        let run = project.run(words);
        assert_eq!(run.code, 2, "{words}: {run:?}");
        assert!(run.errors.contains(said), "{words}: {run:?}");
    }
    project.refused(
        "up --to 9",
        1,
        &["there is no migration 0009; the newest is 0001"],
    );
    project.refused("up --data nowhere", 1, &["there is no directory", "--data"]);
    project.write(
        "data/text.db",
        "this is not a database, but it is long enough to look like one",
    );
    project.refused(
        "up --database text.db",
        1,
        &["text.db", "not a SQLite database"],
    );
    project.refused(
        "check",
        2,
        &[
            "there are 2 databases",
            "app.sqlite3, text.db",
            "--database",
        ],
    );
    project.write(
        "monolite.toml",
        "migrations = 'db/changes'\ndatabase = 'shop.db'\n",
    );
    project.refused("up", 1, &["db/changes"]);
    project.write("db/changes/0001_x.sql", "CREATE TABLE x (y)");
    project.good("up");
    assert!(project.path("data/shop.db").is_file());
    assert!(
        project
            .good("--dir migrations check --database app.sqlite3 migrations/0001_a.sql")
            .contains("1 file, judged by app.sqlite3")
    );
}

#[test]
fn the_lint_says_what_would_be_lost_and_exits_with_3() {
    let project = Project::new();
    project.write("migrations/0001_a.sql", POSTS);
    project.good("up");
    project.write("migrations/0002_b.sql", "-- gone\nDROP TABLE post;\n");
    let run = project.run("check");
    assert_eq!((run.code, &*run.errors), (3, ""), "{run:?}");
    for said in [
        "0002_b.sql, line 2: error drop-table: drops post and 2 rows\n",
        "    or       -- monolite: allow table:post: the reason\n",
        "error orphans: leaves 2 rows of comment",
        "1 file, judged by app.sqlite3: 2 errors, 0 warnings\n",
    ] {
        assert!(run.out.contains(said), "{said}: {run:?}");
    }
    let run = project.run("check --json migrations/0002_b.sql");
    let report: Value = serde_json::from_str(&run.out).expect("JSON");
    assert_eq!((run.code, &report["errors"]), (3, &Value::from(2)));
    assert_eq!(report["findings"][0]["rule"], "drop-table");
    // By the files alone; one that was applied; one of another place.
    assert_eq!(project.run("check --no-database").code, 3);
    project.good("check migrations/0001_a.sql");
    project.write("other.sql", "DELETE FROM post;");
    let run = project.run("check other.sql");
    assert!(run.out.contains("other.sql, line 1"), "{run:?}");
    project.refused("check no.sql", 1, &["no.sql"]);
    // The same fault is the same answer, by whatever way it is come to.
    project.write("other.sql", "SELECT 1;\n\nSELECT '\0'");
    project.refused("check other.sql", 1, &["other.sql, line 3: there is a NUL"]);
    std::fs::write(project.path("other.sql"), b"SELECT 1;\n'\xff'").expect("written");
    project.refused("check other.sql", 1, &["other.sql, line 2", "not UTF-8"]);
    project.write(
        "migrations/0002_b.sql",
        "DROP TABLE comment; -- monolite: allow comment: nobody reads them\n-- monolite: allow table:post: nobody reads them\nDROP TABLE post;\n",
    );
    let said = project.good("check");
    assert!(said.contains("because  nobody reads them"), "{said}");
    assert!(said.ends_with("0 errors, 0 warnings\n"), "{said}");
}

#[test]
fn what_is_named_is_meant_to_be_there() {
    let project = Project::new();
    project.write("migrations/0001_a.sql", POSTS);
    for verb in ["up --dry-run", "check"] {
        let words = |flag: &str| format!("{verb} {flag}");
        project.refused(&words("--data nowhere"), 1, &["no directory", "--data"]);
        let named = words("--database typo.db");
        project.refused(&named, 1, &["no database", "typo.db", "migrate up"]);
    }
    // What is not one is said in the same words by all.
    project.write(
        "data/text.db",
        "this is not a database, but it is long enough",
    );
    for verb in ["up", "up --dry-run", "check", "up --baseline", "up --redo"] {
        project.refused(
            &format!("{verb} --database text.db"),
            1,
            &["text.db is not a SQLite database, or it is encrypted"],
        );
    }
}

#[test]
fn a_loss_that_nobody_allowed_is_not_begun() {
    let project = Project::new();
    project.write("migrations/0001_a.sql", POSTS);
    project.good("up");
    project.write("migrations/0002_b.sql", "CREATE TABLE b (x);");
    project.write(
        "migrations/0003_c.sql",
        "ALTER TABLE post DROP COLUMN title;\nDELETE FROM comment;",
    );
    let rows = |sql: &str| -> i64 {
        let db = project.db();
        db.query_row(sql, [], |row| row.get(0)).expect("counted")
    };
    for words in ["up", "up --json"] {
        let run = project.run(words);
        assert_eq!(run.code, 3, "{run:?}");
        assert!(run.errors.contains("nothing was begun"), "{run:?}");
        assert!(
            run.out.contains("column:post.title") && run.out.contains("rows:comment"),
            "{run:?}"
        );
    }
    assert!(!project.has_table("b"), "nor is a file before it");
    assert_eq!(rows("SELECT count(title) FROM post"), 2);
    // One file may go as far as it is harmless.
    project.good("up --to 2");
    let run = project.run("up --dry-run");
    assert_eq!(run.code, 1, "{run:?}");
    assert!(
        run.out.contains("rows:comment") && run.errors.contains("begins none"),
        "{run:?}"
    );
    // As the report says, by the file or by the flag.
    assert_eq!(project.run("up --allow-loss rows:comment").code, 3);
    project.write(
        "migrations/0003_c.sql",
        "-- monolite: allow column:post.title: it is in the name\nALTER TABLE post DROP COLUMN title;\nDELETE FROM comment;",
    );
    let said = project.good("--allow-loss rows:comment=2 up");
    assert!(said.contains("applied 0003_c.sql"), "{said}");
    assert_eq!(rows("SELECT count(*) FROM comment"), 0);
    project.write("migrations/0002_b.sql", "SELECT 1;");
    project.refused("check", 1, &["0002_b.sql was changed after it was applied"]);
    let run = project.run("check --json");
    let report: Value = serde_json::from_str(&run.out).expect("JSON");
    assert!(
        report["error"]
            .as_str()
            .is_some_and(|said| said.contains("was changed"))
    );
    std::fs::create_dir(project.path("migrations/0004_d.sql")).expect("a directory");
    project.refused("up", 1, &["0004_d.sql is not a file"]);
}

/// What no lint can see: rows that a trigger deletes, and values that are lost by a condition that
/// holds for all of them.
#[test]
fn what_is_lost_all_the_same_is_put_back() {
    let project = Project::new();
    project.write("migrations/0001_a.sql", POSTS);
    project.write(
        "migrations/0002_b.sql",
        "CREATE TRIGGER t AFTER UPDATE ON post BEGIN DELETE FROM comment; END;",
    );
    project.good("up");
    let count = || -> i64 {
        let db = project.db();
        db.query_row("SELECT count(*) FROM comment", [], |row| row.get(0))
            .expect("counted")
    };
    let losing = "UPDATE post SET title = title WHERE id = 1;";
    project.write("migrations/0003_c.sql", "CREATE TABLE c (x);");
    project.write("migrations/0004_d.sql", losing);
    let run = project.run("up");
    assert_eq!(run.code, 1, "{run:?}");
    for said in [
        "app.sqlite3 would have lost:",
        "comment  all 2 rows",
        "If that is meant, in the file: -- monolite: allow rows:comment=2: the reason",
        "put back as it was: app.sqlite3",
        "none of them is applied",
    ] {
        assert!(run.errors.contains(said), "{said}: {run:?}");
    }
    assert!(!run.errors.contains("--allow-loss"), "{run:?}");
    assert_eq!(count(), 2);
    assert!(!project.has_table("c"), "all of them, or none");
    let json = project.run("up --json");
    let report: Value = serde_json::from_str(&json.out).expect("JSON");
    assert_eq!(
        (json.code, &report["verdict"]),
        (1, &"rolled_back".into()),
        "{json:?}"
    );
    // The same is seen on a copy.
    let dry = project.run("up --dry-run");
    assert_eq!(dry.code, 1, "{dry:?}");
    assert!(dry.out.contains("app.sqlite3 would lose:"), "{dry:?}");
    assert_eq!(count(), 2);
    // Under a guard it is that one which judges, with what the file allows.
    let guarded = |words: &[&str]| {
        let own = env!("CARGO_BIN_EXE_monolite");
        let mut command = project.command("--");
        Outcome::of(command.args([own, "migrate", "up"]).args(words))
    };
    let run = guarded(&[]);
    assert_eq!(run.code, 1, "{run:?}");
    assert!(
        run.errors.contains("--allow-loss rows:comment=2"),
        "{run:?}"
    );
    assert_eq!(count(), 2);
    let allow = |n: u32| format!("-- monolite: allow rows:comment={n}: trimmed\n{losing}");
    project.write("migrations/0004_d.sql", &allow(1));
    assert_eq!(
        project.run("up").code,
        1,
        "another number than was reported"
    );
    project.write("migrations/0004_d.sql", &allow(2));
    let run = guarded(&[]);
    assert_eq!((run.code, count()), (0, 0), "{run:?}");
    // What that file allowed allows nothing later.
    project
        .db()
        .execute_batch("INSERT INTO comment VALUES (1), (2)")
        .expect("inserted");
    project.write("migrations/0005_e.sql", losing);
    assert_eq!((guarded(&[]).code, count()), (1, 2));
}

#[test]
fn two_that_boot_at_once_apply_each_file_once() {
    let project = Project::new();
    for n in 1..=6 {
        let text = format!(
            "CREATE TABLE t{n} (x);
             WITH RECURSIVE r(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r WHERE i < 20000) INSERT INTO t{n} SELECT i FROM r;"
        );
        project.write(&format!("migrations/000{n}_t.sql"), &text);
    }
    let applied: u64 = thread::scope(|scope| {
        let one = || {
            scope.spawn(|| {
                // Who waits for long says so besides.
                let said = project.run("up --json");
                assert_eq!(said.code, 0, "{said:?}");
                let done: Value = serde_json::from_str(&said.out).expect("JSON");
                done["applied"].as_array().map_or(0, Vec::len) as u64
            })
        };
        let all: Vec<_> = (0..4).map(|_| one()).collect();
        all.into_iter().map(|one| one.join().expect("it ran")).sum()
    });
    assert_eq!(applied, 6);
    for n in 1..=6 {
        let sql = format!("SELECT count(*) FROM t{n}");
        let rows: i64 = project
            .db()
            .query_row(&sql, [], |row| row.get(0))
            .expect("counted");
        assert_eq!(rows, 20000);
    }
}

#[test]
fn one_that_is_killed_leaves_nothing_and_the_next_goes_on() {
    let project = Project::new();
    project.write("migrations/0001_a.sql", POSTS);
    project.good("up");
    project.write(
        "migrations/0002_b.sql",
        "CREATE TABLE b (x);
         WITH RECURSIVE r(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r WHERE i < 3000000) INSERT INTO b SELECT hex(randomblob(50)) FROM r;",
    );
    let process = Process::start(
        env!("CARGO_BIN_EXE_monolite"),
        ["migrate", "up"],
        |command| {
            command.env_clear().current_dir(project.dir.path());
        },
    );
    let wal = project.path("data/app.sqlite3-wal");
    wait_until("it has written to the log", || {
        std::fs::metadata(&wal).is_ok_and(|of| of.len() > 1 << 20)
    });
    process.signal(Signal::KILL);
    let (status, _) = process.end();
    assert!(!status.success());
    assert!(!project.has_table("b"));
    project.write("migrations/0002_b.sql", "CREATE TABLE b (x)");
    let run = project.run("up");
    assert_eq!(run.code, 0, "{run:?}");
    assert!(run.errors.contains("was interrupted; "), "{run:?}");
    assert!(run.out.contains("applied 0002_b.sql"), "{run:?}");
}

#[test]
fn a_signal_ends_it_at_once_and_nothing_is_applied() {
    let project = Project::new();
    project.write("migrations/0001_a.sql", POSTS);
    project.good("up");
    project.write("migrations/0002_b.sql", "CREATE TABLE b (x)");
    project.write(
        "migrations/0003_c.sql",
        "CREATE TABLE c AS WITH RECURSIVE r(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r) SELECT hex(randomblob(50)) FROM r",
    );
    let process = Process::start(
        env!("CARGO_BIN_EXE_monolite"),
        ["migrate", "up"],
        |command| {
            command.env_clear().current_dir(project.dir.path());
        },
    );
    let wal = project.path("data/app.sqlite3-wal");
    wait_until("the endless file writes", || {
        std::fs::metadata(&wal).is_ok_and(|of| of.len() > 1 << 20)
    });
    process.signal(Signal::TERM);
    let (status, output) = process.end();
    assert_eq!(status.code(), Some(1), "{output}");
    assert!(output.contains("ended by SIGTERM"), "{output}");
    assert!(
        !project.has_table("b") && !project.has_table("c"),
        "{output}"
    );
    assert!(
        !project
            .path("data/.monolite/migrating/intent.json")
            .exists()
    );
}

#[test]
fn a_plan_leaves_the_live_database_alone() {
    let project = Project::new();
    project.write("migrations/0001_a.sql", POSTS);
    project.good("up");
    project.write(
        "migrations/0002_b.sql",
        "UPDATE post SET title = upper(title); CREATE TABLE b (x)",
    );
    // The app has a transaction open all the while.
    let app = project.db();
    app.execute_batch("BEGIN IMMEDIATE; INSERT INTO post (title) VALUES ('later')")
        .expect("begun");
    let plan = project.good("up --dry-run");
    assert!(
        plan.contains("1 migration to apply, tried on a copy of "),
        "{plan}"
    );
    app.execute_batch("COMMIT").expect("committed");
    let titles: String = app
        .query_row(
            "SELECT group_concat(title) FROM (SELECT title FROM post ORDER BY id)",
            [],
            |row| row.get(0),
        )
        .expect("read");
    assert_eq!(titles, "Hello,World,later");
    assert!(!project.path("data/.monolite/plan").exists());
}

#[test]
fn redo_needs_its_copy_and_loses_nothing() {
    let project = Project::new();
    project.write("migrations/0001_a.sql", POSTS);
    project.good("up");
    project.write("migrations/0002_b.sql", "CREATE TABLE b (x)");
    project.good("up");
    project.write("migrations/0002_b.sql", "CREATE TABLE b (x, y)");
    project.refused("up", 1, &["was changed after it was applied", "--redo"]);
    project.refused(
        "up --redo",
        1,
        &[
            "0002_b.sql was changed",
            "there is no copy of app.sqlite3",
            "in production",
        ],
    );
    project.write("migrations/0002_b.sql", "CREATE TABLE b (x)");
    project.write("migrations/0003_c.sql", "CREATE TABLE c (x)");
    project.good("up --redo");
    project
        .db()
        .execute_batch("INSERT INTO c VALUES ('typed in since')")
        .expect("inserted");
    // Edited and once more; and again.
    project.write("migrations/0003_c.sql", "CREATE TABLE c (x, y)");
    let said = project.good("up --redo");
    assert!(
        said.contains("undid 0003_c.sql; the database as it was is kept in"),
        "{said}"
    );
    assert!(said.contains("applied 0003_c.sql"), "{said}");
    let kept = said.lines().next().and_then(|line| line.rsplit(' ').next());
    let undone = Connection::open(kept.expect("a path")).expect("opened");
    let typed: String = undone
        .query_row("SELECT x FROM c", [], |row| row.get(0))
        .expect("kept");
    assert_eq!(typed, "typed in since");
    drop(undone);
    project
        .db()
        .execute_batch("INSERT INTO c VALUES (1, 'typed again')")
        .expect("inserted");
    // A mistake in the edited file leaves all as it was.
    project.write(
        "migrations/0003_c.sql",
        "CREATE TABLE c (x); INSERT INTO no VALUES (1)",
    );
    let run = project.run("up --redo");
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.errors.contains("no such table: no"), "{run:?}");
    let typed: i64 = project
        .db()
        .query_row(
            "SELECT count(*) FROM c WHERE y = 'typed again'",
            [],
            |row| row.get(0),
        )
        .expect("the table as it was");
    assert_eq!(typed, 1, "{run:?}");
    project.write("migrations/0003_c.sql", "CREATE TABLE c (x, y, z)");
    project.good("up --redo");
    project
        .db()
        .execute_batch("INSERT INTO c (z) VALUES (1)")
        .expect("the newest");
    // An older file that was edited: there is no copy from before that one.
    project.write("migrations/0002_b.sql", "CREATE TABLE b (x, z)");
    project.refused(
        "up --redo",
        1,
        &["0002_b.sql was changed", "there is no copy"],
    );
    project.write("migrations/0002_b.sql", "CREATE TABLE b (x)");
    assert!(project.good("up --redo").contains("nothing to apply"));
}

#[test]
fn a_lost_database_is_not_begun_anew() {
    let project = Project::new();
    project.write("migrations/0001_a.sql", POSTS);
    project.write("monolite.toml", "replica = 'replica'\n");
    // Nothing has ever been there: the first deploy.
    project.good("up");
    let replicate = Command::new(env!("CARGO_BIN_EXE_monolite"))
        .args(["replicate", "--once"])
        .env_clear()
        .current_dir(project.dir.path())
        .output()
        .expect("the binary runs");
    assert!(replicate.status.success(), "{replicate:?}");
    std::fs::remove_dir_all(project.path("data")).expect("removed");
    std::fs::create_dir(project.path("data")).expect("a directory");
    project.refused(
        "up",
        1,
        &[
            "app.sqlite3 is missing",
            "monolite restore",
            "an empty file",
        ],
    );
    assert!(!project.path("data/app.sqlite3").exists());
    project.write("data/app.sqlite3", "");
    project.good("up");
}

#[test]
fn a_database_of_other_means_gets_a_baseline() {
    let project = Project::new();
    project.write("migrations/0001_a.sql", POSTS);
    project.write("migrations/0002_b.sql", "CREATE TABLE b (x)");
    project.db().execute_batch(POSTS).expect("made");
    project.refused("up", 1, &["table post already exists"]);
    project.refused("up --baseline", 1, &["the column b.x is missing"]);
    let strict = POSTS.replace("title TEXT)", "title TEXT UNIQUE)");
    project.write("migrations/0001_a.sql", &strict);
    project.refused(
        "up --baseline --to 1",
        1,
        &["post lacks `title TEXT UNIQUE`"],
    );
    project.write("migrations/0001_a.sql", POSTS);
    assert_eq!(
        project.good("up --baseline --to 1"),
        "app.sqlite3: 0001_a.sql counts as applied\n"
    );
    project.refused("up --baseline --to 1", 1, &["has applied 0001_a already"]);
    let up = project.good("up");
    assert!(up.starts_with("applied 0002_b.sql"), "{up}");
}
