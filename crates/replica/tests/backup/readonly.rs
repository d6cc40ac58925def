//! Databases where nothing can be written: mounts in a namespace of their own.

use monolite_replica::backup::{self, BackupOptions, Copy, Error};
use rusqlite::Connection;

use super::other::{start, writer};
use super::place::{AS_ANYBODY, database, in_namespace, last, names, place, state, transact};

#[test]
fn on_a_read_only_mount() {
    let dir = tempfile::tempdir().unwrap();
    // The same files, to be written in one place and only read in the other.
    let mounts = "mount -t tmpfs -o size=64m none \"$PLACE\" && cd \"$PLACE\" \
        && mkdir rw ro && mount --bind rw ro && mount -o remount,bind,ro ro && cd /";
    in_namespace(AS_ANYBODY, mounts, "readonly::two_mounts", dir.path());
}

#[test]
#[ignore = "the other half of on_a_read_only_mount"]
fn two_mounts() {
    let (rw, ro) = (place().join("rw"), place().join("ro"));
    let out = place().join("copy");
    let options = BackupOptions {
        overwrite: true,
        ..BackupOptions::default()
    };
    let copied = |steps| {
        let before = names(&rw);
        backup::to_file(&ro.join("app.sqlite3"), &out, &options, &()).unwrap();
        assert_eq!(state(&out), steps);
        assert_eq!(names(&rw), before);
    };
    assert!(std::fs::write(ro.join("x"), "").is_err(), "it is read-only");

    // In rollback mode.
    let db = database(&rw, "DELETE", 10);
    copied(10);
    std::fs::remove_file(&db).unwrap();

    // In WAL mode with nobody there: the file is everything.
    database(&rw, "WAL", 2000);
    copied(2000);

    // As before, but somebody comes.
    let reader = Copy::open(ro.join("app.sqlite3")).unwrap();
    let conn = Connection::open(&db).unwrap();
    transact(&conn);
    let mut reader = reader.into_reader().unwrap();
    let error = std::io::copy(&mut reader, &mut std::io::sink()).unwrap_err();
    let error = error.into_inner().unwrap();
    let error: Box<Error> = error.downcast().unwrap();
    assert!(matches!(*error, Error::Changed { .. }), "{error}");
    // Somebody who is there has made what it takes.
    copied(2001);
    drop(conn);

    // Beside a writer.
    let writing = writer(&db);
    for _ in 0..5 {
        let before = last(&db);
        backup::to_file(&ro.join("app.sqlite3"), &out, &options, &()).unwrap();
        assert!((before..=last(&db)).contains(&state(&out)));
    }
    drop(writing);

    // One that was killed: its WAL can be read as long as its -shm is there.
    let steps = last(&db);
    start("leave", &db, |_| {}).end();
    copied(steps + 20);
    std::fs::remove_file(rw.join("app.sqlite3-shm")).unwrap();
    let error = backup::to_file(&ro.join("app.sqlite3"), &out, &options, &()).unwrap_err();
    assert!(matches!(error, Error::NeedsWriting { .. }), "{error}");
}
