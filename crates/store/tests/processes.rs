//! What a store promises across processes. This program starts itself again as
//! the other process; see `child`.

use std::path::Path;
use std::time::Duration;

use monolite_store::rusqlite::Connection;
use monolite_store::{Error, Options, Store};
use monolite_testkit::child::Child;

/// Runs only when named by a parent test: does what its standard input says.
#[test]
#[ignore = "the other process of the tests below"]
fn child() {
    let path = std::env::var("STORE_PATH").unwrap();
    let options = Options::new().optimize_every(None);
    let store = Store::open(path, options).unwrap();
    println!("\nready");
    loop {
        // Not `stdin().lines()`: it would keep the lock that `hold` needs.
        let mut line = String::new();
        if std::io::stdin().read_line(&mut line).unwrap() == 0 {
            return;
        }
        let line = line.trim_end();
        if let Some(count) = line.strip_prefix("write ") {
            for _ in 0..count.parse().unwrap() {
                store
                    .write_blocking(|tx| Ok(tx.execute("INSERT INTO t DEFAULT VALUES", [])?))
                    .unwrap();
                println!("wrote");
            }
        } else if line == "hold" {
            store
                .write_blocking(|tx| {
                    tx.execute("INSERT INTO t DEFAULT VALUES", [])?;
                    println!("holding");
                    let mut line = String::new();
                    std::io::stdin().read_line(&mut line).map_err(Error::app)?;
                    Ok(())
                })
                .unwrap();
        }
    }
}

/// Another process with the file open.
fn other(path: &Path) -> Child {
    let child = Child::start("child", [("STORE_PATH", path)]);
    child.line("ready");
    child
}

fn open(path: &Path, options: Options) -> Store {
    let store = Store::open(path, options).unwrap();
    store
        .write_blocking(|tx| {
            Ok(tx.execute_batch("CREATE TABLE IF NOT EXISTS t (n INTEGER PRIMARY KEY)")?)
        })
        .unwrap();
    store
}

fn count(store: &Store) -> i64 {
    store
        .read_blocking(|c| Ok(c.query_row("SELECT count(*) FROM t", [], |r| r.get(0))?))
        .unwrap()
}

#[test]
fn a_commit_of_another_process_wakes_the_watch() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.sqlite3");
    let store = open(&path, Options::new());
    let mut other = other(&path);
    let mut watch = store.watch().unwrap();
    assert!(!watch.changed_blocking(Duration::from_millis(50)).unwrap());
    for n in 1..=200 {
        other.send("write 1");
        // Whatever wakes came early or twice, the row must come to be seen.
        while count(&store) < n {
            let woken = watch.changed_blocking(Duration::from_secs(10)).unwrap();
            assert!(woken, "commit {n} was not noticed");
        }
    }
}

#[test]
fn this_process_commits_wake_the_watch_too() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("a.sqlite3"), Options::new());
    let mut watch = store.watch().unwrap();
    store
        .write_blocking(|tx| Ok(tx.execute("INSERT INTO t DEFAULT VALUES", [])?))
        .unwrap();
    assert!(watch.changed_blocking(Duration::from_secs(10)).unwrap());
}

#[test]
fn a_write_waits_for_another_process_and_says_so_when_it_is_too_long() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.sqlite3");
    let options = Options::new().busy_timeout(Duration::from_millis(300));
    let store = open(&path, options);
    let mut other = other(&path);
    other.send("hold");
    other.line("holding");
    let answer = store.write_blocking(|_| Ok(()));
    assert!(
        matches!(answer, Err(Error::Busy { waited_ms: 300, .. })),
        "{answer:?}"
    );
    other.send("go on");
    other.send("write 1");
    other.line("wrote");
    store.write_blocking(|_| Ok(())).unwrap();
}

#[test]
fn kill_nine_loses_no_answered_write() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.sqlite3");
    open(&path, Options::new()).close_blocking();
    let mut answered = 0;
    for round in 0..8 {
        let mut other = other(&path);
        other.send("write 100000");
        for _ in 0..(50 + round * 37) {
            other.line("wrote");
        }
        answered += 50 + round * 37;
        answered += other.kill().iter().filter(|line| *line == "wrote").count() as i64;
        let conn = Connection::open(&path).unwrap();
        let check: String = conn
            .query_row("PRAGMA integrity_check", [], |r| r.get(0))
            .unwrap();
        assert_eq!(check, "ok");
        let rows: i64 = conn
            .query_row("SELECT count(*) FROM t", [], |r| r.get(0))
            .unwrap();
        // At most the one write in flight at each kill was not yet answered.
        assert!(rows >= answered, "{rows} rows, {answered} answered");
        assert!(
            rows <= answered + round + 1,
            "{rows} rows, {answered} answered"
        );
    }
}
