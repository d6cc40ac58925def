//! Tests of an app with jobs: no worker in the background, no waiting, and a
//! clock that the test moves.
//!
//! `cargo test -p monolite --example clock`; as a program it does the same.

#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use monolite::jobs::clock::ManualClock;
use monolite::jobs::{State, WorkerBuilder};
use monolite::{Job, Monolite, Options};
use serde::{Deserialize, Serialize};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Remind {
    name: String,
}

impl Job for Remind {
    const KIND: &'static str = "remind";
}

/// The app's: whoever signs up is reminded a day later.
async fn sign_up(app: &Monolite, name: &str) -> monolite::Result<monolite::JobId> {
    let remind = Remind { name: name.into() }.prepare()?;
    app.transaction(move |tx| Ok(tx.push(remind.delay(Duration::from_secs(86_400)))?.id))
        .await
}

/// The app's worker.
fn worker(app: &Monolite) -> WorkerBuilder {
    let worker = app.jobs().worker();
    worker.on(|job: Remind, _| async move { Ok(format!("reminded {}", job.name)) })
}

async fn who_signs_up_is_reminded_a_day_later() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    // 2026-03-01 12:00:00 UTC; it stands still until it is advanced.
    let clock = Arc::new(ManualClock::at(1_772_366_400_000));
    let options = Options::new().jobs_clock(clock.clone());
    let app = Monolite::open_with(dir.path(), options).await?;

    let id = sign_up(&app, "Ada").await?;
    let name = "Ada".to_owned();
    assert_eq!(app.jobs().enqueued::<Remind>().await?, [Remind { name }]);

    // Runs all that is due, in this task, and returns how many ran.
    assert_eq!(worker(&app).run_due().await?, 0);
    clock.advance(Duration::from_secs(86_400));
    assert_eq!(worker(&app).run_due().await?, 1);
    let job = app.jobs().get(id).await?;
    let job = job.ok_or_else(|| anyhow::anyhow!("it is gone"))?;
    assert_eq!(job.state, State::Done);
    assert_eq!(job.result.as_deref(), Some(r#""reminded Ada""#));
    app.close().await;
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    who_signs_up_is_reminded_a_day_later().await
}

#[tokio::test]
async fn reminders() {
    who_signs_up_is_reminded_a_day_later().await.unwrap();
}
