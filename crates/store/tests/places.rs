//! Real places that are hard to live in: a full disk, a read-only directory.
//!
//! Each test runs its other half in a mount namespace of its own (`unshare`),
//! where it may mount what it needs without touching the machine.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::process::Command;

use monolite_store::{Error, Options, Store};

/// Mounts `mount` over a fresh directory and runs the ignored test `half`
/// there.
fn inside(half: &str, mount: &str) {
    let dir = tempfile::tempdir().unwrap();
    let script = format!("{mount} && exec \"$SELF\" {half} --exact --ignored --nocapture");
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", &script])
        .env("SELF", std::env::current_exe().unwrap())
        .env("PLACE", dir.path())
        .output()
        .expect("unshare, of util-linux, is needed");
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && stdout.contains("1 passed"),
        "{half} failed (user and mount namespaces are needed here):\n{stdout}{}",
        String::from_utf8_lossy(&output.stderr),
    );
}

fn place() -> PathBuf {
    std::env::var_os("PLACE").unwrap().into()
}

fn check(path: &Path) -> (i64, String) {
    let store = Store::open(path, Options::default()).unwrap();
    store
        .read_blocking(|conn| {
            let rows = conn.query_row("SELECT count(*) FROM t", [], |row| row.get(0))?;
            let check = conn.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
            Ok((rows, check))
        })
        .unwrap()
}

#[test]
fn a_full_disk_refuses_writes_and_recovers_when_there_is_space() {
    inside("full_disk", "mount -t tmpfs -o size=3m none \"$PLACE\"");
}

#[test]
#[ignore = "the other half of a_full_disk_refuses_writes_and_recovers_when_there_is_space"]
fn full_disk() {
    let path = place().join("app.sqlite3");
    let ballast = place().join("ballast");
    std::fs::write(&ballast, vec![1; 512 << 10]).unwrap();
    let store = Store::open(&path, Options::default()).unwrap();
    store
        .write_blocking(|tx| Ok(tx.execute_batch("CREATE TABLE t (x BLOB)")?))
        .unwrap();
    let insert =
        || store.write_blocking(|tx| Ok(tx.execute("INSERT INTO t VALUES (zeroblob(20000))", [])?));
    let mut answered = 0;
    let error = loop {
        match insert() {
            Ok(_) => answered += 1,
            Err(error) => break error,
        }
        assert!(answered < 1000, "3 MB were never full");
    };
    assert!(matches!(error, Error::DiskFull { .. }), "{error}");
    for _ in 0..20 {
        assert!(insert().is_err(), "still full");
    }
    let seen: i64 = store
        .read_blocking(|conn| Ok(conn.query_row("SELECT count(*) FROM t", [], |r| r.get(0))?))
        .unwrap();
    assert_eq!(seen, answered, "reads go on");

    std::fs::remove_file(&ballast).unwrap();
    insert().expect("there is space again");
    store.close_blocking();
    assert_eq!(check(&path), (answered + 1, "ok".into()));
}

#[test]
fn a_disk_that_is_full_from_the_start_is_named() {
    inside("full_at_open", "mount -t tmpfs -o size=64k none \"$PLACE\"");
}

#[test]
#[ignore = "the other half of a_disk_that_is_full_from_the_start_is_named"]
fn full_at_open() {
    let ballast = place().join("ballast");
    // Until not a byte is left.
    let _ = std::fs::write(&ballast, vec![1; 1 << 20]);
    let error = Store::open(place().join("app.sqlite3"), Options::default()).unwrap_err();
    assert!(matches!(error, Error::DiskFull { .. }), "{error}");
    std::fs::remove_file(&ballast).unwrap();
    let store = Store::open(place().join("app.sqlite3"), Options::default()).unwrap();
    store
        .write_blocking(|tx| Ok(tx.execute_batch("CREATE TABLE t (x)")?))
        .expect("nothing was spoilt");
}

#[test]
fn a_read_only_directory_is_named_and_left_alone() {
    let prepare = "echo old > \"$PLACE/note\" && mount --bind \"$PLACE\" \"$PLACE\"";
    let make = "\"$SELF\" make_database --exact --ignored";
    let mount = format!("{prepare} && {make} && mount -o remount,bind,ro \"$PLACE\"");
    inside("read_only", &mount);
}

#[test]
#[ignore = "a part of a_read_only_directory_is_named_and_left_alone"]
fn make_database() {
    let store = Store::open(place().join("old.sqlite3"), Options::default()).unwrap();
    store
        .write_blocking(|tx| Ok(tx.execute_batch("CREATE TABLE t (x)")?))
        .unwrap();
    store.close_blocking();
}

#[test]
#[ignore = "the other half of a_read_only_directory_is_named_and_left_alone"]
fn read_only() {
    for name in ["new.sqlite3", "old.sqlite3"] {
        let error = Store::open(place().join(name), Options::default()).unwrap_err();
        assert!(matches!(error, Error::ReadOnly { .. }), "{name}: {error}");
        assert!(error.to_string().contains("writable by this user"));
    }
}
