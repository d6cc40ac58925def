//! Two boots at once: one migrates, the other waits and finds it done.

use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use monolite_migrate::files::{Error, Event, Options, applied, up};
use rusqlite::Connection;

use crate::common::{NOW_MS, files, one, versions};

fn open(path: &Path) -> Connection {
    Connection::open(path).unwrap()
}

#[test]
fn the_second_waits_and_finds_it_done() {
    let dir = tempfile::tempdir().unwrap();
    let path = &dir.path().join("app.sqlite3");
    let _ = one::<String>(&open(path), "PRAGMA journal_mode = WAL");
    let all = &files(&["CREATE TABLE a (x); INSERT INTO a VALUES (1)"]);
    let (began, has_begun) = mpsc::channel();
    let (waits, is_waiting) = mpsc::channel();
    std::thread::scope(|scope| {
        let first = scope.spawn(move || {
            up(&open(path), all, &Options::new(NOW_MS), &mut |event| {
                if let Event::Statement {
                    line: 1,
                    words: "CREATE TABLE a (x)",
                    ..
                } = event
                {
                    began.send(()).unwrap();
                    is_waiting.recv_timeout(Duration::from_secs(30)).unwrap();
                }
            })
        });
        has_begun.recv_timeout(Duration::from_secs(30)).unwrap();
        let mut elsewhere = 0;
        let second = up(
            &open(path),
            all,
            &Options::new(NOW_MS),
            &mut |event| match event {
                Event::Waiting { .. } => waits.send(()).unwrap(),
                Event::Elsewhere { file } => elsewhere += file.version(),
                _ => panic!("{event:?}"),
            },
        );
        assert!(second.unwrap().is_empty());
        assert_eq!(elsewhere, 1);
        assert_eq!(versions(&first.join().unwrap().unwrap()), [1]);
    });
    assert_eq!(one::<i64>(&open(path), "SELECT count(*) FROM a"), 1);
}

#[test]
fn patience_ends() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.sqlite3");
    let holder = open(&path);
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    let options = Options::new(NOW_MS).lock_wait(Duration::from_millis(10));
    let error = up(&open(&path), &files(&["SELECT 1"]), &options, &mut |_| {}).unwrap_err();
    assert!(matches!(error, Error::Busy { .. }), "{error}");
}

/// Many at once, from an empty file on: each file is applied by one of them.
#[test]
fn a_crowd_applies_each_once() {
    for journal in ["WAL", "DELETE"] {
        let dir = tempfile::tempdir().unwrap();
        let path = &dir.path().join("app.sqlite3");
        let _ = one::<String>(&open(path), &format!("PRAGMA journal_mode = {journal}"));
        let texts: Vec<String> = (0..12)
            .map(|n| format!("CREATE TABLE t{n} (x); INSERT INTO t{n} VALUES ({n})"))
            .collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let all = &files(&texts);
        let barrier = &std::sync::Barrier::new(6);
        let mut done: Vec<u32> = std::thread::scope(|scope| {
            let one = || {
                scope.spawn(move || {
                    let db = open(path);
                    barrier.wait();
                    versions(&up(&db, all, &Options::new(NOW_MS), &mut |_| {}).unwrap())
                })
            };
            let crowd: Vec<_> = (0..6).map(|_| one()).collect();
            crowd
                .into_iter()
                .flat_map(|one| one.join().unwrap())
                .collect()
        });
        done.sort_unstable();
        assert_eq!(done, (1..=12).collect::<Vec<u32>>(), "{journal}");
        assert_eq!(applied(&open(path)).unwrap().len(), 12);
    }
}

/// The other one has another version of the file.
#[test]
fn what_another_process_applied_is_compared_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = &dir.path().join("app.sqlite3");
    let mine = files(&["CREATE TABLE a (x)", "CREATE TABLE b (x)"]);
    let theirs = files(&["CREATE TABLE a (x)", "CREATE TABLE other (x)"]);
    let db = open(path);
    let mut went = false;
    let error = up(&db, &mine, &Options::new(NOW_MS), &mut |event| {
        if let Event::Applied(_) = event
            && !std::mem::replace(&mut went, true)
        {
            up(&open(path), &theirs, &Options::new(NOW_MS), &mut |_| {}).unwrap();
        }
    });
    assert!(matches!(error, Err(Error::Edited { .. })), "{error:?}");
}

/// With a rollback journal a commit waits for those who read.
#[test]
fn a_reader_is_waited_for_at_the_commit() {
    let dir = tempfile::tempdir().unwrap();
    let path = &dir.path().join("app.sqlite3");
    open(path)
        .execute_batch("CREATE TABLE there (x); INSERT INTO there VALUES (1)")
        .unwrap();
    let reader = open(path);
    reader.execute_batch("BEGIN; SELECT * FROM there").unwrap();
    assert_eq!(one::<i64>(&reader, "SELECT x FROM there"), 1);
    let all = &files(&["CREATE TABLE a (x)"]);
    // Longer than SQLite's own wait: it is told of after the first try.
    let mut waited = 0;
    let done = up(&open(path), all, &Options::new(NOW_MS), &mut |event| {
        if let Event::Waiting { file } = event {
            waited += file.version();
            reader.execute_batch("COMMIT").unwrap();
        }
    });
    assert_eq!((versions(&done.unwrap()), waited), (vec![1], 1));
    // Not for ever.
    reader.execute_batch("BEGIN").unwrap();
    assert_eq!(one::<i64>(&reader, "SELECT x FROM there"), 1);
    let all = &files(&["CREATE TABLE a (x)", "CREATE TABLE b (x)"]);
    let options = Options::new(NOW_MS).lock_wait(Duration::from_millis(10));
    let error = up(&open(path), all, &options, &mut |_| {}).unwrap_err();
    assert!(matches!(error, Error::Busy { .. }), "{error}");
    reader.execute_batch("COMMIT").unwrap();
    assert_eq!(applied(&open(path)).unwrap().len(), 1);
}

/// One who hangs keeps the others waiting for a moment only.
#[test]
fn a_commit_that_waits_lets_others_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = &dir.path().join("app.sqlite3");
    open(path)
        .execute_batch("CREATE TABLE there (x); INSERT INTO there VALUES (1)")
        .unwrap();
    let hanging = open(path);
    hanging.execute_batch("BEGIN").unwrap();
    assert_eq!(one::<i64>(&hanging, "SELECT x FROM there"), 1);
    let options = Options::new(NOW_MS)
        .lock_wait(Duration::from_secs(30))
        .commit_wait(Duration::from_millis(10));
    let (mut begun, mut read) = (0, 0);
    let done = up(
        &open(path),
        &files(&["INSERT INTO there VALUES (2)"]),
        &options,
        &mut |event| {
            if let Event::Statement { .. } = event {
                begun += 1;
            }
            // It is done again: meanwhile the lock was not held.
            if begun == 2 {
                let other = open(path);
                other.busy_timeout(Duration::ZERO).unwrap();
                read = one::<i64>(&other, "SELECT count(*) FROM there");
                hanging.execute_batch("COMMIT").unwrap();
                begun += 1;
            }
        },
    );
    let done = done.unwrap();
    assert_eq!((versions(&done), begun, read), (vec![1], 3, 1));
    assert_eq!(done[0].statements.len(), 1);
    // Once, for all its beginnings.
    assert_eq!(one::<i64>(&open(path), "SELECT count(*) FROM there"), 2);
    assert_eq!(applied(&open(path)).unwrap().len(), 1);
}
