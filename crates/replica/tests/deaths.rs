//! A restore, and a takeover, that die at each of their steps.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{LONG, Volume, dump, quick};
use monolite_replica::{FollowOptions, RestoreOptions, keep_database, restore};
use rusqlite::Connection;

/// Has this test program do `role` in another process, which dies at `step`;
/// whether it got there.
fn dies(role: &str, volume: &Volume, step: &str) -> bool {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", role, "--ignored", "--nocapture"])
        .env("DEATH_ROOT", volume.path(""))
        .env("DEATH_STEP", step)
        .stdout(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stderr);
    let died = child.status.signal() == Some(9);
    assert!(died || child.status.success(), "{step}: {said}");
    died
}

fn die_there(step: &'static str) {
    if std::env::var("DEATH_STEP").is_ok_and(|wanted| wanted == step) {
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL)
            .unwrap();
    }
}

/// The volume of the test that started this process, and the replica's folder
/// beside it or above.
fn of_the_parent() -> Volume {
    monolite_platform::failpoint::observe(die_there);
    Volume::existing(Path::new(&std::env::var_os("DEATH_ROOT").unwrap()))
}

fn over() -> RestoreOptions {
    RestoreOptions {
        overwrite: true,
        keep: true,
        ..RestoreOptions::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the other process of the tests here"]
async fn restorer() {
    let volume = of_the_parent();
    let replica = volume.destination().replica("app.sqlite3");
    let out = volume.path("out.sqlite3");
    restore(&replica, &out, over()).await.unwrap();
}

/// A database whose last rows are only in its WAL, closed by nobody.
fn old_database(volume: &Volume) -> Vec<String> {
    let made = volume.path("made.sqlite3");
    let conn = Connection::open(&made).unwrap();
    conn.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0;
         CREATE TABLE old (id INTEGER PRIMARY KEY, text);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500)
         INSERT INTO old SELECT i, 'old' FROM n",
    )
    .unwrap();
    for suffix in ["", "-wal"] {
        let from = volume.path(&format!("made.sqlite3{suffix}"));
        std::fs::copy(from, volume.path(&format!("out.sqlite3{suffix}"))).unwrap();
    }
    dump(&conn)
}

fn found(path: &Path) -> Option<Vec<String>> {
    path.exists().then(|| {
        let conn = Connection::open(path).unwrap();
        let check: String = conn
            .query_row("PRAGMA integrity_check", [], |row| row.get(0))
            .unwrap();
        assert_eq!(check, "ok");
        dump(&conn)
    })
}

/// The databases that restores replaced.
fn kept(volume: &Volume) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(volume.path("")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .filter(|path| path.to_str().unwrap().contains(".before-"))
        .collect()
}

fn clear(volume: &Volume) {
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(volume.path(&format!("out.sqlite3{suffix}")));
        let _ = std::fs::remove_file(volume.path(&format!("made.sqlite3{suffix}")));
    }
}

fn filled(volume: &Volume, word: &str) -> Connection {
    let conn = volume.database("app.sqlite3");
    conn.execute_batch("CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, text)")
        .unwrap();
    for _ in 0..400 {
        conn.execute("INSERT INTO t (text) VALUES (?1)", [word])
            .unwrap();
    }
    conn
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_dies_leaves_the_old_database_or_the_new_one() {
    let volume = Volume::new();
    let app = filled(&volume, "new");
    let follower = volume.follow();
    follower.sync(LONG).await.unwrap();
    follower.stop(LONG).await.unwrap();
    let new = dump(&app);
    let (out, mut died) = (volume.path("out.sqlite3"), 0);
    for step in [
        "restore.planned",
        "restore.begun",
        "restore.written",
        "restore.synced",
        "restore.recovered",
        "restore.kept",
        "restore.cleared",
        "restore.renamed",
    ] {
        for there in [false, true] {
            let old = there.then(|| old_database(&volume));
            assert!(dies("restorer", &volume, step), "{step} was not reached");
            died += 1;
            let now = found(&out);
            assert!(now == old || now.as_ref() == Some(&new), "{step}: neither");
            let renamed = step == "restore.renamed";
            assert_eq!(now.as_ref() == Some(&new), renamed, "{step}");
            // Once more, to its end.
            let replica = volume.destination().replica("app.sqlite3");
            restore(&replica, &out, over()).await.unwrap();
            assert_eq!(found(&out).unwrap(), new, "{step}");
            // What was there is kept, by the one that died or by the next.
            let kept = kept(&volume);
            assert_eq!(kept.is_empty(), !there && !renamed, "{step}");
            if let Some(old) = old {
                assert!(
                    kept.iter().any(|kept| found(kept).as_ref() == Some(&old)),
                    "{step}"
                );
            }
            kept.iter()
                .for_each(|kept| std::fs::remove_file(kept).unwrap());
            clear(&volume);
        }
    }
    assert_eq!(died, 16);
    // What the dead left behind was removed by who came next.
    let mut left: Vec<_> = std::fs::read_dir(volume.path("")).unwrap().collect();
    left.retain(|entry| entry.as_ref().unwrap().path().is_file());
    assert_eq!(left.len(), 0, "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the other process of the tests here"]
async fn keeper() {
    let volume = of_the_parent();
    let replica = volume.destination().replica("app.sqlite3");
    let out = volume.path("out.sqlite3");
    keep_database(&out, &volume.path("kept/1.sqlite3")).unwrap();
    restore(&replica, &out, over()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_is_there_whenever_the_restore_over_it_dies() {
    let volume = Volume::new();
    let app = filled(&volume, "new");
    let follower = volume.follow();
    follower.sync(LONG).await.unwrap();
    follower.stop(LONG).await.unwrap();
    let new = dump(&app);
    let (out, kept) = (volume.path("out.sqlite3"), volume.path("kept/1.sqlite3"));
    for step in [
        "restore.kept",
        "restore.written",
        "restore.cleared",
        "restore.renamed",
    ] {
        let old = old_database(&volume);
        assert!(dies("keeper", &volume, step), "{step} was not reached");
        assert_eq!(found(&kept).as_ref(), Some(&old), "{step}");
        let now = found(&out);
        let is_new = step == "restore.renamed";
        assert_eq!(
            now.as_ref(),
            Some(if is_new { &new } else { &old }),
            "{step}"
        );
        // Once more, to its end; what is kept is not kept twice, nor lost.
        if !is_new {
            keep_database(&out, &kept).unwrap();
        }
        let replica = volume.destination().replica("app.sqlite3");
        restore(&replica, &out, over()).await.unwrap();
        assert_eq!(found(&out).unwrap(), new, "{step}");
        assert_eq!(found(&kept).unwrap(), old, "{step}");
        // Another database does not take its name.
        keep_database(&out, &kept).unwrap_err();
        clear(&volume);
        std::fs::remove_dir_all(volume.path("kept")).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the other process of the tests here"]
async fn successor() {
    let volume = of_the_parent();
    let conn = volume.database("app.sqlite3");
    let follower = volume.follow_with(taking_over());
    follower.sync(LONG).await.unwrap();
    conn.execute("INSERT INTO t (text) VALUES ('later')", [])
        .unwrap();
    follower.sync(LONG).await.unwrap();
    follower.stop(LONG).await.unwrap();
}

fn taking_over() -> FollowOptions {
    FollowOptions {
        take_over: true,
        ..quick()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_takeover_that_dies_leaves_the_state_before_or_after() {
    for step in [
        "lease.read",
        "lease.taken",
        "replica.looked",
        "snapshot.encoded",
        "sync.compared",
        "sync.sending",
        "sync.stored",
    ] {
        let one = Volume::new();
        let first = filled(&one, "first");
        let follower = one.follow();
        follower.sync(LONG).await.unwrap();
        follower.stop(LONG).await.unwrap();
        let before = dump(&first);
        let two = one.another();
        // Where `Volume::existing` looks for it.
        std::os::unix::fs::symlink(one.path("copy"), two.path("copy")).unwrap();
        let second = filled(&two, "second");
        let taken_over = dump(&second);
        if !dies("successor", &two, step) {
            // A difference was sent in the place of a snapshot.
            assert_eq!(step, "snapshot.encoded");
            continue;
        }
        let replica = one.destination().replica("app.sqlite3");
        restore(&replica, &one.path("out.sqlite3"), over())
            .await
            .unwrap();
        let stored = found(&one.path("out.sqlite3")).unwrap();
        let is_one = stored == before || stored == taken_over || stored == dump(&second);
        assert!(is_one, "{step}: {stored:?}");
        // It comes again, and has not to wait for its own lease.
        let follower = two.follow_with(taking_over());
        follower.sync(Duration::from_secs(10)).await.unwrap();
        follower.stop(LONG).await.unwrap();
        two.assert_restores("app.sqlite3", &second).await;
        if step != "sync.stored" {
            continue;
        }
        // Who was taken over from does not write any more.
        filled(&one, "stale");
        let stale = one.follow();
        stale.sync(Duration::from_secs(2)).await.unwrap_err();
        stale.stop(Duration::from_secs(1)).await.unwrap_err();
        two.assert_restores("app.sqlite3", &second).await;
    }
}
