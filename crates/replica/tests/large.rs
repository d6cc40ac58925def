//! A database of more than 1 GiB: one page of it is SQLite's lock page, which
//! holds nothing, and is in no LTX file.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::process::Command;

use common::{LARGE_PAGE, LONG, Volume, fill_large};
use monolite_replica::{IntegrityCheck, RestoreOptions, restore};
use rusqlite::Connection;

/// Follows it, has it change on both sides of that page, and sync.
async fn followed() -> (Volume, Connection) {
    let volume = Volume::on_disk();
    fill_large(&Connection::open(volume.path("data/app.sqlite3")).unwrap());
    let app = volume.database("app.sqlite3");
    let follower = volume.follow();
    follower.sync(4 * LONG).await.unwrap();
    app.execute_batch(
        "INSERT INTO t VALUES (randomblob(1000000)); UPDATE t SET x = 'a' WHERE rowid = 3",
    )
    .unwrap();
    follower.sync(LONG).await.unwrap();
    follower.stop(LONG).await.unwrap();
    (volume, app)
}

fn assert_is(conn: &Connection, app: &Connection) {
    let rows = |conn: &Connection| -> Vec<(i64, i64, Vec<u8>)> {
        let mut all = conn
            .prepare("SELECT rowid, length(x), CAST(substr(x, -1000) AS BLOB) FROM t")
            .unwrap();
        let rows = all.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
        rows.unwrap().map(Result::unwrap).collect()
    };
    assert_eq!(rows(conn), rows(app));
    let pages: i64 = conn
        .query_row("PRAGMA page_count", [], |row| row.get(0))
        .unwrap();
    assert!(pages as u64 > (1 << 30) / LARGE_PAGE + 2);
    let check: String = conn
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(check, "ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_with_a_lock_page_comes_back() {
    let (volume, app) = followed().await;
    let replica = volume.destination().replica("app.sqlite3");
    let out = volume.path("out.sqlite3");
    let options = RestoreOptions {
        integrity_check: IntegrityCheck::Full,
        ..RestoreOptions::default()
    };
    let restored = restore(&replica, &out, options).await.unwrap();
    assert!(restored.checksum.is_some());
    assert_is(&Connection::open(&out).unwrap(), &app);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs litestream"]
async fn litestream_restores_it() {
    let (volume, app) = followed().await;
    let out = volume.path("out.sqlite3");
    let program = std::env::var_os("MONOLITE_TEST_LITESTREAM").unwrap_or_else(|| {
        let home = std::env::var_os("HOME").unwrap();
        std::path::Path::new(&home).join("go/bin/litestream").into()
    });
    let url = format!("file://{}", volume.path("copy/app.sqlite3").display());
    let ended = Command::new(program)
        .args(["restore", "-o"])
        .arg(&out)
        .arg(url)
        .output()
        .unwrap();
    assert!(
        ended.status.success(),
        "{}",
        String::from_utf8_lossy(&ended.stderr)
    );
    assert_is(&Connection::open(&out).unwrap(), &app);
}
