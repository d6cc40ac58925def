//! Where a database is put: what was there before, what lies beside.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use monolite_replica::{
    Integrity, IntegrityCheck, Progress, Replica, RestoreError, RestoreOptions, restore,
};
use rusqlite::Connection;

use crate::world::{Source, folder, names};

async fn replica(dir: &Path) -> (Source, Replica) {
    let mut source = Source::new(dir, 4096);
    let replica = folder(dir);
    source.send_whole(&replica).await;
    let mut random = fastrand::Rng::with_seed(4);
    for _ in 0..20 {
        source.change(&mut random);
        source.send(&replica).await;
    }
    std::fs::create_dir(dir.join("place")).unwrap();
    (source, replica)
}

fn over() -> RestoreOptions {
    RestoreOptions {
        overwrite: true,
        ..RestoreOptions::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_overwritten_unless_told() {
    let dir = tempfile::tempdir().unwrap();
    let (source, replica) = replica(dir.path()).await;
    let place = dir.path().join("place");
    let out = place.join("app.sqlite3");
    for name in ["app.sqlite3", "app.sqlite3-wal"] {
        std::fs::write(place.join(name), "old").unwrap();
    }
    let error = restore(&replica, &out, RestoreOptions::default())
        .await
        .unwrap_err();
    assert!(matches!(error, RestoreError::Exists { .. }), "{error}");
    assert_eq!(names(&place), ["app.sqlite3", "app.sqlite3-wal"]);
    assert_eq!(
        std::fs::read(place.join("app.sqlite3-wal")).unwrap(),
        b"old"
    );

    restore(&replica, &out, over()).await.unwrap();
    assert_eq!(names(&place), ["app.sqlite3"]);
    assert!(std::fs::read(&out).unwrap() == source.states.last().unwrap().bytes);

    let error = restore(&replica, &place, over()).await.unwrap_err();
    assert!(matches!(error, RestoreError::NotAFile { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lies_beside_does_not_survive() {
    let dir = tempfile::tempdir().unwrap();
    let (source, replica) = replica(dir.path()).await;
    let place = dir.path().join("place/deeper/down");
    let out = place.join("app.sqlite3");
    // The folder is made; then the database is lost and its WAL stays.
    restore(&replica, &out, RestoreOptions::default())
        .await
        .unwrap();
    std::fs::remove_file(&out).unwrap();
    for suffix in ["-wal", "-shm", "-journal"] {
        std::fs::write(place.join(format!("app.sqlite3{suffix}")), "stale").unwrap();
    }
    std::fs::write(place.join("app.sqlite3-other"), "not ours").unwrap();
    restore(&replica, &out, RestoreOptions::default())
        .await
        .unwrap();
    assert_eq!(names(&place), ["app.sqlite3", "app.sqlite3-other"]);
    assert!(std::fs::read(&out).unwrap() == source.states.last().unwrap().bytes);
}

/// Leaves a database with a WAL that holds `rows` and was not checkpointed, as
/// a process does that is killed.
fn with_wal(out: &Path, rows: u32) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.sqlite3");
    let conn = Connection::open(&path).unwrap();
    conn.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; CREATE TABLE old (n)",
    )
    .unwrap();
    for row in 0..rows {
        conn.execute("INSERT INTO old VALUES (?1)", [row]).unwrap();
    }
    for suffix in ["", "-wal"] {
        let from = dir.path().join(format!("app.sqlite3{suffix}"));
        let mut to = out.as_os_str().to_owned();
        to.push(suffix);
        std::fs::copy(from, to).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_with_a_wal_is_replaced_and_its_rows_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let (source, replica) = replica(dir.path()).await;
    let place = dir.path().join("place");
    let out = place.join("app.sqlite3");
    with_wal(&out, 50);
    restore(&replica, &out, over()).await.unwrap();
    assert_eq!(names(&place), ["app.sqlite3"]);
    assert!(std::fs::read(&out).unwrap() == source.states.last().unwrap().bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_in_use_is_not_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let (_source, replica) = replica(dir.path()).await;
    let place = dir.path().join("place");
    let out = place.join("app.sqlite3");
    with_wal(&out, 50);
    let conn = Connection::open(&out).unwrap();
    let rows = |conn: &Connection| {
        let rows = conn.query_row("SELECT count(*) FROM old", (), |row| row.get::<_, u32>(0));
        rows.unwrap()
    };
    assert_eq!(rows(&conn), 50);
    let error = restore(&replica, &out, over()).await.unwrap_err();
    assert!(matches!(error, RestoreError::InUse { .. }), "{error}");
    assert_eq!(rows(&conn), 50);
    drop(conn);
    restore(&replica, &out, over()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn mode_and_links_stay() {
    let dir = tempfile::tempdir().unwrap();
    let (source, replica) = replica(dir.path()).await;
    let place = dir.path().join("place");
    let (out, link) = (place.join("app.sqlite3"), place.join("link"));
    std::fs::write(&out, "").unwrap();
    std::fs::set_permissions(&out, PermissionsExt::from_mode(0o640)).unwrap();
    symlink("app.sqlite3", &link).unwrap();
    restore(&replica, &link, over()).await.unwrap();
    assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(std::fs::metadata(&out).unwrap().mode() & 0o777, 0o640);
    assert!(std::fs::read(&out).unwrap() == source.states.last().unwrap().bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_dead_restores_left_is_removed_and_a_living_ones_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let (_source, replica) = replica(dir.path()).await;
    let place = dir.path().join("place");
    for name in [
        ".monolite-restoring-0000000000000001",
        ".monolite-restoring-0000000000000099",
    ] {
        std::fs::write(place.join(name), "part of a database").unwrap();
    }
    // Another process at the same work.
    let mut living = Command::new("flock")
        .args(["--no-fork", "--exclusive"])
        .arg(place.join(".monolite-restoring-0000000000000077"))
        .args(["sh", "-c", "echo locked; cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut said = std::io::BufReader::new(living.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut said, &mut line).unwrap();
    assert_eq!(line, "locked\n");
    restore(
        &replica,
        &place.join("app.sqlite3"),
        RestoreOptions::default(),
    )
    .await
    .unwrap();
    let left = [".monolite-restoring-0000000000000077", "app.sqlite3"];
    assert_eq!(names(&place), left);
    drop(living.stdin.take());
    living.wait().unwrap();
    restore(&replica, &place.join("app.sqlite3"), over())
        .await
        .unwrap();
    assert_eq!(names(&place), ["app.sqlite3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_may_be_any() {
    let dir = tempfile::tempdir().unwrap();
    let (source, replica) = replica(dir.path()).await;
    let place = dir.path().join("place");
    for name in ["a b?c#d%20&mode=rw", "ä\u{1f600}", "-wal", "x'y\"z"] {
        let out = place.join(name);
        let options = RestoreOptions {
            integrity_check: IntegrityCheck::Full,
            ..RestoreOptions::default()
        };
        let restored = restore(&replica, &out, options).await.unwrap();
        assert_eq!(restored.integrity, Integrity::Ok);
        assert_eq!(names(&place), [name]);
        assert!(std::fs::read(&out).unwrap() == source.states.last().unwrap().bytes);
        std::fs::remove_file(&out).unwrap();
    }
}

/// Tells when the download has begun, and lets it go no further.
#[derive(Debug)]
struct Stop(tokio::sync::Notify);

impl Progress for Stop {
    fn advance(&self, _bytes: u64) {
        self.0.notify_one();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_is_given_up_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (_source, replica) = replica(dir.path()).await;
    let place = dir.path().join("place");
    let out = place.join("app.sqlite3");
    let stop = Arc::new(Stop(tokio::sync::Notify::new()));
    let options = RestoreOptions {
        progress: stop.clone(),
        parallel: 1,
        ..RestoreOptions::default()
    };
    tokio::select! {
        biased;
        () = stop.0.notified() => {}
        restored = restore(&replica, &out, options) => {
            restored.unwrap();
            panic!("not given up");
        }
    }
    // Work that was begun on other threads ends by itself.
    monolite_testkit::wait_until("an empty folder", || names(&place).is_empty());
}
