//! A process that dies at every step of `up`, and of a redo: the database is
//! as it was before a file, or after it with its record, and never between.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

#[path = "files/common.rs"]
mod common;

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::{NOW_MS, dump, files, one};
use monolite_migrate::files::{Migrations, Options, applied, undo, up};
use monolite_platform::failpoint;
use rusqlite::Connection;

const TEXTS: [&str; 4] = [
    "CREATE TABLE post (id INTEGER PRIMARY KEY AUTOINCREMENT, title TEXT);
     CREATE TABLE comment (id INTEGER PRIMARY KEY, post_id REFERENCES post ON DELETE CASCADE, text);
     CREATE INDEX comment_post ON comment (post_id);
     WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500)
     INSERT INTO post (title) SELECT 'title ' || i FROM n;
     INSERT INTO comment (post_id, text) SELECT id, hex(zeroblob(200)) FROM post;",
    "ALTER TABLE post ADD COLUMN body TEXT; UPDATE post SET body = hex(zeroblob(500));",
    "REBUILD TABLE post (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        title TEXT NOT NULL DEFAULT '',
        text TEXT CHECK (length(text) < 5000)
     ) STRICT RENAME COLUMN body TO text;
     CREATE TRIGGER louder AFTER INSERT ON post BEGIN UPDATE post SET title = upper(title) WHERE id = new.id; END;",
    "DROP TABLE comment; INSERT INTO post (title) VALUES ('last');",
];

fn migrations() -> Migrations {
    files(&TEXTS)
}

/// The state after so many files.
fn reference(count: usize) -> String {
    let db = Connection::open_in_memory().unwrap();
    let some = files(&TEXTS[..count]);
    up(&db, &some, &Options::new(NOW_MS), &mut |_| {}).unwrap();
    dump(&db)
}

/// What the other process does: everything, and dies at its nth step.
#[test]
#[ignore = "the other process of the tests here"]
fn migrator() {
    let path = PathBuf::from(std::env::var_os("KILL_DB").unwrap());
    LEFT.store(
        std::env::var("KILL_AT").unwrap().parse().unwrap(),
        Ordering::SeqCst,
    );
    failpoint::observe(|_| {
        if LEFT.fetch_sub(1, Ordering::SeqCst) == 1 {
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL)
                .unwrap();
        }
    });
    let mut db = Connection::open(&path).unwrap();
    // Small, so that a rebuild writes to the disk before its commit.
    db.pragma_update(None, "cache_size", 5).unwrap();
    if let Some(copy) = std::env::var_os("KILL_COPY") {
        undo(&mut db, Path::new(&copy), Duration::from_secs(5)).unwrap();
    }
    up(&db, &migrations(), &Options::new(NOW_MS), &mut |_| {}).unwrap();
    println!("steps {}", u64::MAX / 2 - LEFT.load(Ordering::SeqCst));
}

static LEFT: AtomicU64 = AtomicU64::new(0);

fn run(db: &Path, copy: Option<&Path>, at: u64) -> (ExitStatus, String) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "migrator", "--ignored", "--nocapture"])
        .env("KILL_DB", db)
        .env("KILL_AT", at.to_string())
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    if let Some(copy) = copy {
        command.env("KILL_COPY", copy);
    }
    let output = command.output().unwrap();
    (
        output.status,
        String::from_utf8_lossy(&output.stdout).into_owned(),
    )
}

/// How many steps a whole run has.
fn steps_of(db: &Path, copy: Option<&Path>) -> u64 {
    let (status, said) = run(db, copy, u64::MAX / 2);
    assert!(status.success(), "{said}");
    let line = said.lines().find_map(|line| line.strip_prefix("steps "));
    line.unwrap_or_else(|| panic!("{said}")).parse().unwrap()
}

#[test]
fn before_or_after_and_never_between() {
    let references: Vec<String> = (0..=TEXTS.len()).map(reference).collect();
    for journal in ["WAL", "DELETE"] {
        let dir = tempfile::tempdir().unwrap();
        let fresh = |name: &str| {
            let path = dir.path().join(name);
            let db = Connection::open(&path).unwrap();
            let _ = one::<String>(&db, &format!("PRAGMA journal_mode = {journal}"));
            path
        };
        let total = steps_of(&fresh("whole"), None);
        assert!(total > 30, "{total}");
        let mut seen = vec![0; TEXTS.len() + 1];
        for at in 1..=total {
            let path = fresh(&format!("{at}.sqlite3"));
            let (status, said) = run(&path, None, at);
            assert_eq!(status.signal(), Some(9), "{at}: {said}");
            let db = Connection::open(&path).unwrap();
            assert_eq!(one::<String>(&db, "PRAGMA integrity_check"), "ok");
            let count = applied(&db).unwrap().len();
            assert_eq!(dump(&db), references[count], "{journal}, step {at}");
            seen[count] += 1;
            // And the next boot goes on.
            up(&db, &migrations(), &Options::new(NOW_MS), &mut |_| {}).unwrap();
            assert_eq!(dump(&db), references[TEXTS.len()], "{journal}, step {at}");
        }
        println!("{journal}: {total} deaths, after so many files: {seen:?}");
        assert!(seen.iter().all(|times| *times > 0), "{seen:?}");
    }
}

#[test]
fn a_redo_is_undone_or_not() {
    let dir = tempfile::tempdir().unwrap();
    let (before, after) = (reference(2), reference(TEXTS.len()));
    let prepared = |name: &str| {
        let (path, copy) = (
            dir.path().join(name),
            dir.path().join(format!("{name}.copy")),
        );
        let db = Connection::open(&path).unwrap();
        let _ = one::<String>(&db, "PRAGMA journal_mode = WAL");
        let options = Options::new(NOW_MS).up_to(2);
        up(&db, &migrations(), &options, &mut |_| {}).unwrap();
        db.execute("VACUUM INTO ?1", [copy.to_str().unwrap()])
            .unwrap();
        up(&db, &migrations(), &Options::new(NOW_MS), &mut |_| {}).unwrap();
        (path, copy)
    };
    let (path, copy) = prepared("whole");
    let total = steps_of(&path, Some(&copy));
    let (mut undone, mut whole) = (0, 0);
    for at in 1..=total {
        let (path, copy) = prepared(&format!("{at}.sqlite3"));
        let (status, said) = run(&path, Some(&copy), at);
        assert_eq!(status.signal(), Some(9), "{at}: {said}");
        let db = Connection::open(&path).unwrap();
        assert_eq!(one::<String>(&db, "PRAGMA integrity_check"), "ok");
        let now = dump(&db);
        let count = applied(&db).unwrap().len();
        assert_eq!(now, reference(count), "step {at}");
        undone += u32::from(now == before);
        whole += u32::from(now == after);
    }
    assert!(undone > 0 && whole > 0, "{undone} {whole}");
}
