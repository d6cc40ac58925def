//! Replicas that lose files, or get them damaged, while they are written and between.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::path::PathBuf;
use std::time::Duration;

use common::{LONG, Volume, quick};
use monolite_ltx::Txid;
use monolite_replica::{FollowOptions, Follower, Repair, VerifyOptions, verify};
use monolite_testkit::wait_until;
use rusqlite::Connection;

fn files(volume: &Volume, level: u8) -> Vec<PathBuf> {
    let dir = volume.path(&format!("copy/app.sqlite3/ltx/{level}"));
    let mut files: Vec<_> = std::fs::read_dir(dir)
        .map(|entries| entries.map(|entry| entry.unwrap().path()).collect())
        .unwrap_or_default();
    files.sort();
    files
}

fn remove(files: &[PathBuf]) {
    for file in files {
        std::fs::remove_file(file).unwrap();
    }
}

/// A database with the states of `syncs` syncs, which nobody follows now.
async fn followed(volume: &Volume, syncs: u32) -> Connection {
    let app = volume.database("app.sqlite3");
    app.execute_batch("CREATE TABLE IF NOT EXISTS t (n)")
        .unwrap();
    let follower = volume.follow();
    for n in 0..syncs {
        app.execute("INSERT INTO t VALUES (?1)", [n]).unwrap();
        follower.sync(LONG).await.unwrap();
    }
    follower.stop(LONG).await.unwrap();
    app
}

fn repair(follower: &Follower) -> Option<Repair> {
    follower.status()[0].repair.clone()
}

/// What is lost, and what is found.
const LOSSES: [(&str, &str); 6] = [
    ("a file of the middle", "are missing"),
    ("the newest file", "are missing"),
    ("the newest files", "are missing"),
    ("the snapshot", "no whole database"),
    ("all", "all files are missing"),
    ("all of level 0", "are missing"),
];

fn lose(volume: &Volume, what: &str) {
    let (level0, snapshots) = (files(volume, 0), files(volume, 9));
    assert!(level0.len() > 5);
    match what {
        "a file of the middle" => remove(&level0[3..4]),
        "the newest file" => remove(&level0[level0.len() - 1..]),
        "the newest files" => remove(&level0[level0.len() - 3..]),
        "the snapshot" => remove(&snapshots),
        "all of level 0" => remove(&level0),
        _ => {
            remove(&level0);
            remove(&snapshots);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_at_the_start_is_replaced_by_a_snapshot() {
    for once in [false, true] {
        for (what, found) in LOSSES {
            let volume = Volume::new();
            let app = followed(&volume, 8).await;
            let replica = volume.destination().replica("app.sqlite3");
            let before = verify(&replica, VerifyOptions::default())
                .await
                .unwrap()
                .txid;
            lose(&volume, what);
            let follower = volume.follow_with(FollowOptions {
                wait_for_background: once,
                ..quick()
            });
            follower.sync(LONG).await.unwrap();
            let repaired = repair(&follower).expect(what);
            assert!(repaired.why.contains(found), "{what}: {repaired:?}");
            // No number is used twice.
            assert!(repaired.done.unwrap() > before, "{what}: {repaired:?}");
            follower.stop(LONG).await.unwrap();
            volume.assert_restores("app.sqlite3", &app).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_missing_meanwhile_is_replaced_at_the_next_maintenance() {
    for (what, found) in LOSSES {
        let volume = Volume::new();
        let app = followed(&volume, 8).await;
        let follower = volume.follow_with(FollowOptions {
            maintain_every: Duration::from_millis(50),
            ..quick()
        });
        app.execute_batch("INSERT INTO t VALUES (100)").unwrap();
        follower.sync(LONG).await.unwrap();
        assert_eq!(repair(&follower), None);
        lose(&volume, what);
        wait_until("it is noticed", || {
            app.execute_batch("INSERT INTO t VALUES (101)").unwrap();
            repair(&follower).is_some_and(|repair| repair.done.is_some())
        });
        let repaired = repair(&follower).unwrap();
        // What was stored since the loss counts as well.
        let all = ["are missing", "no whole database"];
        assert!(
            repaired.why.contains(found) || all.iter().any(|all| repaired.why.contains(all)),
            "{what}: {repaired:?}"
        );
        volume
            .assert_restores("app.sqlite3", &{
                follower.sync(LONG).await.unwrap();
                volume.database("app.sqlite3")
            })
            .await;
        follower.stop(LONG).await.unwrap();
    }
}

/// It says that everything is stored only if that is so.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_makes_sure_that_what_was_sent_is_there() {
    for (what, _) in LOSSES {
        let volume = Volume::new();
        let app = followed(&volume, 8).await;
        let follower = volume.follow();
        app.execute_batch("INSERT INTO t VALUES (100)").unwrap();
        follower.sync(LONG).await.unwrap();
        lose(&volume, what);
        follower.stop(LONG).await.unwrap();
        volume.assert_restores("app.sqlite3", &app).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_damaged_is_found_when_it_is_merged_or_listed() {
    for is_cut in [false, true] {
        let volume = Volume::new();
        let app = followed(&volume, 8).await;
        let damaged = files(&volume, 0)[3].clone();
        let mut options = common::busy();
        options.policy.every = Duration::from_secs(3600);
        let follower = volume.follow_with(options);
        follower.sync(LONG).await.unwrap();
        let mut bytes = std::fs::read(&damaged).unwrap();
        match is_cut {
            true => bytes.truncate(200),
            false => bytes[120] ^= 4,
        }
        std::fs::write(&damaged, bytes).unwrap();
        wait_until("it is noticed", || {
            app.execute_batch("INSERT INTO t VALUES (101)").unwrap();
            let status = &follower.status()[0];
            let name = damaged.file_name().unwrap().to_str().unwrap();
            status
                .advice
                .as_ref()
                .is_some_and(|advice| advice.contains(name))
                || status
                    .repair
                    .as_ref()
                    .is_some_and(|repair| repair.why.contains(name))
        });
        follower.stop(LONG).await.unwrap();
        volume.assert_restores("app.sqlite3", &app).await;
    }
}

/// A new snapshot must not have the damaged one's name.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_newest_snapshot_is_replaced_on_request() {
    let volume = Volume::new();
    let app = followed(&volume, 3).await;
    let snapshot = files(&volume, 9).pop().unwrap();
    let mut bytes = std::fs::read(&snapshot).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&snapshot, bytes).unwrap();
    let follower = volume.follow();
    follower.sync(LONG).await.unwrap();
    assert_eq!(repair(&follower), None, "its header is right");
    let to = volume.destination().name().to_owned();
    assert!(follower.repair("app.sqlite3", &to, "a verification failed"));
    assert!(!follower.repair("other.sqlite3", &to, ""));
    wait_until("a new snapshot", || {
        repair(&follower).is_some_and(|repair| repair.done > Some(Txid(1)))
    });
    follower.stop(LONG).await.unwrap();
    volume.assert_restores("app.sqlite3", &app).await;
}

/// The frames of a VACUUM hold every page; those that are as they were are not sent.
#[tokio::test(flavor = "multi_thread")]
async fn a_vacuum_sends_the_pages_that_differ() {
    let volume = Volume::new();
    let app = volume.database("app.sqlite3");
    app.execute_batch(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, b);
         WITH RECURSIVE n (n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM n LIMIT 2000)
         INSERT INTO t SELECT n, randomblob(1000) FROM n; VACUUM",
    )
    .unwrap();
    let follower = volume.follow();
    follower.sync(LONG).await.unwrap();
    let sent = follower.status()[0].sent_bytes;
    app.execute_batch("VACUUM; VACUUM").unwrap();
    follower.sync(LONG).await.unwrap();
    let more = follower.status()[0].sent_bytes - sent;
    assert!(sent > 2_000_000 && more < 20_000, "{more} of {sent}");
    // One that moves pages, and makes the file smaller.
    app.execute_batch("DELETE FROM t WHERE id % 3 = 1; VACUUM; VACUUM")
        .unwrap();
    follower.stop(LONG).await.unwrap();
    volume.assert_restores("app.sqlite3", &app).await;
}
