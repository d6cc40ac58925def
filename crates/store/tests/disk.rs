//! Disks that refuse: a full one, a read-only directory. Each test runs an
//! ignored one in a mount namespace.

use std::path::{Path, PathBuf};

use monolite_store::{Error, Options, Store};
use monolite_testkit::child::in_mount_namespace;

fn dir() -> PathBuf {
    std::env::var_os("DIR").unwrap().into()
}

fn check(path: &Path) -> (i64, String) {
    let store = Store::open(path, Options::new()).unwrap();
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
    in_mount_namespace("full_disk", "mount -t tmpfs -o size=3m none \"$DIR\"");
}

#[test]
#[ignore = "the other half of a_full_disk_refuses_writes_and_recovers_when_there_is_space"]
fn full_disk() {
    let path = dir().join("app.sqlite3");
    let ballast = dir().join("ballast");
    std::fs::write(&ballast, vec![1; 512 << 10]).unwrap();
    let store = Store::open(&path, Options::new()).unwrap();
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
    in_mount_namespace("full_at_open", "mount -t tmpfs -o size=64k none \"$DIR\"");
}

#[test]
#[ignore = "the other half of a_disk_that_is_full_from_the_start_is_named"]
fn full_at_open() {
    let ballast = dir().join("ballast");
    // Until not a byte is left.
    let _ = std::fs::write(&ballast, vec![1; 1 << 20]);
    let error = Store::open(dir().join("app.sqlite3"), Options::new()).unwrap_err();
    assert!(matches!(error, Error::DiskFull { .. }), "{error}");
    std::fs::remove_file(&ballast).unwrap();
    let store = Store::open(dir().join("app.sqlite3"), Options::new()).unwrap();
    store
        .write_blocking(|tx| Ok(tx.execute_batch("CREATE TABLE t (x)")?))
        .expect("nothing was spoilt");
}

#[test]
fn a_read_only_directory_is_named_and_left_alone() {
    let prepare = "echo old > \"$DIR/note\" && mount --bind \"$DIR\" \"$DIR\"";
    let make = "\"$SELF\" make_database --exact --ignored";
    let mount = format!("{prepare} && {make} && mount -o remount,bind,ro \"$DIR\"");
    in_mount_namespace("read_only", &mount);
}

#[test]
#[ignore = "a part of a_read_only_directory_is_named_and_left_alone"]
fn make_database() {
    let store = Store::open(dir().join("old.sqlite3"), Options::new()).unwrap();
    store
        .write_blocking(|tx| Ok(tx.execute_batch("CREATE TABLE t (x)")?))
        .unwrap();
    store.close_blocking();
}

#[test]
#[ignore = "the other half of a_read_only_directory_is_named_and_left_alone"]
fn read_only() {
    for name in ["new.sqlite3", "old.sqlite3"] {
        let error = Store::open(dir().join(name), Options::new()).unwrap_err();
        assert!(matches!(error, Error::ReadOnly { .. }), "{name}: {error}");
        assert!(error.to_string().contains("writable by this user"));
    }
}
