//! A worker process: runs what any process on the volume enqueues, tries again
//! what fails, and hands back what has not ended when it is stopped.
//!
//! `cargo run -p monolite --example worker -- DIR` works until Ctrl-C. Without
//! a directory it enqueues two jobs itself, and ends with them.

#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use monolite::jobs::{Backoff, Event, State};
use monolite::{Failure, Job, Monolite};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct SendMail {
    to: String,
}

impl Job for SendMail {
    const KIND: &'static str = "send_mail";
    const QUEUE: &'static str = "mail";
    const TIMEOUT: Option<Duration> = Some(Duration::from_secs(30));
}

/// Stands for whatever sends: it does not answer the first time.
struct Mailer {
    calls: AtomicUsize,
}

impl Mailer {
    async fn send(&self, mail: &SendMail) -> Result<(), Failure> {
        if !mail.to.contains('@') {
            // No later attempt would do better.
            return Err(Failure::discard(format!("{:?} is no address", mail.to)));
        }
        if self.calls.fetch_add(1, Ordering::Relaxed) == 0 {
            return Err(Failure::retry("the mail server does not answer"));
        }
        println!("sent to {}", mail.to);
        Ok(())
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let scratch = tempfile::tempdir()?;
    let dir = std::env::args_os().nth(1);
    let app = Monolite::open(dir.as_deref().unwrap_or(scratch.path().as_os_str())).await?;
    let mailer = Arc::new(Mailer {
        calls: AtomicUsize::new(0),
    });
    let worker = app
        .jobs()
        .worker()
        .queue("mail", 5)
        .backoff(Backoff::new().first(Duration::from_millis(50)))
        .on(move |mail: SendMail, _context| {
            let mailer = Arc::clone(&mailer);
            async move { mailer.send(&mail).await }
        })
        .observe(|event| {
            if let Event::Ended {
                job, state, error, ..
            } = event
            {
                println!("job {} attempt {}: {state} {error:?}", job.id, job.attempt);
            }
        })
        .start()
        .await?;

    if dir.is_some() {
        tokio::signal::ctrl_c().await?;
    } else {
        for (to, end) in [("ada@example.org", State::Done), ("nobody", State::Dead)] {
            let id = app.jobs().enqueue(SendMail { to: to.into() }).await?;
            let job = app.jobs().wait(id, Duration::from_secs(20)).await?;
            anyhow::ensure!(job.state == end, "{job:?}");
        }
    }
    // Claims nothing more; what runs has 30 s to end, then another process has it.
    worker.shutdown(Duration::from_secs(30)).await;
    app.close().await;
    Ok(())
}
