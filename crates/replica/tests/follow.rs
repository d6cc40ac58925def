//! Databases that others write, followed to a folder and brought back.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::path::{Path, PathBuf};
use std::time::Duration;

use common::{LONG, Volume, quick};
use monolite_replica::{FollowOptions, Policy, RestoreOptions, State, Target, restore};
use rusqlite::Connection;

fn files(volume: &Volume, level: u8) -> Vec<PathBuf> {
    let dir = volume.path(&format!("copy/app.sqlite3/ltx/{level}"));
    let mut files: Vec<_> = std::fs::read_dir(dir)
        .map(|entries| entries.map(|entry| entry.unwrap().path()).collect())
        .unwrap_or_default();
    files.sort();
    files
}

fn size(path: &Path) -> u64 {
    std::fs::metadata(path).unwrap().len()
}

fn filled(volume: &Volume) -> Connection {
    let app = volume.database("app.sqlite3");
    app.execute_batch(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, b);
         WITH RECURSIVE n (n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM n LIMIT 2000)
         INSERT INTO t SELECT n, randomblob(1000) FROM n",
    )
    .unwrap();
    app
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_committed_is_stored_and_new_databases_are_found() {
    let volume = Volume::new();
    let app = volume.database("app.sqlite3");
    app.execute_batch("CREATE TABLE t (n); INSERT INTO t VALUES (1)")
        .unwrap();
    let follower = volume.follow();
    follower.sync(LONG).await.unwrap();
    let late = volume.database("late.sqlite3");
    for n in 0..50 {
        app.execute("INSERT INTO t VALUES (?1)", [n]).unwrap();
        late.execute_batch("CREATE TABLE IF NOT EXISTS u (n); INSERT INTO u VALUES (1)")
            .unwrap();
        follower.sync(LONG).await.unwrap();
    }
    let status = follower.status();
    assert_eq!(status.len(), 2, "{status:?}");
    let well = |s: &monolite_replica::Status| s.state == State::Following && s.lag_ms == 0;
    assert!(status.iter().all(well), "{status:?}");
    // The first is followed by a file that changes nothing.
    assert_eq!(status[0].txid.0, 52);
    follower.stop(LONG).await.unwrap();
    volume.assert_restores("app.sqlite3", &app).await;
    volume.assert_restores("late.sqlite3", &late).await;
    // Nothing of ours is in it.
    let tables: i64 = app
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .unwrap();
    assert_eq!(tables, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_state_that_was_synced_can_be_had_again() {
    let volume = Volume::new();
    let app = filled(&volume);
    let follower = volume.follow();
    let mut states = Vec::new();
    for n in 0..20 {
        app.execute("UPDATE t SET b = ?1 WHERE id % 20 = ?1", [n])
            .unwrap();
        if n == 10 {
            app.execute_batch("DELETE FROM t WHERE id > 500; VACUUM")
                .unwrap();
        }
        follower.sync(LONG).await.unwrap();
        let txid = follower.status()[0].txid;
        states.push((txid, common::dump(&app)));
    }
    follower.stop(LONG).await.unwrap();
    for (txid, dump) in states {
        let out = volume.path("then.sqlite3");
        let options = RestoreOptions {
            target: Target::Txid(txid),
            overwrite: true,
            ..RestoreOptions::default()
        };
        let replica = volume.destination().replica("app.sqlite3");
        let restored = restore(&replica, &out, options).await.unwrap();
        assert_eq!(restored.txid, txid);
        assert!(restored.checksum.is_some());
        assert_eq!(common::dump(&Connection::open(&out).unwrap()), dump);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_pause_only_what_changed_is_sent() {
    let volume = Volume::new();
    let app = filled(&volume);
    let follower = volume.follow();
    follower.sync(LONG).await.unwrap();
    follower.stop(LONG).await.unwrap();
    let (whole, before) = (size(&files(&volume, 9)[0]), files(&volume, 0).len());
    // Away: the log is reset again and again, and a little is changed.
    for n in 0..5 {
        app.execute("UPDATE t SET b = 0 WHERE id = ?1", [n * 300])
            .unwrap();
        app.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
            .unwrap();
    }
    let follower = volume.follow();
    follower.sync(LONG).await.unwrap();
    follower.stop(LONG).await.unwrap();
    let sent = files(&volume, 0);
    assert_eq!((files(&volume, 9).len(), sent.len()), (1, before + 1));
    let last = size(sent.last().unwrap());
    assert!(last < whole / 50, "{last} of {whole}");
    // Nothing at all, if nothing was changed; also when all that is known here
    // is lost.
    std::fs::remove_dir_all(volume.path("state")).unwrap();
    let follower = volume.follow();
    follower.sync(LONG).await.unwrap();
    follower.stop(LONG).await.unwrap();
    assert_eq!(files(&volume, 0).len(), before + 1);
    volume.assert_restores("app.sqlite3", &app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_happens_to_the_file_while_away_is_found() {
    let volume = Volume::new();
    let path = volume.path("data/app.sqlite3");
    let mut app = filled(&volume);
    for turn in 0..6 {
        let follower = volume.follow();
        follower.sync(LONG).await.unwrap();
        app.execute_batch("UPDATE t SET b = randomblob(500) WHERE id < 20")
            .unwrap();
        follower.stop(LONG).await.unwrap();
        match turn {
            0 => app
                .execute_batch("DELETE FROM t WHERE id % 2; VACUUM")
                .unwrap(),
            1 => app
                .execute_batch(
                    "PRAGMA journal_mode = DELETE; PRAGMA page_size = 8192; VACUUM;
                     PRAGMA journal_mode = WAL",
                )
                .unwrap(),
            2 => app
                .execute_batch("PRAGMA journal_mode = DELETE; DELETE FROM t WHERE id < 5")
                .unwrap(),
            3 => app
                .execute_batch("PRAGMA journal_mode = WAL; DELETE FROM t WHERE id < 50")
                .unwrap(),
            4 => {
                drop(app);
                std::fs::remove_file(&path).unwrap();
                app = volume.database("app.sqlite3");
                app.execute_batch("CREATE TABLE t (id INTEGER PRIMARY KEY, b)")
                    .unwrap();
            }
            _ => {}
        }
        let follower = volume.follow();
        follower.sync(LONG).await.unwrap();
        follower.stop(LONG).await.unwrap();
        volume.assert_restores("app.sqlite3", &app).await;
    }
    assert_eq!(
        files(&volume, 9).len(),
        3,
        "one at first, one for each change of the page size"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_replaced_or_deleted_while_followed() {
    let volume = Volume::new();
    let path = volume.path("data/app.sqlite3");
    let app = filled(&volume);
    let follower = volume.follow();
    follower.sync(LONG).await.unwrap();
    // Committed, and at once the file is gone, with its log.
    app.execute_batch("INSERT INTO t VALUES (-1, 'the last')")
        .unwrap();
    for suffix in ["", "-wal", "-shm"] {
        let mut file = path.clone().into_os_string();
        file.push(suffix);
        std::fs::remove_file(file).unwrap();
    }
    follower.sync(LONG).await.unwrap();
    volume.assert_restores("app.sqlite3", &app).await;
    // Something else is put there.
    drop(app);
    let other = volume.database("app.sqlite3");
    other
        .execute_batch("CREATE TABLE other (n); INSERT INTO other VALUES (5)")
        .unwrap();
    follower.sync(LONG).await.unwrap();
    follower.stop(LONG).await.unwrap();
    volume.assert_restores("app.sqlite3", &other).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_fits_in_memory_is_sent_all_the_same() {
    let volume = Volume::new();
    let app = filled(&volume);
    let follower = volume.follow_with(FollowOptions {
        memory: 100_000,
        ..quick()
    });
    follower.sync(LONG).await.unwrap();
    for _ in 0..3 {
        app.execute_batch("UPDATE t SET b = randomblob(900)")
            .unwrap();
        follower.sync(LONG).await.unwrap();
        app.execute_batch("UPDATE t SET b = 1 WHERE id < 10")
            .unwrap();
        follower.sync(LONG).await.unwrap();
    }
    follower.stop(LONG).await.unwrap();
    assert_eq!(files(&volume, 9).len(), 1);
    volume.assert_restores("app.sqlite3", &app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_done_while_nothing_happens() {
    let volume = Volume::new();
    let app = filled(&volume);
    let follower = volume.follow();
    follower.sync(LONG).await.unwrap();
    let before = (files(&volume, 0), files(&volume, 9));
    let lease = std::fs::read(volume.path("copy/.monolite/lease")).unwrap();
    // Reading is nothing.
    let _: i64 = app
        .query_row("SELECT count(*) FROM t", [], |row| row.get(0))
        .unwrap();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    follower.sync(LONG).await.unwrap();
    assert_eq!(before, (files(&volume, 0), files(&volume, 9)));
    assert_eq!(
        lease,
        std::fs::read(volume.path("copy/.monolite/lease")).unwrap()
    );
    follower.stop(LONG).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_volumes_one_writes_and_the_other_says_who() {
    let one = Volume::new();
    let app = filled(&one);
    let first = one.follow_with(FollowOptions {
        host: "first".into(),
        ..quick()
    });
    first.sync(LONG).await.unwrap();
    let two = one.another();
    let other = filled(&two);
    let second = two.follow_with(FollowOptions {
        host: "second".into(),
        ..quick()
    });
    let refused = second
        .sync(Duration::from_secs(2))
        .await
        .unwrap_err()
        .to_string();
    assert!(refused.contains("first"), "{refused}");
    assert_eq!(second.status()[0].state, State::Refused);
    app.execute_batch("DELETE FROM t WHERE id < 100").unwrap();
    first.sync(LONG).await.unwrap();
    first.stop(LONG).await.unwrap();
    second.stop(Duration::from_secs(1)).await.unwrap_err();
    one.assert_restores("app.sqlite3", &app).await;
    // Now nobody writes, but what is here is not what is there.
    let third = two.follow();
    let refused = third
        .sync(Duration::from_secs(3))
        .await
        .unwrap_err()
        .to_string();
    assert!(refused.contains("another volume"), "{refused}");
    third.stop(Duration::from_secs(1)).await.unwrap_err();
    one.assert_restores("app.sqlite3", &app).await;
    // Somebody decides.
    let fourth = two.follow_with(FollowOptions {
        take_over: true,
        ..quick()
    });
    fourth.sync(LONG).await.unwrap();
    fourth.stop(LONG).await.unwrap();
    two.assert_restores("app.sqlite3", &other).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_the_volume_does_not_send_what_is_older() {
    let one = Volume::new();
    let app = filled(&one);
    let first = one.follow();
    first.sync(LONG).await.unwrap();
    first.stop(LONG).await.unwrap();
    let copy = one.another();
    for name in ["data", "state"] {
        for entry in std::fs::read_dir(one.path(name)).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), copy.path(name).join(entry.file_name())).unwrap();
        }
    }
    // The original goes on for a while …
    let first = one.follow();
    app.execute_batch("DELETE FROM t WHERE id < 100").unwrap();
    first.sync(LONG).await.unwrap();
    first.stop(LONG).await.unwrap();
    // … and its copy must not undo that.
    let second = copy.follow();
    let refused = second
        .sync(Duration::from_secs(3))
        .await
        .unwrap_err()
        .to_string();
    assert!(refused.contains("this one is a copy of"), "{refused}");
    second.stop(Duration::from_secs(1)).await.unwrap_err();
    one.assert_restores("app.sqlite3", &app).await;
    // Nor one that cannot be told from its original, as a copy of the whole disk.
    std::fs::remove_file(copy.path("state/node")).unwrap();
    let third = copy.follow();
    let refused = third.sync(Duration::from_secs(3)).await.unwrap_err();
    assert!(refused.to_string().contains("another volume"), "{refused}");
    third.stop(Duration::from_secs(1)).await.unwrap_err();
    one.assert_restores("app.sqlite3", &app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_for_one_sync_merges_as_well() {
    let volume = Volume::new();
    let app = filled(&volume);
    let options = || FollowOptions {
        wait_for_background: true,
        policy: Policy {
            short: Duration::from_millis(100),
            ..Policy::default()
        },
        ..quick()
    };
    for _ in 0..3 {
        let follower = volume.follow_with(options());
        for _ in 0..6 {
            app.execute("INSERT INTO t (id) VALUES (NULL)", []).unwrap();
            follower.sync(LONG).await.unwrap();
        }
        assert_eq!(follower.status()[0].advice, None);
        // Its end has not to wait for anything.
        follower.stop(Duration::from_secs(1)).await.unwrap();
        // What is merged is what is older than this.
        tokio::time::sleep(options().policy.short).await;
    }
    assert!(!files(&volume, 1).is_empty(), "merged");
    volume.assert_restores("app.sqlite3", &app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_and_a_stop_wait_for_a_database_that_is_locked() {
    for is_stop in [false, true] {
        let volume = Volume::new();
        let app = Connection::open(volume.path("data/app.sqlite3")).unwrap();
        app.execute_batch("CREATE TABLE t (n); INSERT INTO t VALUES (1); BEGIN EXCLUSIVE")
            .unwrap();
        let follower = volume.follow();
        let storing = async {
            if is_stop {
                return follower.stop(LONG).await;
            }
            let synced = follower.sync(LONG).await;
            follower.stop(LONG).await.unwrap();
            synced
        };
        let mut storing = std::pin::pin!(storing);
        // Longer than a read waits for the lock.
        tokio::select! {
            ended = &mut storing => panic!("it ended: {ended:?}"),
            () = tokio::time::sleep(Duration::from_secs(3)) => {}
        }
        app.execute_batch("COMMIT").unwrap();
        storing.await.unwrap();
        volume.assert_restores("app.sqlite3", &app).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_cannot_be_followed_is_reported() {
    use std::os::unix::ffi::OsStrExt;
    let volume = Volume::new();
    let app = volume.database("app.sqlite3");
    app.execute_batch("CREATE TABLE t (n)").unwrap();
    let name = std::ffi::OsStr::from_bytes(b"caf\xe9.sqlite3");
    let other = volume.path("data").join(name);
    Connection::open(&other)
        .and_then(|conn| conn.execute_batch("CREATE TABLE t (n)"))
        .unwrap();
    let follower = volume.follow();
    let error = follower.sync(LONG).await.unwrap_err().to_string();
    assert!(error.contains("1 databases are not replicated"), "{error}");
    let status = follower.status();
    let blocked: Vec<bool> = status.iter().map(|status| status.is_blocked()).collect();
    assert_eq!(blocked, [false, true], "{status:?}");
    std::fs::remove_file(&other).unwrap();
    follower.stop(LONG).await.unwrap();
    volume.assert_restores("app.sqlite3", &app).await;
}
