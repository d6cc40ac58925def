//! Snapshots that share blocks: on filesystems that can, mounted from a file.

use std::path::Path;
use std::process::Command;

use monolite_replica::backup::local::{self, TakeOptions};
use rusqlite::Connection;

use super::kill::a_snapshot_has_its_name_when_it_is_whole;
use super::other::can_write;
use super::place::{Noted, database, disk, in_namespace, last, names, place, state, transact};
use super::snapshots::beside_writers;

#[test]
fn on_xfs() {
    on("mkfs.xfs");
}

#[test]
fn on_btrfs() {
    on("mkfs.btrfs");
}

/// This needs root and loop devices: filesystems with reflinks need a device.
fn on(mkfs: &str) {
    let _alone = disk();
    let dir = monolite_testkit::disk_dir();
    let image = dir.path().join("image");
    let file = std::fs::File::create(&image).unwrap();
    file.set_len(600 << 20).unwrap();
    let made = Command::new(mkfs).arg("-q").arg(&image).output();
    let made = made.expect("xfsprogs and btrfs-progs are needed");
    let said = String::from_utf8_lossy(&made.stderr);
    assert!(made.status.success(), "{mkfs}: {said}");
    let mount = dir.path().join("mount");
    std::fs::create_dir(&mount).unwrap();
    // Unmounted with the namespace, and the loop device is free again.
    let script = "mount -o loop \"$PLACE/../image\" \"$PLACE\"";
    in_namespace(&["--mount"], script, "reflink::shared", &mount);
}

#[test]
#[ignore = "the other half of on_xfs and on_btrfs"]
fn shared() {
    let place = place();
    for mode in ["WAL", "DELETE"] {
        let volume = place.join(mode);
        std::fs::create_dir(&volume).unwrap();
        let db = database(&volume, mode, 600);
        let dir = volume.join("snapshots");
        one_state_shared(&db, &dir);
        locks_survive(&db, &dir);
        beside_writers(&db, &dir, 6, "cloning");
        let (wal, rest) = (
            ["snapshot.created", "snapshot.cloned", "snapshot.wal-copied"],
            ["snapshot.absorbed", "snapshot.synced", "backup.publishing"],
        );
        let in_wal_mode = usize::from(mode == "DELETE");
        a_snapshot_has_its_name_when_it_is_whole(&db, &dir, &wal);
        std::fs::remove_dir_all(&dir).unwrap();
        a_snapshot_has_its_name_when_it_is_whole(&db, &dir, &rest[in_wal_mode..]);
    }
}

fn one_state_shared(db: &Path, dir: &Path) {
    let conn = Connection::open(db).unwrap();
    // In WAL mode: most of it in the file, this in the WAL alone.
    for _ in 0..5 {
        transact(&conn);
    }
    let noted = Noted::default();
    let options = TakeOptions::default();
    let snapshot = local::take(db, dir, 0, &options, &noted).unwrap();
    assert_eq!(noted.names(), ["cloning", "reading", "checking"]);
    assert_eq!(state(&snapshot.path), last(db));
    // It is not changed by what comes later.
    for _ in 0..200 {
        transact(&conn);
    }
    let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
    conn.query_row(checkpoint, [], |_| Ok(())).unwrap();
    assert_eq!(state(&snapshot.path), last(db) - 200);
    assert_eq!(names(dir).len(), 1);
    std::fs::remove_file(snapshot.path).unwrap();
}

/// Of this process, which opened and closed the database's file.
fn locks_survive(db: &Path, dir: &Path) {
    let conn = Connection::open(db).unwrap();
    conn.execute_batch("BEGIN IMMEDIATE; UPDATE last SET n = n")
        .unwrap();
    assert!(!can_write(db), "the test would prove nothing");
    let options = TakeOptions::default();
    let noted = Noted::default();
    let snapshot = local::take(db, dir, 0, &options, &noted).unwrap();
    assert_eq!(noted.names()[0], "cloning");
    assert!(!can_write(db), "the lock is gone");
    std::fs::remove_file(snapshot.path).unwrap();
    conn.execute_batch("COMMIT").unwrap();
    assert!(can_write(db));
}
