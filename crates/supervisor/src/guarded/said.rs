//! What the log says of a migration.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use monolite_guard::{About, News, PutBack, Verdict};

/// Between two lines on a step that takes its time.
const EVERY: Duration = Duration::from_secs(10);

/// Writes the news into the log. Who waits for a long step hears of it.
pub(super) fn logged() -> Arc<dyn Fn(News) + Send + Sync> {
    let last: Mutex<Option<(String, &'static str, Instant)>> = Mutex::new(None);
    Arc::new(move |news| match news {
        News::Waiting { behind } => {
            tracing::info!("waiting for {behind}, which migrates this volume");
        }
        News::Said(what) => tracing::warn!("{what}"),
        News::Step { database, step, .. } => {
            tracing::debug!(database, "{step}");
            let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
            *last = Some((database, step, Instant::now()));
        }
        News::Advance(_) => {
            let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((database, step, since)) = last.as_mut()
                && since.elapsed() >= EVERY
            {
                tracing::info!(database, "{step}");
                *since = Instant::now();
            }
        }
        _ => {}
    })
}

pub(super) fn tell_recovered(put_back: &PutBack) {
    let list = |paths: &[PathBuf]| -> String {
        let paths: Vec<String> = paths
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        paths.join(", ")
    };
    if put_back.left {
        return tracing::warn!(
            command = put_back.command,
            snapshots = %put_back.kept.display(),
            "a migration was interrupted: nothing was put back, since others were at work on the databases; the snapshots from before it are kept"
        );
    }
    tracing::warn!(
        command = put_back.command,
        databases = put_back.databases.join(", "),
        state_found = list(&put_back.found),
        set_aside = list(&put_back.set_aside),
        kept_for_good = !put_back.alone,
        "a migration was interrupted: the databases were put back as they were before it"
    );
}

pub(super) fn tell_accepted(verdict: &Verdict) {
    for report in verdict.reports() {
        let database = &report.database;
        for loss in &report.losses {
            let (kind, table, name) = (loss.kind.name(), &loss.table, &loss.name);
            let by = loss.allowed_by.as_deref().unwrap_or_default();
            let (table, name) = (
                table.as_deref().unwrap_or(""),
                name.as_deref().unwrap_or(""),
            );
            tracing::warn!(
                database,
                kind,
                table,
                name,
                count = loss.count,
                allow_loss = by,
                "lost, as was allowed"
            );
        }
        for note in &report.notes {
            let text = &note.text;
            match note.about {
                About::Data | About::Name => tracing::info!(database, "{text}"),
                _ => tracing::warn!(database, "{text}"),
            }
        }
    }
}
