//! Snapshots on the volume.

use std::path::Path;

use monolite_replica::backup::local::{self, TakeOptions};
use monolite_replica::backup::{Cancel, Error};
use rusqlite::Connection;
use tempfile::TempDir;

use super::kill::a_snapshot_has_its_name_when_it_is_whole;
use super::other::writer;
use super::place::{
    AS_ANYBODY, Noted, database, in_namespace, last, names, place, state, transact,
};

/// 2026-11-21 14:30:00 UTC.
const NOW_MS: i64 = 1_795_271_400_000;
const DAY_MS: i64 = 86_400_000;

fn take(db: &Path, dir: &Path, now_ms: i64) -> local::Snapshot {
    local::take(db, dir, now_ms, &TakeOptions::default(), &()).unwrap()
}

/// In memory: on a disk that is nearly full no snapshot would be taken.
#[test]
fn on_a_small_volume() {
    let dir = tempfile::tempdir().unwrap();
    let mount = "mount -t tmpfs -o size=512m none \"$PLACE\"";
    in_namespace(AS_ANYBODY, mount, "snapshots::small_volume", dir.path());
}

#[test]
#[ignore = "the other half of on_a_small_volume"]
fn small_volume() {
    let volume = || tempfile::tempdir_in(place()).unwrap();
    taken_listed_and_pruned(&volume());
    one_a_second(&volume());
    what_cannot_be_taken_leaves_nothing(&volume());
    killed(&volume());
    let volume = volume();
    let db = database(volume.path(), "WAL", 600);
    beside_writers(&db, &volume.path().join("snapshots"), 20, "copying");
}

fn taken_listed_and_pruned(volume: &TempDir) {
    let db = database(volume.path(), "WAL", 30);
    let dir = local::directory(volume.path(), Path::new("app.sqlite3"));
    assert!(dir.ends_with(".monolite/snapshots/app.sqlite3"));
    assert_eq!(local::list(&dir).unwrap(), []);
    assert_eq!(local::prune(&dir, NOW_MS, 5).unwrap(), []);

    let conn = Connection::open(&db).unwrap();
    let mut taken = Vec::new();
    for half_days in -14..=0 {
        let snapshot = take(&db, &dir, NOW_MS + 999 + half_days * DAY_MS / 2);
        assert_eq!(snapshot.bytes, snapshot.path.metadata().unwrap().len());
        taken.push(snapshot);
        transact(&conn);
    }
    assert_eq!(local::list(&dir).unwrap(), taken);
    let newest = taken.last().unwrap();
    assert_eq!(newest.taken_ms, NOW_MS);
    let name = newest.path.file_name().unwrap();
    assert_eq!(name, "20261121T143000Z.sqlite3");
    for (n, snapshot) in taken.iter().enumerate() {
        assert_eq!(state(&snapshot.path), 30 + i64::try_from(n).unwrap());
    }

    // A note of somebody's, and what a killed process left.
    std::fs::write(dir.join("notes.txt"), "").unwrap();
    let left = dir.join(".monolite-copying-0123456789abcdef");
    std::fs::write(&left, "").unwrap();
    let removed = local::prune(&dir, NOW_MS, 5).unwrap();
    let kept = local::list(&dir).unwrap();
    assert_eq!(removed.len() + kept.len(), taken.len());
    // 14:30 and not 02:30 of each day.
    let expected: Vec<_> = (-4..=0).map(|days| NOW_MS + days * DAY_MS).collect();
    let times: Vec<_> = kept.iter().map(|snapshot| snapshot.taken_ms).collect();
    assert_eq!(times, expected);
    assert_eq!(names(&dir).len(), 6);
    assert!(!left.exists());
    assert_eq!(local::prune(&dir, NOW_MS, 5).unwrap(), []);
    // Long after the last: it stays.
    local::prune(&dir, NOW_MS + 100 * DAY_MS, 5).unwrap();
    assert_eq!(local::list(&dir).unwrap(), std::slice::from_ref(newest));
}

fn one_a_second(volume: &TempDir) {
    let db = database(volume.path(), "DELETE", 3);
    let dir = volume.path().join("snapshots");
    take(&db, &dir, NOW_MS);
    let again = local::take(&db, &dir, NOW_MS + 1, &TakeOptions::default(), &());
    assert!(matches!(again, Err(Error::Exists { .. })));
    take(&db, &dir, NOW_MS + 1000);
    assert_eq!(names(&dir).len(), 2);
}

fn what_cannot_be_taken_leaves_nothing(volume: &TempDir) {
    let dir = volume.path().join("snapshots");
    let options = TakeOptions::default();
    let missing = volume.path().join("app.sqlite3");
    let error = local::take(&missing, &dir, NOW_MS, &options, &());
    assert!(matches!(error, Err(Error::Missing { .. })));
    std::fs::write(&missing, "").unwrap();
    let error = local::take(&missing, &dir, NOW_MS, &options, &());
    assert!(matches!(error, Err(Error::Empty { .. })));
    assert!(!dir.exists());
    let db = database(volume.path(), "WAL", 3);
    let cancel = Cancel::default();
    cancel.cancel();
    let cancelled = TakeOptions { cancel, ..options };
    let error = local::take(&db, &dir, NOW_MS, &cancelled, &());
    assert!(matches!(error, Err(Error::Cancelled)));
    assert_eq!(names(&dir), [""; 0]);
    let error = local::take(&db, &dir, i64::MAX, &TakeOptions::default(), &()).unwrap_err();
    assert!(error.to_string().contains("time"), "{error}");
}

fn killed(volume: &TempDir) {
    let db = database(volume.path(), "WAL", 100);
    let snapshots = volume.path().join("snapshots");
    let steps = ["snapshot.created", "snapshot.synced", "backup.publishing"];
    a_snapshot_has_its_name_when_it_is_whole(&db, &snapshots, &steps);
}

/// Takes snapshots beside two writers, the last step of each being `way`
/// and the check.
pub(crate) fn beside_writers(db: &Path, dir: &Path, count: i64, way: &str) {
    let writers = [writer(db), writer(db)];
    let begun = last(db);
    for n in 0..count {
        let before = last(db);
        let noted = Noted::default();
        let options = TakeOptions::default();
        let snapshot = local::take(db, dir, n * 1000, &options, &noted).unwrap();
        assert!(noted.names().ends_with(&[way, "reading", "checking"]));
        let state = state(&snapshot.path);
        assert!((before..=last(db)).contains(&state));
        assert_eq!(names(dir).len(), 1);
        std::fs::remove_file(snapshot.path).unwrap();
    }
    assert!(last(db) > begun, "nothing was written meanwhile");
    drop(writers);
}
