//! A recurring job: fired once per tick, however many processes have it.
//!
//! `cargo run -p monolite --example cron` runs for two ticks.

#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::time::Duration;

use monolite::{Job, Monolite};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct CountUsers {}

impl Job for CountUsers {
    const KIND: &'static str = "count_users";
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let app = Monolite::open(dir.path()).await?;
    let (ran, mut runs) = tokio::sync::mpsc::unbounded_channel();
    let worker = app
        .jobs()
        .worker()
        .on(move |_: CountUsers, context| {
            let ran = ran.clone();
            async move { Ok(ran.send(context.id())?) }
        })
        // Every second. `0 3 * * *` is 03:00 each day, in the zone that follows.
        .cron("count users", "* * * * * *", "Europe/Berlin", CountUsers {})
        .start()
        .await?;
    for schedule in app.jobs().schedules().await? {
        println!("{}: next at {}", schedule.name, schedule.next_at);
    }
    for _ in 0..2 {
        let run = tokio::time::timeout(Duration::from_secs(20), runs.recv()).await?;
        if let Some(id) = run {
            println!("job {id} has run");
        }
    }
    worker.shutdown(Duration::from_secs(5)).await;
    app.close().await;
    Ok(())
}
