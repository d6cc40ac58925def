//! What a combined write promises to its callers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use monolite_store::{Combiner, Error, Options, Store};

/// A table, and a way into it that counts how often it was run.
fn numbers(dir: &std::path::Path) -> (Store, Combiner<i64, i64>, Arc<AtomicUsize>) {
    let store = Store::open(dir.join("a.sqlite3"), Options::new()).unwrap();
    store
        .write_blocking(|tx| Ok(tx.execute_batch("CREATE TABLE t (n INTEGER UNIQUE NOT NULL)")?))
        .unwrap();
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&runs);
    let insert = store.combine(move |tx, numbers: &[i64]| {
        counted.fetch_add(1, Ordering::Relaxed);
        let mut insert = tx.prepare_cached("INSERT INTO t VALUES (?1)")?;
        numbers
            .iter()
            .map(|n| {
                assert!(*n >= 0, "a number below zero");
                insert.execute([n])?;
                Ok(n * 10)
            })
            .collect()
    });
    (store, insert, runs)
}

fn count(store: &Store) -> i64 {
    store
        .read_blocking(|conn| Ok(conn.query_row("SELECT count(*) FROM t", [], |row| row.get(0))?))
        .unwrap()
}

/// Holds the writer back until all of them wait in one batch.
async fn together(
    store: &Store,
    insert: &Combiner<i64, i64>,
    numbers: &[i64],
) -> Vec<Result<i64, Error>> {
    let (open, opened) = std::sync::mpsc::channel::<()>();
    let (inside_tx, inside) = tokio::sync::oneshot::channel();
    let held = tokio::spawn({
        let store = store.clone();
        async move {
            store
                .write(move |_| {
                    let _ = inside_tx.send(());
                    let _ = opened.recv();
                    Ok(())
                })
                .await
        }
    });
    inside.await.unwrap();
    let mut writes = tokio::task::JoinSet::new();
    for (place, number) in numbers.iter().copied().enumerate() {
        let insert = insert.clone();
        writes.spawn(async move { (place, insert.write(number).await) });
        // In its place before the next one is.
        tokio::task::yield_now().await;
    }
    drop(open);
    held.await.unwrap().unwrap();
    let mut answers = writes.join_all().await;
    answers.sort_by_key(|(place, _)| *place);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

#[tokio::test]
async fn many_callers_share_one_run_and_each_gets_its_own_answer() {
    let dir = tempfile::tempdir().unwrap();
    let (store, insert, runs) = numbers(dir.path());
    let wanted: Vec<i64> = (0..100).collect();
    let answers = together(&store, &insert, &wanted).await;
    let answers: Vec<i64> = answers.into_iter().map(Result::unwrap).collect();
    assert_eq!(answers, wanted.iter().map(|n| n * 10).collect::<Vec<_>>());
    assert_eq!(count(&store), 100);
    assert_eq!(runs.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn one_that_fails_or_panics_takes_nobody_along() {
    let dir = tempfile::tempdir().unwrap();
    let (store, insert, _) = numbers(dir.path());
    let answers = together(&store, &insert, &[1, 2, 2, -1, 3]).await;
    let ok: Vec<bool> = answers.iter().map(Result::is_ok).collect();
    assert_eq!(ok, [true, true, false, false, true]);
    assert!(matches!(&answers[2], Err(Error::Sqlite(_))), "{answers:?}");
    assert!(
        matches!(&answers[3], Err(Error::Panicked(_))),
        "{answers:?}"
    );
    assert_eq!(count(&store), 3);
}

#[tokio::test]
async fn a_dropped_caller_does_not_lose_its_write() {
    let dir = tempfile::tempdir().unwrap();
    let (store, insert, _) = numbers(dir.path());
    for n in 0..50 {
        let mut write = Box::pin(insert.write(n));
        let polled = futures_poll(write.as_mut()).await;
        drop(write);
        let _ = polled;
    }
    // The queue is first in, first out: this one is behind all of them.
    insert.write(1000).await.unwrap();
    assert_eq!(count(&store), 51);
}

/// Polls once.
async fn futures_poll<F: Future>(mut future: std::pin::Pin<&mut F>) -> Option<F::Output> {
    std::future::poll_fn(|context| match future.as_mut().poll(context) {
        std::task::Poll::Ready(output) => std::task::Poll::Ready(Some(output)),
        std::task::Poll::Pending => std::task::Poll::Ready(None),
    })
    .await
}

#[test]
fn blocking_callers_are_answered_and_a_closed_store_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let (store, insert, _) = numbers(dir.path());
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let insert = insert.clone();
            scope.spawn(move || {
                for n in 0..100 {
                    insert.write_blocking(thread * 100 + n).unwrap();
                }
            });
        }
    });
    assert_eq!(count(&store), 800);
    store.close_blocking();
    assert!(matches!(insert.write_blocking(1), Err(Error::Closed)));
}

#[tokio::test]
async fn items_that_wait_are_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options::new().write_queue(10);
    let store = Store::open(dir.path().join("a.sqlite3"), options).unwrap();
    let echo = store.combine(|_, items: &[i64]| Ok(items.to_vec()));
    let answers = together(&store, &echo, &(0..20).collect::<Vec<_>>()).await;
    let full = answers
        .iter()
        .filter(|answer| matches!(answer, Err(Error::QueueFull { .. })))
        .count();
    assert_eq!(full, 10, "{answers:?}");
}
