//! The background worker of this process.

use std::time::Duration;

use monolite::jobs::{self, Event};
use monolite::{Monolite, Worker};

use crate::discussed::{self, CountDiscussed};
use crate::notification::{self, NotifyAuthor};

/// Jobs of a process that was killed run in another, or in the next, after
/// this time. Ours take milliseconds.
const LEASE: Duration = Duration::from_secs(5);

/// Starts working on the jobs of `app`. Any number of processes may.
pub(crate) async fn start(app: &Monolite) -> jobs::Result<Worker> {
    let (sender, counter) = (app.clone(), app.clone());
    app.jobs()
        .worker()
        .lease(LEASE)
        .on(move |job: NotifyAuthor, _| {
            let app = sender.clone();
            async move { notification::send(&app, job).await }
        })
        .on(move |_: CountDiscussed, _| {
            let app = counter.clone();
            async move { discussed::count(&app).await }
        })
        .cron("discussed", discussed::EVERY, "UTC", CountDiscussed {})
        .observe(log)
        .start()
        .await
}

fn log(event: &Event) {
    match event {
        Event::Ended {
            job,
            error: Some(error),
            ..
        } => {
            tracing::warn!(job.id = job.id.get(), job.kind, error, "job failed");
        }
        Event::TickFailed { error, .. } => tracing::warn!(error, "jobs wait for the database"),
        event => tracing::trace!(?event),
    }
}
