//! Restores databases that are not on the volume.

use std::cmp::Reverse;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use monolite_replica::{Replica, RestoreError, RestoreOptions, Restored, Target, restore};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::candidate::{Candidate, remember};
use super::context::{Context, has_content, now_ms};
use super::error::ReplicationError;
use super::inventory::{self, Holding};
use super::progress::Logged;
use super::record::Record;

/// Databases that are restored at the same time.
const AT_ONCE: usize = 4;
/// Files that are downloaded at the same time, for each of several databases.
const PARALLEL: usize = 2;
/// For the only one.
const PARALLEL_ALONE: usize = 8;
/// Pause between two attempts.
const PAUSE: Duration = Duration::from_secs(1);

/// Why a database was not restored.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) why: String,
    /// It may work later.
    pub(super) may_later: bool,
}

impl From<&RestoreError> for Failed {
    fn from(error: &RestoreError) -> Self {
        Self {
            why: error.to_string(),
            may_later: matches!(error, RestoreError::Storage(error) if error.is_transient()),
        }
    }
}

/// Restores all databases that are missing on the volume; the record of those that are there then,
/// and whether any was missing.
pub(super) async fn missing(context: &Arc<Context>) -> Result<(Record, bool), ReplicationError> {
    let record = Record::load(&context.options.state);
    let mut record = record.map_err(ReplicationError::io(
        "read the state of replication on the volume",
    ))?;
    // Those that were replicated once and are not to be any more.
    record.here.retain(|name| (context.options.wanted)(name));
    let missing = inventory::missing(context, &mut record).await?;
    let any = !missing.is_empty();
    let parallel = match missing.len() {
        1 => PARALLEL_ALONE,
        _ => PARALLEL,
    };
    let mut tasks = JoinSet::new();
    let mut missing = missing.into_iter();
    loop {
        while tasks.len() < AT_ONCE
            && let Some((name, held)) = missing.next()
        {
            let context = context.clone();
            tasks.spawn(async move { retry(&context, &name, &held, parallel).await });
        }
        match tasks.join_next().await {
            Some(Ok(restored)) => restored?,
            Some(Err(error)) => {
                return Err(ReplicationError::Io {
                    what: "restore",
                    source: error.into(),
                });
            }
            None => return Ok((record, any)),
        }
    }
}

/// Restores `name` from the destination with the newest state, else from the next one; tries again
/// for as long as the settings say. Downloads `parallel` files at the same time.
async fn retry(
    context: &Context,
    name: &str,
    held: &[Holding],
    parallel: usize,
) -> Result<(), ReplicationError> {
    let limit = context.options.restore_time;
    let mut failing: Option<Instant> = None;
    loop {
        let began = Instant::now();
        let Err(failed) = newest(context, name, held, parallel).await else {
            return Ok(());
        };
        let since = match failing {
            // An attempt that took so long was under way, not unreachable.
            Some(since) if began.elapsed() < limit => since,
            _ => Instant::now(),
        };
        failing = Some(since);
        if !failed.may_later || since.elapsed() >= limit {
            return Err(ReplicationError::Restore {
                database: name.into(),
                why: failed.why,
            });
        }
        tracing::warn!(
            database = name,
            why = failed.why,
            "cannot restore, trying again"
        );
        tokio::time::sleep(PAUSE).await;
    }
}

/// Tries once, the newest state first.
pub(super) async fn newest(
    context: &Context,
    name: &str,
    held: &[Holding],
    parallel: usize,
) -> Result<(), Failed> {
    let mut failures = Vec::new();
    let mut candidates = Vec::new();
    for holding in held {
        match Candidate::look(holding).await {
            Ok(candidate) => candidates.push(candidate),
            Err(error) => failures.push(Failed::from(&error)),
        }
    }
    // Of equals, the first in the settings.
    candidates.sort_by_key(|candidate| Reverse(candidate.time_ms()));
    while !candidates.is_empty() {
        let candidate = candidates.remove(0);
        let began = Instant::now();
        match one(context, name, &candidate.replica, Target::Latest, parallel).await {
            Ok(Some(restored)) => {
                log_restored(name, &candidate.replica, &restored, began);
                for failed in failures {
                    tracing::warn!(database = name, why = failed.why, "not restored from there");
                }
                remember(context, name, &candidate, &candidates, &restored);
                return Ok(());
            }
            Ok(None) => return Ok(()),
            Err(error) => failures.push(Failed::from(&error)),
        }
    }
    Err(Failed {
        may_later: failures.iter().any(|failed| failed.may_later),
        why: failures
            .into_iter()
            .map(|failed| failed.why)
            .collect::<Vec<_>>()
            .join("; "),
    })
}

/// Restores a state, unless the database was created meanwhile: then nothing is done.
pub(super) async fn one(
    context: &Context,
    name: &str,
    replica: &Replica,
    target: Target,
    parallel: usize,
) -> Result<Option<Restored>, RestoreError> {
    let path = context.volume.join(name);
    tracing::info!(database = name, from = replica.name(), "restoring");
    remove_empty(&path);
    let options = RestoreOptions {
        target,
        parallel,
        progress: Arc::new(Logged::new(name)),
        ..RestoreOptions::default()
    };
    match restore(replica, &path, options).await {
        Ok(restored) => Ok(Some(restored)),
        Err(RestoreError::Exists { .. }) if has_content(&path) == Some(true) => {
            tracing::warn!(
                database = name,
                "created again before it was restored, and left as it is; its replica can be restored with `monolite restore`"
            );
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// A file without a byte has nothing to lose, and would prevent the restore.
fn remove_empty(path: &Path) {
    if std::fs::metadata(path).is_ok_and(|file| file.is_file() && file.len() == 0) {
        // If it cannot be removed, the restore's error names it.
        let _ = std::fs::remove_file(path);
    }
}

pub(super) fn log_restored(name: &str, replica: &Replica, restored: &Restored, began: Instant) {
    tracing::info!(
        database = name,
        from = replica.name(),
        txid = %restored.txid,
        age_s = (now_ms() - restored.timestamp_ms).max(0) / 1000,
        bytes = u64::from(restored.pages) * u64::from(restored.page_size),
        files = restored.files,
        took_ms = began.elapsed().as_millis() as u64,
        "restored"
    );
}
