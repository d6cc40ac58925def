//! One volume, by one process and by two.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use monolite::jobs::State;
use monolite::{EntryOptions, Error, Event, Job, Monolite, NewJob, Options};
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
    let mut heard = app.pubsub().subscribe("news").await.unwrap();
    let write = |text: &'static str, fail: bool| {
        app.transaction(move |tx| {
            tx.execute_batch("CREATE TABLE IF NOT EXISTS t (text TEXT)")?;
            tx.execute("INSERT INTO t VALUES (?1)", [text])?;
            let id = tx.enqueue(&echo(text))?;
            tx.publish("news", text)?;
            if fail {
                return Err(monolite::store::Error::app("no"));
            }
            Ok(id)
        })
    };
    write("never", true).await.unwrap_err();
    let id = write("once", false).await.unwrap();
    assert_eq!(
        app.jobs().get(id).await.unwrap().unwrap().state,
        State::Ready
    );
    let message = heard.next_message().await.unwrap();
    assert_eq!(message.payload, b"once");
    let echoes: Vec<Echo> = app.jobs().enqueued().await.unwrap();
    assert_eq!(echoes.len(), 1);
    assert!(app.relay_error().is_none());
    app.close().await;
}

#[tokio::test]
async fn what_is_not_a_volume_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("not/mounted");
    let error = Monolite::open(&missing).await.unwrap_err();
    assert!(matches!(error, Error::MissingDirectory { .. }), "{error}");
    assert!(!missing.exists());
    for app in [
        "",
        "a/b",
        "..",
        "/etc/x",
        "a/",
        "CACHE.sqlite3",
        "pubsub.sqlite3-wal",
    ] {
        let options = Options {
            app: app.into(),
            ..Options::default()
        };
        let error = Monolite::open_with(dir.path(), options).await.unwrap_err();
        assert!(matches!(error, Error::AppName { .. }), "{app:?}: {error}");
    }
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
    let mut heard = app.pubsub().subscribe("from the second").await.unwrap();
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
    let event = tokio::time::timeout(LONG, heard.next()).await;
    let Event::Message(message) = event.unwrap().unwrap() else {
        panic!("no message");
    };
    let cached: Option<String> = app.cache().get("key").await.unwrap();
    assert_eq!(cached.as_deref(), Some("value"));
    let id: i64 = str::from_utf8(&message.payload).unwrap().parse().unwrap();
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
    let told = app.transaction(|tx| {
        let id = tx.enqueue(&echo("hello"))?;
        tx.publish("from the second", id.to_string())
    });
    told.await.unwrap();
    tokio::time::timeout(LONG, stopped.recv()).await.unwrap();
    worker.shutdown(LONG).await;
    app.close().await;
}
