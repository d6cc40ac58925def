//! A rebuild that is killed at every step, and in the midst of its work.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

mod corpus;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};

use corpus::{dump, fill};
use monolite_migrate::rebuild::Rebuild;
use monolite_platform::failpoint;
use rusqlite::Connection;

const BEFORE: &str = "
    CREATE TABLE users (id INTEGER PRIMARY KEY);
    CREATE TABLE posts (id INTEGER PRIMARY KEY AUTOINCREMENT, user_id INTEGER REFERENCES users ON DELETE CASCADE, title TEXT, body TEXT, price INTEGER CHECK (posts.price >= 0));
    CREATE TABLE comments (post_id INTEGER NOT NULL REFERENCES posts ON DELETE CASCADE);
    CREATE INDEX posts_title ON posts (title); CREATE INDEX posts_user ON posts (user_id, body) WHERE length(body) > 3;
    CREATE VIEW v AS SELECT title FROM posts;
    CREATE TRIGGER tr AFTER DELETE ON posts BEGIN DELETE FROM comments WHERE post_id = old.id; END;
    INSERT INTO users SELECT value FROM generate_series_of WHERE value <= 20;
    INSERT INTO posts (user_id, title, body, price) SELECT a.value % 20 + 1, 'title ' || a.value || b.value, hex(zeroblob(100)), b.value FROM generate_series_of a, generate_series_of b WHERE b.value <= 10;
    INSERT INTO comments SELECT id FROM posts WHERE id % 3 = 0; DELETE FROM posts WHERE id > 2900;";

const REBUILD: &str = "REBUILD TABLE posts (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL DEFAULT '', -- a comment
    body TEXT, total INTEGER NOT NULL, user_id INTEGER NOT NULL REFERENCES users ON DELETE CASCADE) STRICT
    RENAME COLUMN title TO name SET total = price * 2 DROP COLUMN price";

/// Every named step that this rebuild passes.
const STEPS: [&str; 10] = [
    "rebuild.begun",
    "rebuild.read",
    "rebuild.moved",
    "rebuild.made",
    "rebuild.copied",
    "rebuild.dropped",
    "rebuild.indexed",
    "rebuild.triggers",
    "rebuild.checked",
    "rebuild.committed",
];

fn open(path: &Path, mode: &str) -> Connection {
    let conn = Connection::open(path).unwrap();
    conn.pragma_update(None, "journal_mode", mode).unwrap();
    conn.execute_batch("PRAGMA foreign_keys = ON").unwrap();
    conn
}

/// Says where it is and waits for its end, if this is where it shall end.
fn stop_there(step: &'static str) {
    if std::env::var("KILL_STEP").unwrap() == step {
        println!("@@ {step}");
        std::io::stdout().flush().unwrap();
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
    }
}

#[test]
#[ignore = "the other process of the tests here"]
fn rebuilder() {
    let path = std::env::var_os("KILL_DATABASE").unwrap();
    let conn = Connection::open(path).unwrap();
    conn.execute_batch("PRAGMA foreign_keys = ON; PRAGMA cache_size = 10")
        .unwrap();
    failpoint::observe(stop_there);
    let opcodes: i64 = std::env::var("KILL_AFTER").unwrap().parse().unwrap();
    if opcodes > 0 {
        let mut left = opcodes;
        let stop = move || {
            left -= 1;
            if left == 0 {
                stop_there("opcodes");
            }
            false
        };
        conn.progress_handler(500, Some(stop)).unwrap();
    }
    let rebuild = Rebuild::parse(REBUILD).unwrap();
    let rebuilt = rebuild.run(&conn);
    println!("ended {}", rebuilt.is_ok());
}

/// What is found after a death: whether it is the new state.
fn after(path: &Path, mode: &str, before: &str, done: &str) -> bool {
    let found = dump(&open(path, mode));
    assert!(found == before || found == done, "between: {}", found.len());
    found == done
}

fn child(path: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "rebuilder", "--ignored", "--nocapture"])
        .env("KILL_DATABASE", path)
        .env("KILL_STEP", "none")
        .env("KILL_AFTER", "0")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    command
}

/// Whether it came to where it should be killed.
fn killed(mut command: Command) -> bool {
    let mut child = command.spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut there = false;
    for line in lines {
        let line = line.unwrap();
        if line.contains("@@ ") {
            there = true;
            child.kill().unwrap();
            break;
        }
        if line.contains("ended") {
            break;
        }
    }
    drop(child.stdin.take());
    let status = child.wait().unwrap();
    assert_eq!(status.signal().is_some(), there);
    there
}

fn states(dir: &Path, mode: &str) -> (String, String) {
    let path = dir.join("model.sqlite3");
    let conn = open(&path, mode);
    fill(&conn, BEFORE);
    let before = dump(&conn);
    Rebuild::parse(REBUILD).unwrap().run(&conn).unwrap();
    (before, dump(&conn))
}

#[test]
fn at_every_step() {
    for mode in ["WAL", "DELETE"] {
        let dir = tempfile::tempdir().unwrap();
        let (before, done) = states(dir.path(), mode);
        assert_ne!(before, done);
        for step in STEPS {
            let path = dir.path().join(format!("{step}.sqlite3"));
            fill(&open(&path, mode), BEFORE);
            let mut command = child(&path);
            command.env("KILL_STEP", step);
            assert!(killed(command), "{step} was not reached");
            let is_done = after(&path, mode, &before, &done);
            assert_eq!(is_done, step == "rebuild.committed", "{mode} {step}");
            if !is_done {
                // And it can be done again.
                Rebuild::parse(REBUILD)
                    .unwrap()
                    .run(&open(&path, mode))
                    .unwrap();
                assert!(after(&path, mode, &before, &done));
            }
        }
    }
}

/// With a row that refers to nothing it is done twice, to know of which there
/// were before.
#[test]
fn on_its_second_way() {
    let orphan =
        "PRAGMA foreign_keys = OFF; INSERT INTO comments VALUES (99999); PRAGMA foreign_keys = ON";
    for mode in ["WAL", "DELETE"] {
        let dir = tempfile::tempdir().unwrap();
        let model = open(&dir.path().join("model.sqlite3"), mode);
        fill(&model, BEFORE);
        model.execute_batch(orphan).unwrap();
        let before = dump(&model);
        Rebuild::parse(REBUILD).unwrap().run(&model).unwrap();
        let done = dump(&model);
        for step in ["rebuild.undone", "rebuild.checked", "rebuild.committed"] {
            let path = dir.path().join(format!("{step}.sqlite3"));
            let conn = open(&path, mode);
            fill(&conn, BEFORE);
            conn.execute_batch(orphan).unwrap();
            drop(conn);
            let mut command = child(&path);
            command.env("KILL_STEP", step);
            assert!(killed(command), "{step} was not reached");
            let is_done = after(&path, mode, &before, &done);
            assert_eq!(is_done, step == "rebuild.committed", "{mode} {step}");
        }
    }
}

#[test]
fn in_the_midst_of_the_work() {
    for mode in ["WAL", "DELETE"] {
        let dir = tempfile::tempdir().unwrap();
        let (before, done) = states(dir.path(), mode);
        let path = dir.path().join("app.sqlite3");
        fill(&open(&path, mode), BEFORE);
        let (mut count, mut opcodes) = (0, 1);
        loop {
            let mut command = child(&path);
            command
                .env("KILL_STEP", "opcodes")
                .env("KILL_AFTER", opcodes.to_string());
            if !killed(command) {
                break;
            }
            count += 1;
            assert!(!after(&path, mode, &before, &done), "{opcodes}");
            opcodes += opcodes / 6 + 5;
        }
        assert!(count >= 10, "{count}");
        assert!(after(&path, mode, &before, &done));
    }
}

/// Dies while it writes: the system ends a process whose file grows beyond its
/// limit, in the midst of the WAL, of a journal or of the database.
#[test]
fn in_the_midst_of_a_write() {
    for mode in ["WAL", "DELETE"] {
        let dir = tempfile::tempdir().unwrap();
        let (before, done) = states(dir.path(), mode);
        let path = dir.path().join("app.sqlite3");
        fill(&open(&path, mode), BEFORE);
        // All of it in the database itself, so that the WAL begins empty.
        let conn = open(&path, mode);
        corpus::query(&conn, "PRAGMA wal_checkpoint(TRUNCATE)");
        drop(conn);
        let mut died = 0;
        // In blocks of 512 bytes, a prime apart.
        for limit in (1..).map(|n| n * 157) {
            let inner = child(&path);
            let mut command = Command::new("sh");
            command
                .args([
                    "-c",
                    "ulimit -f \"$1\"; shift; exec \"$@\"",
                    "sh",
                    &limit.to_string(),
                ])
                .arg(inner.get_program())
                .args(inner.get_args())
                .envs(
                    inner
                        .get_envs()
                        .filter_map(|(name, value)| Some((name, value?))),
                )
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            let status = command.status().unwrap();
            let is_done = after(&path, mode, &before, &done);
            if status.success() && is_done {
                break;
            }
            assert!(!is_done || !status.success(), "{mode} {limit}: {status:?}");
            if is_done {
                // It died behind the commit.
                break;
            }
            died += 1;
        }
        assert!(died >= 3, "{mode}: died {died} times");
    }
}
