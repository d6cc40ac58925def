//! Copies of a database that others write meanwhile.

use std::io::Read;
use std::path::Path;

use monolite_replica::backup::{self, BackupOptions, Compression, Copy};
use rusqlite::Connection;

use super::other::{can_write, start, writer};
use super::place::{database, last, names, state, transact};

fn copies_are_committed_states(mode: &str, copies: u32) {
    let dir = monolite_testkit::disk_dir();
    let out = tempfile::tempdir_in(dir.path()).unwrap();
    let db = database(dir.path(), mode, 600);
    let writers = [writer(&db), writer(&db)];
    let begun = last(&db);
    for n in 0..copies {
        let copy = out.path().join(format!("{n}.sqlite3"));
        let before = last(&db);
        backup::to_file(&db, &copy, &BackupOptions::default(), &()).unwrap();
        let after = last(&db);
        let state = state(&copy);
        assert!(
            (before..=after).contains(&state),
            "{before} {state} {after}"
        );
        std::fs::remove_file(copy).unwrap();
    }
    assert!(last(&db) > begun, "nothing was written meanwhile");
    drop(writers);
    assert_eq!(names(out.path()), [""; 0]);
}

#[test]
fn beside_two_writers_in_wal_mode() {
    copies_are_committed_states("WAL", 40);
}

#[test]
fn beside_two_writers_in_rollback_mode() {
    copies_are_committed_states("DELETE", 15);
}

#[test]
fn a_copy_is_the_state_of_its_beginning() {
    let dir = tempfile::tempdir().unwrap();
    let db = database(dir.path(), "WAL", 2000);
    let conn = Connection::open(&db).unwrap();
    let copy = Copy::open(&db).unwrap();
    let (pages, bytes) = (copy.pages(), copy.bytes());
    assert_eq!(u64::from(pages) * u64::from(copy.page_size()), bytes);
    assert!(bytes > 5 << 20, "more than is read ahead: {bytes}");
    let mut reader = copy.into_reader().unwrap();
    let mut read = vec![0; 10_000];
    reader.read_exact(&mut read).unwrap();
    // Writers go on, and their checkpoints do no harm.
    for _ in 0..500 {
        transact(&conn);
    }
    conn.execute_batch("PRAGMA wal_checkpoint(PASSIVE)")
        .unwrap();
    reader.read_to_end(&mut read).unwrap();
    assert_eq!(read.len() as u64, bytes);
    // Its transaction is over: the WAL can be emptied.
    let truncate = "PRAGMA wal_checkpoint(TRUNCATE)";
    let busy = conn.query_row(truncate, [], |row| row.get::<_, i64>(0));
    assert_eq!(busy.unwrap(), 0);
    let out = dir.path().join("copy.sqlite3");
    std::fs::write(&out, read).unwrap();
    assert_eq!(state(&out), 2000);
    assert_eq!(last(&db), 2500);
}

#[test]
fn pages_come_in_order_and_a_dropped_reader_lets_go() {
    let dir = tempfile::tempdir().unwrap();
    let db = database(dir.path(), "DELETE", 2000);
    let bytes = std::fs::read(&db).unwrap();
    let mut reader = Copy::open(&db).unwrap().into_reader().unwrap();
    let (page_size, mut at) = (reader.page_size() as usize, 0);
    assert_eq!(reader.total_bytes(), bytes.len() as u64);
    while let Some(pages) = reader.next_pages().unwrap() {
        assert_eq!((pages.first - 1) as usize, at / page_size);
        assert_eq!(pages.bytes, &bytes[at..at + pages.bytes.len()]);
        at += pages.bytes.len();
    }
    assert_eq!(at, bytes.len());
    assert!(reader.next_pages().unwrap().is_none(), "still the end");

    let mut reader = Copy::open(&db).unwrap().into_reader().unwrap();
    reader.next_pages().unwrap().unwrap();
    let conn = Connection::open(&db).unwrap();
    conn.busy_timeout(std::time::Duration::ZERO).unwrap();
    let write = || conn.execute_batch("UPDATE last SET n = n");
    assert!(write().is_err(), "in rollback mode a reader keeps it out");
    drop(reader);
    write().unwrap();
}

#[test]
fn the_journal_mode_stays_and_nothing_lies_beside() {
    let dir = tempfile::tempdir().unwrap();
    for (mode, version) in [("WAL", 2), ("DELETE", 1)] {
        let place = tempfile::tempdir_in(dir.path()).unwrap();
        let db = database(place.path(), mode, 10);
        // Commits that are in the WAL alone, with the app still there.
        let conn = Connection::open(&db).unwrap();
        transact(&conn);
        let out = dir.path().join(mode);
        backup::to_file(&db, &out, &BackupOptions::default(), &()).unwrap();
        let bytes = std::fs::read(&out).unwrap();
        assert_eq!(bytes[18..20], [version, version]);
        assert_eq!(state(&out), 11);
        let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
        conn.query_row(checkpoint, [], |_| Ok(())).unwrap();
        assert!(bytes == std::fs::read(&db).unwrap(), "byte for byte");
    }
}

/// The names and bytes of everything in `dir`, but not of shared memory.
fn everything(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let read = |name: String| {
        let shared = name.ends_with("-shm");
        let bytes = std::fs::read(dir.join(&name)).unwrap();
        (name, if shared { Vec::new() } else { bytes })
    };
    names(dir).into_iter().map(read).collect()
}

#[test]
fn the_database_and_what_lies_beside_it_stay_as_they_were() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("copy");
    let options = BackupOptions {
        overwrite: true,
        ..BackupOptions::default()
    };
    for (mode, live, killed) in [
        ("DELETE", false, false),
        ("WAL", false, false),
        ("WAL", true, false),
        ("WAL", false, true),
    ] {
        let place = tempfile::tempdir_in(dir.path()).unwrap();
        let db = database(place.path(), mode, 50);
        let live = live.then(|| {
            let conn = Connection::open(&db).unwrap();
            transact(&conn);
            conn
        });
        if killed {
            start("leave", &db, |_| {}).end();
        }
        let before = everything(place.path());
        let beside = usize::from(live.is_some() || killed) * 2;
        assert_eq!(before.len(), 1 + beside, "{mode}");
        backup::to_file(&db, &out, &options, &()).unwrap();
        assert!(before == everything(place.path()), "{mode} {killed}");
        let steps = 50 + i64::from(live.is_some()) + i64::from(killed) * 20;
        assert_eq!(state(&out), steps);
    }
}

#[test]
fn locks_of_this_process_survive() {
    let dir = tempfile::tempdir().unwrap();
    for mode in ["DELETE", "WAL"] {
        let place = tempfile::tempdir_in(dir.path()).unwrap();
        let db = database(place.path(), mode, 10);
        assert!(can_write(&db));
        let conn = Connection::open(&db).unwrap();
        conn.execute_batch("BEGIN IMMEDIATE; UPDATE last SET n = n")
            .unwrap();
        assert!(!can_write(&db), "the test would prove nothing");
        let out = dir.path().join(mode);
        backup::to_file(&db, &out, &BackupOptions::default(), &()).unwrap();
        let sink = std::io::sink();
        let cancel = backup::Cancel::default();
        backup::to_writer(&db, sink, Compression::Zstd, &(), &cancel).unwrap();
        assert!(!can_write(&db), "{mode}: the lock is gone");
        assert_eq!(state(&out), 10);
    }
}
