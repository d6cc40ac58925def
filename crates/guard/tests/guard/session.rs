//! One migration from the lock to the verdict.

use std::os::unix::fs::FileExt;

use monolite_guard::{Allowance, Error, Guard, IfOpen, Interrupted, Options, Progress, Verdict};

use super::volume::Volume;

const TRAP: &str = "PRAGMA foreign_keys = ON; BEGIN;
    CREATE TABLE n (id INTEGER PRIMARY KEY, title TEXT, user_id INTEGER REFERENCES users (id) ON DELETE SET NULL);
    INSERT INTO n SELECT * FROM posts; DROP TABLE posts; ALTER TABLE n RENAME TO posts; COMMIT";

fn volume() -> (tempfile::TempDir, Volume) {
    let dir = tempfile::tempdir().unwrap();
    let volume = Volume::filled(dir.path());
    (dir, volume)
}

fn allow(what: &[&str]) -> Options {
    Options::new().allow(what.iter().map(|text| Allowance::new(text)).collect())
}

#[test]
fn what_takes_nothing_is_accepted() {
    let (_dir, volume) = volume();
    let sql = "ALTER TABLE posts ADD COLUMN slug TEXT; UPDATE posts SET slug = title";
    let verdict = volume.migrate(Options::new(), sql, true).unwrap();
    let Verdict::Accepted { reports } = verdict else {
        panic!("{verdict:?}");
    };
    assert_eq!(reports.len(), 2, "the empty one has nothing to lose");
    assert!(volume.kept().is_empty(), "{:?}", volume.kept());
    assert!(volume.dump().contains("slug"));
}

#[test]
fn a_volume_without_databases() {
    let dir = tempfile::tempdir().unwrap();
    let volume = Volume::new(dir.path());
    let migrate = |ends_well| volume.migrate(Options::new(), "CREATE TABLE t (x)", ends_well);
    let Verdict::RolledBack { rollback, .. } = migrate(false).unwrap() else {
        panic!("it is not put back");
    };
    assert_eq!(rollback.made, ["app.sqlite3"]);
    assert_eq!(volume.dump(), "");
    assert_eq!(
        migrate(true).unwrap(),
        Verdict::Accepted {
            reports: Vec::new()
        }
    );
    assert!(volume.dump().contains("table t"));
}

#[test]
fn a_loss_is_put_back_and_told() {
    let (_dir, volume) = volume();
    let before = volume.dump();
    let verdict = volume.migrate(Options::new(), TRAP, true).unwrap();
    let Verdict::RolledBack {
        reports, rollback, ..
    } = verdict
    else {
        panic!("{verdict:?}");
    };
    assert_eq!(volume.dump(), before);
    let losses: Vec<_> = reports.iter().flat_map(|report| report.refused()).collect();
    assert_eq!(losses.len(), 1);
    assert_eq!(
        (losses[0].table.as_deref(), losses[0].count),
        (Some("comments"), 80)
    );
    assert_eq!(rollback.databases, ["app.sqlite3"]);
    assert!(rollback.kept.join("before/app.sqlite3").exists());
    // What anybody may have written meanwhile is kept.
    assert_eq!(rollback.found.len(), 1);
    assert!(rollback.set_aside.is_empty());
    // In WAL mode as it was, and the log is short.
    let mode: String = volume
        .open("app.sqlite3")
        .query_row("PRAGMA journal_mode", [], |row| row.get(0))
        .unwrap();
    assert_eq!(mode, "wal");
}

#[test]
fn what_only_the_log_has_is_seen() {
    let (_dir, volume) = volume();
    volume.run("app.sqlite3", "PRAGMA wal_checkpoint(TRUNCATE)");
    // While somebody reads, nothing comes from the log to the file.
    let reader = volume.open("app.sqlite3");
    let reads = "BEGIN; SELECT count(*) FROM posts";
    reader.execute_batch(reads).unwrap();
    let sql = "DELETE FROM comments WHERE id <= 3";
    let active = Guard::enter(volume.host(), "the migration").unwrap();
    let active = active.begin(Options::new()).unwrap();
    volume.run("app.sqlite3", sql);
    let verdict = active.finish(true).unwrap();
    let Verdict::RolledBack { reports, .. } = &verdict else {
        panic!("{verdict:?}");
    };
    let losses: Vec<_> = reports.iter().flat_map(|report| report.refused()).collect();
    assert_eq!(losses[0].table.as_deref(), Some("comments"));
    assert_eq!(losses[0].count, 3);
    drop(reader);
}

#[test]
fn what_is_named_may_go() {
    let (_dir, volume) = volume();
    let verdict = volume
        .migrate(allow(&["posts", "comments"]), TRAP, true)
        .unwrap();
    assert!(matches!(verdict, Verdict::Accepted { .. }), "{verdict:?}");
    assert!(verdict.reports()[0].losses[0].is_allowed());
    let sql = "DROP TABLE comments; UPDATE posts SET title = NULL";
    let before = volume.dump();
    let verdict = volume.migrate(allow(&["comments"]), sql, true).unwrap();
    assert!(
        matches!(verdict, Verdict::RolledBack { .. }),
        "one of two is not enough"
    );
    assert_eq!(volume.dump(), before);
    let verdict = volume
        .migrate(allow(&["rows:comments", "posts.title"]), sql, true)
        .unwrap();
    // It has no rows any more, so its table is nothing to lose.
    assert!(matches!(verdict, Verdict::Accepted { .. }), "{verdict:?}");
}

#[test]
fn names_of_nothing_are_said() {
    let (_dir, volume) = volume();
    let options = allow(&[
        "coments",
        "comments",
        "posts.title",
        "index:comments_by_post",
        "x.y",
    ]);
    volume.migrate(options, "", true).unwrap();
    assert_eq!(
        volume.warnings(),
        [
            "allow-loss `coments` names nothing that is there; did you mean `comments`?",
            "allow-loss `x.y` names nothing that is there"
        ]
    );
}

#[test]
fn a_command_that_fails_leaves_nothing() {
    let (_dir, volume) = volume();
    let before = volume.dump();
    let sql =
        "CREATE TABLE half (x); INSERT INTO half VALUES (1); UPDATE posts SET title = 'x' || title";
    let verdict = volume.migrate(Options::new(), sql, false).unwrap();
    assert!(
        matches!(&verdict, Verdict::RolledBack { .. }) && !verdict.has_losses(),
        "{verdict:?}"
    );
    assert_eq!(volume.dump(), before);
    let verdict = volume.migrate(Options::new(), "", false).unwrap();
    assert_eq!(verdict, Verdict::Unchanged);
    // As a framework does whose transaction was rolled back.
    let sql = "BEGIN; DROP TABLE comments; ROLLBACK; PRAGMA wal_checkpoint";
    assert_eq!(
        volume.migrate(Options::new(), sql, false).unwrap(),
        Verdict::Unchanged
    );
    assert_eq!(volume.kept().len(), 1, "that of the first");
}

#[test]
fn databases_that_come_and_go() {
    let (_dir, volume) = volume();
    let before = volume.dump();
    let begin = || {
        Guard::enter(volume.host(), "x")
            .unwrap()
            .begin(Options::new())
            .unwrap()
    };
    // New ones are welcome.
    let active = begin();
    volume.run("new.db", "CREATE TABLE n (x)");
    volume.run("empty.db", "CREATE TABLE n (x)");
    assert!(matches!(
        active.finish(true).unwrap(),
        Verdict::Accepted { .. }
    ));
    std::fs::remove_file(volume.path.join("new.db")).unwrap();
    std::fs::write(volume.path.join("empty.db"), "").unwrap();
    // But not of a migration that failed.
    let active = begin();
    volume.run("new.db", "PRAGMA journal_mode = WAL; CREATE TABLE n (x)");
    volume.run("empty.db", "CREATE TABLE n (x)");
    std::fs::remove_file(volume.path.join("sub/other.db")).unwrap();
    std::fs::write(
        volume.path.join("app.sqlite3"),
        "not a database any more".repeat(1000),
    )
    .unwrap();
    let verdict = active.finish(false).unwrap();
    let Verdict::RolledBack {
        rollback, reports, ..
    } = verdict
    else {
        panic!("{verdict:?}");
    };
    let mut dump = volume.dump();
    dump = dump.replace("== sub", "== empty.db\n== sub");
    assert_eq!(dump, before);
    assert_eq!(rollback.databases, ["app.sqlite3", "sub/other.db"]);
    assert_eq!(rollback.set_aside.len(), 2);
    assert!(rollback.set_aside.iter().all(|path| path.exists()));
    assert_eq!(reports[0].losses[0].kind.name(), "damage");
    assert_eq!(reports[1].losses[0].kind.name(), "database");
    assert!(rollback.kept.join("found/app.sqlite3").exists());
}

#[test]
fn a_log_that_was_left_behind_is_not_replayed_over_the_snapshot() {
    let (_dir, volume) = volume();
    let before = volume.dump();
    let guard = Guard::enter(volume.host(), "x").unwrap();
    let active = guard.begin(Options::new()).unwrap();
    // With its log, as a process leaves it that is killed; the database alone is deleted.
    let open = volume.open("app.sqlite3");
    open.execute_batch("PRAGMA wal_autocheckpoint = 0; DELETE FROM comments")
        .unwrap();
    let log = volume.path.join("app.sqlite3-wal");
    let bytes = std::fs::read(&log).unwrap();
    drop(open);
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(volume.path.join(format!("app.sqlite3{suffix}")));
    }
    std::fs::write(&log, &bytes).unwrap();
    let verdict = active.finish(true).unwrap();
    let Verdict::RolledBack { rollback, .. } = verdict else {
        panic!("{verdict:?}");
    };
    assert!(volume.dump() == before);
    let kept = rollback.kept.join("found/app.sqlite3-wal");
    assert!(std::fs::read(kept).unwrap() == bytes);
}

#[test]
fn another_page_size_and_journal_mode_are_put_back() {
    let (_dir, volume) = volume();
    let before = volume.dump();
    for sql in [
        "PRAGMA journal_mode = DELETE; PRAGMA page_size = 16384; VACUUM; PRAGMA journal_mode = WAL; DROP TABLE comments",
        "PRAGMA journal_mode = DELETE; PRAGMA page_size = 1024; VACUUM; DROP TABLE comments",
        "PRAGMA auto_vacuum = FULL; VACUUM; DROP TABLE comments",
        "DROP TABLE comments; VACUUM",
    ] {
        let verdict = volume.migrate(Options::new(), sql, true).unwrap();
        assert!(matches!(verdict, Verdict::RolledBack { .. }), "{verdict:?}");
        assert_eq!(volume.dump(), before, "{sql}");
    }
    let active = Guard::enter(volume.host(), "x")
        .unwrap()
        .begin(Options::new())
        .unwrap();
    volume.run("sub/other.db", "PRAGMA journal_mode = WAL; DELETE FROM t");
    active.finish(true).unwrap();
    assert_eq!(volume.dump(), before);
    let mode: String = volume
        .open("sub/other.db")
        .query_row("PRAGMA journal_mode", [], |row| row.get(0))
        .unwrap();
    assert_eq!(mode, "delete");
}

#[test]
fn whoever_has_it_open_sees_the_state_before_again() {
    let (_dir, volume) = volume();
    let reader = volume.open("app.sqlite3");
    let count = |conn: &rusqlite::Connection| {
        conn.query_row(
            "SELECT count(*) FROM comments JOIN posts ON posts.id = post_id",
            [],
            |row| row.get::<_, i64>(0),
        )
    };
    assert_eq!(count(&reader).unwrap(), 80);
    let active = Guard::enter(volume.host(), "x")
        .unwrap()
        .begin(Options::new())
        .unwrap();
    volume.run("app.sqlite3", TRAP);
    assert_eq!(count(&reader).unwrap(), 0);
    // In a transaction it goes on with what it saw.
    reader.execute_batch("BEGIN").unwrap();
    assert_eq!(count(&reader).unwrap(), 0);
    active.finish(true).unwrap();
    assert_eq!(count(&reader).unwrap(), 0);
    reader.execute_batch("COMMIT").unwrap();
    assert_eq!(count(&reader).unwrap(), 80);
    // And what it had prepared for the tables of the migration is not run.
    volume.run("app.sqlite3", "CREATE TABLE a (x); CREATE TABLE b (y, z)");
    assert!(reader.prepare("SELECT z FROM b").is_ok());
}

#[test]
fn no_snapshot_no_migration() {
    let (_dir, volume) = volume();
    let before = volume.dump();
    volume.refuse(1, Some(1));
    let error = volume.migrate(Options::new(), TRAP, true).unwrap_err();
    assert!(matches!(error, Error::Snapshot { .. }), "{error}");
    assert!(error.to_string().contains("10 bytes are free"), "{error}");
    assert_eq!(volume.dump(), before);
    assert!(volume.kept().is_empty());
    // A copy of an earlier one makes room, if that suffices.
    let verdict = volume.migrate(Options::new(), TRAP, true).unwrap();
    let Verdict::RolledBack { rollback, .. } = verdict else {
        panic!("{verdict:?}");
    };
    for missing in [None, Some(1 << 40)] {
        volume.refuse(1, missing);
        volume
            .migrate(Options::new(), "", true)
            .expect_err("no room");
        assert!(rollback.kept.exists(), "{missing:?}");
    }
    volume.refuse(1, Some(1));
    volume.migrate(Options::new(), "", true).unwrap();
    assert!(!rollback.kept.exists());
    let warnings = volume.warnings();
    assert!(
        (warnings.iter()).any(|warning| warning.contains("copies of earlier migrations")),
        "{warnings:?}"
    );
    volume.cancel.cancel();
    let error = volume.migrate(Options::new(), TRAP, true).unwrap_err();
    assert!(matches!(error, Error::Cancelled), "{error}");
}

#[test]
fn what_is_no_database_is_left_alone() {
    let (_dir, volume) = volume();
    let text = "Berkeley, perhaps".repeat(500);
    std::fs::write(volume.path.join("odd.db"), &text).unwrap();
    let verdict = volume
        .migrate(Options::new(), "DROP TABLE comments", false)
        .unwrap();
    assert!(matches!(verdict, Verdict::RolledBack { .. }));
    assert_eq!(
        std::fs::read_to_string(volume.path.join("odd.db")).unwrap(),
        text
    );
    assert!(volume.warnings()[0].starts_with("odd.db is no database"));
}

#[test]
fn a_damaged_database_can_be_migrated_and_put_back() {
    let (_dir, volume) = volume();
    let conn = volume.open("sub/other.db");
    conn.execute_batch("CREATE INDEX i ON t (x)").unwrap();
    drop(conn);
    let file = std::fs::File::options()
        .write(true)
        .open(volume.path.join("sub/other.db"))
        .unwrap();
    file.write_all_at(&[9; 20], 3 * 4096 - 20).unwrap();
    let before = volume.dump();
    assert!(
        !before.ends_with("integrity: ok\n") && before.contains("integrity: "),
        "{before}"
    );
    let active = Guard::enter(volume.host(), "x")
        .unwrap()
        .begin(Options::new())
        .unwrap();
    volume.run("sub/other.db", "CREATE TABLE more (x)");
    let verdict = active.finish(true).unwrap();
    assert!(matches!(verdict, Verdict::Accepted { .. }), "{verdict:?}");
}

#[test]
fn others_at_work() {
    let (_dir, volume) = volume();
    let mut other = std::process::Command::new("python3")
        .args(["-c", "import sqlite3, sys\nc = sqlite3.connect(sys.argv[1])\nc.execute('SELECT * FROM posts').fetchall()\nprint('open', flush=True)\nsys.stdin.read()"])
        .arg(volume.path.join("app.sqlite3"))
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let out = other.stdout.take().unwrap();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut line).unwrap();
    let before = volume.dump();
    let error = volume
        .migrate(Options::new(), TRAP, true)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("app.sqlite3 is open in `python3`"),
        "{error}"
    );
    assert_eq!(volume.dump(), before);
    let with = |if_open| Options::new().if_open(if_open);
    let verdict = volume.migrate(with(IfOpen::KeepCopy), TRAP, true).unwrap();
    let Verdict::RolledBack { rollback, .. } = verdict else {
        panic!("{verdict:?}");
    };
    assert_eq!(volume.dump(), before);
    assert_eq!(rollback.found.len(), 1);
    let found = rusqlite::Connection::open(&rollback.found[0]).unwrap();
    let comments: i64 = found
        .query_row("SELECT count(*) FROM comments", [], |row| row.get(0))
        .unwrap();
    assert_eq!(comments, 0, "it is what was put back over");
    let verdict = volume.migrate(with(IfOpen::JudgeOnly), TRAP, true).unwrap();
    let Verdict::Left { snapshots, .. } = &verdict else {
        panic!("{verdict:?}");
    };
    assert!(verdict.has_losses() && snapshots.join("app.sqlite3").exists());
    assert_ne!(volume.dump(), before);
    drop(other.stdin.take());
    other.wait().unwrap();
    assert_eq!(volume.recover(Interrupted::default()).unwrap(), None);
}

#[test]
fn the_second_waits_and_finds_it_done() {
    let (_dir, volume) = volume();
    let active = Guard::enter(volume.host(), "bin/first")
        .unwrap()
        .begin(Options::new())
        .unwrap();
    let second = Volume::new(&volume.path);
    std::thread::scope(|scope| {
        let waiting =
            scope.spawn(|| second.migrate(Options::new(), "ALTER TABLE posts DROP COLUMN n", true));
        while second.events.lock().unwrap().is_empty() {
            std::thread::yield_now();
        }
        let said = second.events.lock().unwrap()[0].clone();
        let expected = format!("`bin/first` (pid {})", std::process::id());
        assert_eq!(said, Progress::Waiting { holder: expected });
        volume.run("app.sqlite3", "ALTER TABLE posts ADD COLUMN n");
        active.finish(true).unwrap();
        // It would have failed before.
        waiting.join().unwrap().unwrap();
    });
    let active = Guard::enter(volume.host(), "bin/first")
        .unwrap()
        .begin(Options::new())
        .unwrap();
    let third = Volume::new(&volume.path);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| third.migrate(Options::new(), "", true));
        while third.events.lock().unwrap().is_empty() {
            std::thread::yield_now();
        }
        third.cancel.cancel();
        assert!(matches!(waiting.join().unwrap(), Err(Error::Cancelled)));
    });
    active.abandon().unwrap();
}

#[test]
fn names_that_are_no_text_stop_only_databases() {
    use std::os::unix::ffi::OsStrExt;
    let (_dir, volume) = volume();
    let named = |bytes: &[u8]| volume.path.join(std::ffi::OsStr::from_bytes(bytes));
    for name in [&b"caf\xe9.pdf"[..], b"\xe9.db"] {
        std::fs::write(named(name), "").unwrap();
    }
    std::fs::write(named(b"text\xe9.db"), "no database".repeat(1000)).unwrap();
    let verdict = volume.migrate(Options::new(), "CREATE TABLE more (x)", true);
    assert!(
        matches!(verdict, Ok(Verdict::Accepted { .. })),
        "{verdict:?}"
    );
    // One that was not there, or may have been, is never moved.
    let active = Guard::enter(volume.host(), "x")
        .unwrap()
        .begin(Options::new())
        .unwrap();
    volume.run("app.sqlite3", TRAP);
    rusqlite::Connection::open(named(b"made\xe9.db"))
        .unwrap()
        .execute_batch("CREATE TABLE t (x)")
        .unwrap();
    let verdict = active.finish(true).unwrap();
    assert!(matches!(verdict, Verdict::RolledBack { .. }), "{verdict:?}");
    assert!(named(b"made\xe9.db").exists());
    let error = volume.migrate(Options::new(), "", true).unwrap_err();
    let error = error.to_string();
    assert!(
        error.contains(r"made\xE9.db") && error.contains("UTF-8"),
        "{error}"
    );
}
