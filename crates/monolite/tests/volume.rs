//! One volume with all of its parts, used by one process and by two.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]
#![cfg(all(feature = "cache", feature = "jobs", feature = "pubsub"))]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use monolite::jobs::State;
use monolite::{EntryOptions, Event, Job, JobId, Monolite, NewJob};
use serde::{Deserialize, Serialize};

const LONG: Duration = Duration::from_secs(30);

#[derive(Serialize, Deserialize)]
struct Echo {
    text: String,
}

impl Job for Echo {
    const KIND: &'static str = "echo";
}

fn echo(text: &str) -> Echo {
    Echo { text: text.into() }
}

#[tokio::test]
async fn a_transaction_writes_enqueues_and_publishes_or_does_none_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let app = Monolite::open(dir.path()).await.unwrap();
    let mut news = app.pubsub().subscribe("news").await.unwrap();
    let write = |text: &'static str, fail: bool| {
        app.transaction(move |tx| {
            tx.execute_batch("CREATE TABLE IF NOT EXISTS t (text TEXT)")?;
            tx.execute("INSERT INTO t VALUES (?1)", [text])?;
            let id = tx.enqueue(echo(text))?;
            let batch = tx.push_batch(vec![echo(text).prepare()?], None)?;
            tx.publish("news", text)?;
            if fail {
                anyhow::bail!("no");
            }
            Ok((id, batch))
        })
    };
    assert_eq!(write("never", true).await.unwrap_err().to_string(), "no");
    let (id, batch) = write("once", false).await.unwrap();
    assert_eq!(
        app.jobs().get(id).await.unwrap().unwrap().state,
        State::Ready
    );
    let status = app.jobs().batch(batch.id).await.unwrap().unwrap();
    assert_eq!((status.total, batch.jobs.len()), (1, 1));
    let message = news.next_message().await.unwrap();
    assert_eq!(message.payload, b"once");
    let echoes: Vec<Echo> = app.jobs().enqueued().await.unwrap();
    assert_eq!(echoes.len(), 2);
    assert!(app.relay_error().is_none());
    app.close().await;
}

#[tokio::test]
async fn closing_leaves_plain_files_that_open_again() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..3 {
        let app = Monolite::open(dir.path()).await.unwrap();
        let found: Option<i64> = app.cache().get("round").await.unwrap();
        assert_eq!(found, (round > 0).then_some(round - 1));
        let entry = EntryOptions::new();
        app.cache().set("round", &round, &entry).await.unwrap();
        app.close().await;
    }
    let left: Vec<_> = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with("-wal") || name.ends_with("-shm"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Set for the second process: the directory.
const SECOND: &str = "MONOLITE_TEST_SECOND_PROCESS";

#[tokio::test]
async fn two_processes_on_one_directory_share_everything() {
    if let Some(dir) = std::env::var_os(SECOND) {
        return second_process(Path::new(&dir)).await;
    }
    let dir = tempfile::tempdir().unwrap();
    let app = Monolite::open(dir.path()).await.unwrap();
    let mut messages = app.pubsub().subscribe("from the second").await.unwrap();
    let worker = app
        .jobs()
        .worker()
        .on(|job: Echo, _| async move { Ok(format!("{} {}", job.text, std::process::id())) });
    let worker = worker.start().await.unwrap();
    let second = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "two_processes_on_one_directory_share_everything"])
        .env(SECOND, dir.path())
        .spawn();
    let mut second = second.unwrap();

    // A job of theirs runs here, a message of theirs comes here, and so does
    // what they put in the cache.
    let event = tokio::time::timeout(LONG, messages.next()).await;
    let Event::Message(message) = event.unwrap().unwrap() else {
        panic!("no message");
    };
    let cached: Option<String> = app.cache().get("key").await.unwrap();
    assert_eq!(cached.as_deref(), Some("value"));
    let id: JobId = message.text().unwrap().parse().unwrap();
    let job = app.jobs().wait(id, LONG).await.unwrap();
    let ours = format!("\"hello {}\"", std::process::id());
    assert_eq!(job.result, Some(ours));
    app.jobs()
        .push(NewJob::raw("stop", "null").queue("second"))
        .await
        .unwrap();
    let status = tokio::task::spawn_blocking(move || second.wait()).await;
    assert!(status.unwrap().unwrap().success());
    worker.shutdown(LONG).await;
    app.close().await;
}

async fn second_process(dir: &Path) {
    let app = Monolite::open(dir).await.unwrap();
    let entry = EntryOptions::new();
    app.cache().set("key", &"value", &entry).await.unwrap();
    let (stop, mut stopped) = tokio::sync::mpsc::unbounded_channel();
    let worker = app.jobs().worker().queue("second", 1);
    let worker = worker.handler("stop", move |_| {
        let stop = stop.clone();
        async move { Ok(stop.send(())?) }
    });
    let worker = worker.start().await.unwrap();
    let enqueued = app.transaction(|tx| {
        let id = tx.enqueue(echo("hello"))?;
        tx.publish("from the second", id.to_string())
    });
    enqueued.await.unwrap();
    tokio::time::timeout(LONG, stopped.recv()).await.unwrap();
    worker.shutdown(LONG).await;
    app.close().await;
}
