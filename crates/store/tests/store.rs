//! What a store promises to the callers of one process.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use monolite_store::rusqlite::Connection;
use monolite_store::{Error, Options, Result, Store, Synchronous};

fn open(dir: &Path) -> Store {
    let options = Options::new().batch_time(Duration::from_secs(60));
    let store = Store::open(dir.join("app.sqlite3"), options).unwrap();
    store
        .write_blocking(|tx| Ok(tx.execute_batch("CREATE TABLE t (n INTEGER UNIQUE NOT NULL)")?))
        .unwrap();
    store
}

fn insert(tx: &Connection, n: i64) -> Result<()> {
    tx.prepare_cached("INSERT INTO t VALUES (?1)")?
        .execute([n])?;
    Ok(())
}

fn numbers(store: &Store) -> Vec<i64> {
    store
        .read_blocking(|conn| {
            let mut statement = conn.prepare("SELECT n FROM t ORDER BY n")?;
            let rows = statement.query_map([], |row| row.get(0))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .unwrap()
}

/// Holds the writer inside a closure until dropped, so that the writes sent
/// meanwhile meet in one transaction.
struct Gate {
    _open: std::sync::mpsc::Sender<()>,
}

impl Gate {
    fn close(store: &Store) -> (Self, std::thread::JoinHandle<()>) {
        let (open, opened) = std::sync::mpsc::channel::<()>();
        let (inside_tx, inside) = std::sync::mpsc::channel();
        let store = store.clone();
        let thread = std::thread::spawn(move || {
            // Its answer is that of the transaction, which a test may break.
            let _ = store.write_blocking(move |_| {
                inside_tx.send(()).unwrap();
                let _ = opened.recv();
                Ok(())
            });
        });
        inside.recv().unwrap();
        (Self { _open: open }, thread)
    }
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(std::time::Instant::now() < deadline, "never: {what}");
        std::thread::yield_now();
    }
}

type Write<T> = Box<dyn FnOnce(&Connection) -> Result<T> + Send>;

/// Sends writes that are certain to share one transaction, in order.
fn together<T: Send + 'static>(store: &Store, writes: Vec<Write<T>>) -> Vec<Result<T>> {
    let before = store.stats().transactions;
    let (gate, holder) = Gate::close(store);
    let mut threads = Vec::new();
    for (i, write) in writes.into_iter().enumerate() {
        let sender = store.clone();
        threads.push(std::thread::spawn(move || sender.write_blocking(write)));
        wait_until("write queued", || store.stats().in_flight == i + 2);
    }
    drop(gate);
    holder.join().unwrap();
    let answers = threads.into_iter().map(|t| t.join().unwrap()).collect();
    assert!(
        store.stats().transactions <= before + 2,
        "they did not meet"
    );
    answers
}

#[test]
fn concurrent_writes_share_one_transaction() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let before = store.stats();
    let writes = (0..50)
        .map(|n| Box::new(move |tx: &Connection| insert(tx, n)) as Box<_>)
        .collect();
    for answer in together(&store, writes) {
        answer.unwrap();
    }
    let after = store.stats();
    assert_eq!(after.writes - before.writes, 51);
    assert_eq!(after.transactions - before.transactions, 1);
    assert_eq!(numbers(&store), (0..50).collect::<Vec<_>>());
}

#[test]
fn an_error_or_a_panic_takes_back_its_own_part_only() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let answers = together(
        &store,
        vec![
            Box::new(|tx: &Connection| insert(tx, 1)) as Box<_>,
            Box::new(|tx| {
                insert(tx, 2)?;
                Err(Error::app("changed my mind"))
            }),
            Box::new(|tx| {
                insert(tx, 3)?;
                panic!("boom {}", 3);
            }),
            Box::new(|tx| {
                insert(tx, 4)?;
                insert(tx, 1) // breaks UNIQUE
            }),
            Box::new(|tx| insert(tx, 5)),
        ],
    );
    assert!(answers[0].is_ok() && answers[4].is_ok());
    assert_eq!(
        answers[1].as_ref().unwrap_err().to_string(),
        "changed my mind"
    );
    assert!(matches!(&answers[2], Err(Error::Panicked(text)) if text == "boom 3"));
    assert!(matches!(&answers[3], Err(Error::Sqlite(_))));
    assert_eq!(numbers(&store), [1, 5]);
}

#[test]
fn the_first_of_a_transaction_fails_alone_too() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let failed = store.write_blocking(|tx| {
        insert(tx, 1)?;
        Err::<(), _>(Error::app("no"))
    });
    assert!(failed.is_err());
    store.write_blocking(|tx| insert(tx, 2)).unwrap();
    assert_eq!(numbers(&store), [2]);
}

#[test]
fn sqlites_own_rollback_of_everything_is_told_to_all_it_hit() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let answers = together(
        &store,
        vec![
            Box::new(|tx: &Connection| insert(tx, 1)) as Box<_>,
            Box::new(|tx| {
                tx.execute("INSERT OR ROLLBACK INTO t VALUES (1)", [])?;
                Ok(())
            }),
            Box::new(|tx| insert(tx, 3)),
        ],
    );
    assert!(matches!(answers[0], Err(Error::BatchRolledBack { .. })));
    assert!(matches!(answers[1], Err(Error::Sqlite(_))));
    assert!(
        answers[2].is_ok(),
        "those after it go on in a new transaction"
    );
    assert_eq!(numbers(&store), [3]);
}

#[test]
fn a_closure_cannot_end_the_transaction_of_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut writes: Vec<Write<()>> = vec![Box::new(|tx| insert(tx, 1))];
    for sql in [
        "COMMIT",
        "ROLLBACK",
        "BEGIN",
        "END",
        "RELEASE _monolite_part",
        "ROLLBACK TO \"_MONOLITE_PART\"",
    ] {
        writes.push(Box::new(move |tx| Ok(tx.execute_batch(sql)?)));
    }
    let answers = together(&store, writes);
    assert!(answers[0].is_ok());
    for answer in &answers[1..] {
        assert!(
            matches!(answer, Err(Error::TransactionControl)),
            "{answer:?}"
        );
    }
    assert_eq!(numbers(&store), [1]);
    store
        .write_blocking(|tx| Ok(tx.execute_batch("SAVEPOINT mine; RELEASE mine")?))
        .expect("savepoints of one's own are fine");
}

#[test]
fn readers_see_commits_never_wait_and_cannot_write() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.write_blocking(|tx| insert(tx, 1)).unwrap();
    let (gate, holder) = Gate::close(&store);
    assert_eq!(
        numbers(&store),
        [1],
        "read while a write transaction is open"
    );
    drop(gate);
    holder.join().unwrap();

    let refused = store.read_blocking(|conn| insert(conn, 9)).unwrap_err();
    assert!(refused.to_string().contains("readonly"), "{refused}");
    let refused = store.read_blocking(|conn| Ok(conn.execute_batch("PRAGMA query_only = 0")?));
    assert!(refused.is_err());
    store
        .read_blocking(|conn| Ok(conn.execute_batch("BEGIN")?))
        .unwrap();
    store.write_blocking(|tx| insert(tx, 2)).unwrap();
    assert_eq!(
        numbers(&store),
        [1, 2],
        "a forgotten BEGIN ends with its closure"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_readers_share_few_connections() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options::new().readers(2);
    let store = Store::open(dir.path().join("a.sqlite3"), options).unwrap();
    let one = |conn: &Connection| Ok(conn.query_row("SELECT 1", [], |row| row.get::<_, i64>(0))?);
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let store = store.clone();
            std::thread::spawn(move || {
                (0..2000)
                    .map(|_| store.read_blocking(one).unwrap())
                    .sum::<i64>()
            })
        })
        .collect();
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                for _ in 0..2000 {
                    store.read(one).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        let ended = tokio::time::timeout(Duration::from_secs(60), task).await;
        ended.expect("a reader was forgotten").unwrap();
    }
    let sum: i64 = threads.into_iter().map(|t| t.join().unwrap()).sum::<i64>();
    assert_eq!(sum, 8 * 2000);
}

#[test]
fn a_full_queue_answers_at_once_and_runs_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options::new().write_queue(4);
    let store = Store::open(dir.path().join("a.sqlite3"), options).unwrap();
    let (gate, holder) = Gate::close(&store);
    let mut waiting = Vec::new();
    for i in 0..3 {
        let sender = store.clone();
        waiting.push(std::thread::spawn(move || {
            sender.write_blocking(|_| Ok(()))
        }));
        wait_until("queued", || store.stats().in_flight == i + 2);
    }
    let answer = store.write_blocking(|_| Ok(()));
    assert!(matches!(answer, Err(Error::QueueFull { capacity: 4, .. })));
    drop(gate);
    holder.join().unwrap();
    for thread in waiting {
        thread.join().unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_future_neither_loses_nor_doubles_its_write() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let ran = Arc::new(AtomicU64::new(0));
    let mut expected = 0;
    for n in 0..300_i64 {
        let counter = Arc::clone(&ran);
        let mut write = Box::pin(store.write(move |tx| {
            counter.fetch_add(1, Ordering::SeqCst);
            insert(tx, n)
        }));
        if n % 3 == 0 {
            drop(write); // never polled: never runs
            continue;
        }
        expected += 1;
        // Polled once, then dropped wherever it happens to be.
        let polled =
            std::future::poll_fn(|context| std::task::Poll::Ready(write.as_mut().poll(context)));
        let _ = polled.await;
    }
    store.clone().close().await;
    assert_eq!(ran.load(Ordering::SeqCst), expected);
    let conn = Connection::open(dir.path().join("app.sqlite3")).unwrap();
    let rows: i64 = conn
        .query_row("SELECT count(*) FROM t", [], |row| row.get(0))
        .unwrap();
    assert_eq!(rows, i64::try_from(expected).unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn close_finishes_what_was_queued_and_refuses_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut watch = store.watch().unwrap();
    let writes: Vec<_> = (0..100)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move { store.write(move |tx| insert(tx, n)).await })
        })
        .collect();
    tokio::task::yield_now().await;
    store.clone().close().await;
    let mut kept = 0;
    for write in writes {
        match write.await.unwrap() {
            Ok(()) => kept += 1,
            Err(Error::Closed) => {}
            Err(other) => panic!("{other}"),
        }
    }
    assert!(matches!(store.read(|_| Ok(())).await, Err(Error::Closed)));
    loop {
        // Commits seen before the end may still be told.
        if watch.changed().await.is_err() {
            break;
        }
    }
    let wal = dir.path().join("app.sqlite3-wal");
    assert!(!wal.exists(), "the last connection takes the WAL with it");
    let conn = Connection::open(dir.path().join("app.sqlite3")).unwrap();
    let rows: i64 = conn
        .query_row("SELECT count(*) FROM t", [], |row| row.get(0))
        .unwrap();
    assert_eq!(rows, kept);
}

#[test]
fn a_full_disk_is_one_clear_error_and_damages_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    // SQLite answers its own limit exactly as it answers ENOSPC; the real
    // thing is tried in the end-to-end tests, on a small filesystem.
    store
        .write_blocking(|tx| Ok(tx.pragma_update(None, "max_page_count", 20)?))
        .unwrap();
    let error = loop {
        let big = store.write_blocking(|tx| {
            tx.execute(
                "INSERT INTO t SELECT max(coalesce((SELECT max(n) FROM t), 0)) + 1",
                [],
            )?;
            tx.execute("CREATE TABLE IF NOT EXISTS pad (x)", [])?;
            tx.execute("INSERT INTO pad VALUES (zeroblob(9000))", [])?;
            Ok(())
        });
        if let Err(error) = big {
            break error;
        }
    };
    assert!(matches!(error, Error::DiskFull { .. }), "{error}");
    let rows = numbers(&store).len() as i64;
    let pads: i64 = store
        .read_blocking(|c| Ok(c.query_row("SELECT count(*) FROM pad", [], |r| r.get(0))?))
        .unwrap();
    assert_eq!(rows, pads, "no half of a failed write was kept");
    store
        .write_blocking(|tx| Ok(tx.pragma_update(None, "max_page_count", 100_000)?))
        .unwrap();
    store.write_blocking(|tx| insert(tx, 999)).unwrap();
    let check: String = store
        .read_blocking(|c| Ok(c.query_row("PRAGMA integrity_check", [], |r| r.get(0))?))
        .unwrap();
    assert_eq!(check, "ok");
}

#[test]
fn what_cannot_be_opened_is_named_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let text = dir.path().join("notes.txt");
    let content = "not a database, but long enough to be looked at ".repeat(40);
    std::fs::write(&text, &content).unwrap();
    let error = Store::open(&text, Options::new()).unwrap_err();
    assert!(matches!(error, Error::NotADatabase { .. }), "{error}");
    assert_eq!(std::fs::read_to_string(&text).unwrap(), content);

    let error = Store::open(dir.path().join("no/such/a.sqlite3"), Options::new()).unwrap_err();
    assert!(matches!(error, Error::MissingDirectory { .. }), "{error}");

    let error = Store::open(dir.path(), Options::new()).unwrap_err();
    assert!(matches!(error, Error::NotADatabase { .. }), "{error}");

    // A VFS without shared memory, as a filesystem without it would be.
    let options = Options::new().vfs("unix-dotfile");
    let error = Store::open(dir.path().join("w.sqlite3"), options).unwrap_err();
    assert!(matches!(error, Error::NoWal { .. }), "{error}");
}

#[test]
fn a_connection_opened_later_meets_the_same_file_or_says_that_it_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options::new().readers(2);
    let path = dir.path().join("app.sqlite3");
    let remove_all = || {
        for suffix in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(dir.path().join(format!("app.sqlite3{suffix}")));
        }
    };
    // Two at once: one of them needs a connection of its own.
    let two_reads = |store: &Store| -> Result<()> {
        let other = store.clone();
        store.read_blocking(move |_| {
            std::thread::spawn(move || other.read_blocking(|_| Ok(())))
                .join()
                .unwrap()
        })
    };

    let store = Store::open(&path, options.clone()).unwrap();
    remove_all();
    let error = two_reads(&store).unwrap_err();
    assert!(matches!(error, Error::Moved { .. }), "{error}");
    assert!(matches!(store.watch(), Err(Error::Moved { .. })));
    assert!(!path.exists(), "nothing is made at its place");

    let store = Store::open(&path, options.clone()).unwrap();
    remove_all();
    let replaced = Store::open(&path, options).unwrap();
    let error = two_reads(&store).unwrap_err();
    assert!(matches!(error, Error::Moved { .. }), "{error}");
    two_reads(&replaced).unwrap();
}

#[test]
fn a_write_to_a_deleted_or_replaced_file_is_an_error() {
    let copy = |dir: &std::path::Path, name: &str| {
        std::fs::copy(dir.join(name), dir.join("copy")).unwrap();
        std::fs::rename(dir.join("copy"), dir.join(name)).unwrap();
    };
    type Damage<'a> = &'a dyn Fn(&std::path::Path);
    let all: [(&str, Damage); 5] = [
        ("all deleted", &|dir| {
            for suffix in ["", "-wal", "-shm"] {
                std::fs::remove_file(dir.join(format!("app.sqlite3{suffix}"))).unwrap();
            }
        }),
        ("deleted", &|dir| {
            std::fs::remove_file(dir.join("app.sqlite3")).unwrap()
        }),
        ("renamed", &|dir| {
            std::fs::rename(dir.join("app.sqlite3"), dir.join("old")).unwrap();
        }),
        ("replaced", &|dir| copy(dir, "app.sqlite3")),
        ("log replaced", &|dir| copy(dir, "app.sqlite3-wal")),
    ];
    for (what, damage) in all {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        store.write_blocking(|tx| insert(tx, 1)).unwrap();
        damage(dir.path());
        for n in 2..4 {
            let error = store.write_blocking(move |tx| insert(tx, n)).unwrap_err();
            assert!(matches!(error, Error::Moved { .. }), "{what}: {error}");
        }
    }
    // Closed by others, the log stays as long as the store is open.
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for n in 0..3 {
        let other = Store::open(dir.path().join("app.sqlite3"), Options::new()).unwrap();
        other.write_blocking(move |tx| insert(tx, 10 + n)).unwrap();
        drop(other);
        store.write_blocking(move |tx| insert(tx, n)).unwrap();
    }
}

#[test]
fn every_setting_is_in_force() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options::new()
        .synchronous(Synchronous::Full)
        .foreign_keys(false)
        .mmap_bytes(1 << 20)
        .journal_size_limit_bytes(12345)
        .cache_bytes(1 << 20);
    let store = Store::open(dir.path().join("a.sqlite3"), options).unwrap();
    let ask = |name: &'static str| {
        store
            .read_blocking(move |c| Ok(c.pragma_query_value(None, name, |r| r.get::<_, i64>(0))?))
            .unwrap()
    };
    assert_eq!(ask("synchronous"), 2);
    assert_eq!(ask("foreign_keys"), 0);
    assert_eq!(ask("mmap_size"), 1 << 20);
    assert_eq!(ask("journal_size_limit"), 12345);
    assert_eq!(ask("cache_size"), -1024);
    assert_eq!(ask("query_only"), 1);
}

#[test]
fn a_call_that_would_wait_for_itself_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let inner = store.clone();
    let nested = store.write_blocking(move |_| inner.write_blocking(|_| Ok(())));
    assert!(matches!(nested, Err(Error::Nested("write"))), "{nested:?}");
    let nested = store.read_blocking(|_| store.read_blocking(|_| Ok(())));
    assert!(matches!(nested, Err(Error::Nested("read"))), "{nested:?}");
    // Another store's closure is no danger.
    let other = Store::open(dir.path().join("b.sqlite3"), Options::new()).unwrap();
    other
        .read_blocking(|_| store.read_blocking(|_| Ok(())))
        .unwrap();
    let inner = store.clone();
    other
        .write_blocking(move |_| inner.write_blocking(|tx| insert(tx, 1)))
        .unwrap();
}

#[test]
fn a_value_that_panics_when_dropped_does_not_end_the_writer() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("dropped");
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let inner = store.clone();
    let dropped = std::thread::spawn(move || {
        let captured = Bomb;
        inner.write_blocking(move |tx| {
            let _captured = captured;
            insert(tx, 1)
        })
    });
    assert!(matches!(dropped.join().unwrap(), Err(Error::Panicked(_))));
    // The answer of a caller that went away is dropped on the writer's thread.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let (gate, holder) = Gate::close(&store);
    runtime.block_on(async {
        let mut write = Box::pin(store.write(|_| Ok(Bomb)));
        let poll =
            std::future::poll_fn(|c| std::task::Poll::Ready(write.as_mut().poll(c).is_pending()));
        assert!(poll.await);
    });
    drop(gate);
    holder.join().unwrap();
    store.write_blocking(|tx| insert(tx, 2)).unwrap();
    assert_eq!(numbers(&store), [2]);
}

#[test]
fn a_deferred_foreign_key_fails_its_own_caller_only() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store
        .write_blocking(|tx| {
            Ok(tx.execute_batch(
                "CREATE TABLE child (n REFERENCES t (n) DEFERRABLE INITIALLY DEFERRED)",
            )?)
        })
        .unwrap();
    let orphan = |tx: &Connection| {
        tx.execute("INSERT INTO child VALUES (77)", [])?;
        Ok(())
    };
    let answers = together(
        &store,
        vec![
            Box::new(|tx: &Connection| insert(tx, 1)) as Write<()>,
            Box::new(orphan),
            Box::new(|tx| {
                tx.execute("INSERT INTO child VALUES (3)", [])?; // its parent comes after
                insert(tx, 3)
            }),
        ],
    );
    assert!(answers[0].is_ok() && answers[2].is_ok(), "{answers:?}");
    assert!(matches!(answers[1], Err(Error::ForeignKey)), "{answers:?}");
    assert!(matches!(
        store.write_blocking(orphan),
        Err(Error::ForeignKey)
    ));
    assert_eq!(numbers(&store), [1, 3]);
}

#[test]
fn a_closure_that_goes_on_after_a_rollback_commits_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.write_blocking(|tx| insert(tx, 1)).unwrap();
    let answer = store.write_blocking(|tx| {
        let _ = tx.execute("INSERT OR ROLLBACK INTO t VALUES (1)", []);
        let _ = tx.execute("INSERT INTO t VALUES (7)", []);
        Ok(())
    });
    assert!(
        matches!(answer, Err(Error::BatchRolledBack { .. })),
        "{answer:?}"
    );
    assert_eq!(numbers(&store), [1]);
}

#[test]
fn a_new_file_is_opened_by_many_at_once() {
    for _ in 0..20 {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new.sqlite3");
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| Store::open(&path, Options::new()).unwrap());
            }
        });
    }
}

#[test]
fn a_close_right_after_the_last_watch_leaves_only_the_file() {
    for _ in 0..30 {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        drop(store.watch().unwrap());
        store.close_blocking();
        let left = std::fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(left, 1);
    }
}
