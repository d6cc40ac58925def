//! Bringing a database back that is not on the volume.

use std::cmp::Reverse;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use monolite_replica::{Replica, RestoreError, RestoreOptions, Restored, Target, restore};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::candidate::{Candidate, remember};
use super::progress::Logged;
use super::record::Record;
use super::replicated::Shared;
use super::stock::Holding;
use super::{has_content, stock};
use crate::Error;

/// Databases that are restored at the same time.
const AT_ONCE: usize = 4;
/// Files that are downloaded at a time, for one of several databases.
const PARALLEL: usize = 2;
/// For the only one.
const PARALLEL_ALONE: usize = 8;
/// Between two tries.
const PAUSE: Duration = Duration::from_secs(1);

/// Why a database did not come back.
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

/// Restores all databases that are missing on the volume, the app's among
/// them; the record of what is there then.
pub(super) async fn missing(shared: &Arc<Shared>) -> Result<Record, Error> {
    let record = Record::load(&shared.replication.state);
    let mut record = record.map_err(|source| Error::Io {
        what: "read the state of replication on the volume",
        source,
    })?;
    // Those that were replicated once and are not to be any more.
    record.here.retain(|name| (shared.replication.wanted)(name));
    let missing = stock::missing(shared, &mut record).await?;
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
            let shared = shared.clone();
            tasks.spawn(async move { insist(&shared, &name, &held, parallel).await });
        }
        match tasks.join_next().await {
            Some(Ok(restored)) => restored?,
            Some(Err(error)) => {
                return Err(Error::Io {
                    what: "restore",
                    source: error.into(),
                });
            }
            None => return Ok(record),
        }
    }
}

/// Restores `name` from whoever holds the newest state of it, else from the
/// next, for as long as the settings say. Downloads so many files at a time.
async fn insist(
    shared: &Shared,
    name: &str,
    held: &[Holding],
    parallel: usize,
) -> Result<(), Error> {
    let limit = shared.replication.restore_time;
    let mut failing: Option<Instant> = None;
    loop {
        let began = Instant::now();
        let Err(failed) = newest(shared, name, held, parallel).await else {
            return Ok(());
        };
        let since = match failing {
            // One that took so long had come far.
            Some(since) if began.elapsed() < limit => since,
            _ => Instant::now(),
        };
        failing = Some(since);
        if !failed.may_later || since.elapsed() >= limit {
            return Err(Error::Restore {
                database: name.into(),
                why: failed.why,
            });
        }
        tracing::warn!(
            database = name,
            why = failed.why,
            "cannot restore, trying on"
        );
        tokio::time::sleep(PAUSE).await;
    }
}

/// Tries once, the newest state first.
pub(super) async fn newest(
    shared: &Shared,
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
        match one(shared, name, &candidate.replica, Target::Latest, parallel).await {
            Ok(Some(restored)) => {
                say(name, &candidate.replica, &restored, began);
                for failed in failures {
                    tracing::warn!(database = name, why = failed.why, "not restored from there");
                }
                remember(shared, name, &candidate, &candidates, &restored);
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

/// Restores a state, unless somebody has made the database meanwhile: then
/// nothing is done.
pub(super) async fn one(
    shared: &Shared,
    name: &str,
    replica: &Replica,
    target: Target,
    parallel: usize,
) -> Result<Option<Restored>, RestoreError> {
    let path = shared.volume.join(name);
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
                "made anew by somebody before it was restored, and left as it is; its replica can be restored with `monolite restore`"
            );
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// A file without a byte has nothing to lose, and would be in the way.
fn remove_empty(path: &Path) {
    if std::fs::metadata(path).is_ok_and(|file| file.is_file() && file.len() == 0) {
        // What cannot be removed is named by the restore.
        let _ = std::fs::remove_file(path);
    }
}

pub(super) fn say(name: &str, replica: &Replica, restored: &Restored, began: Instant) {
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH);
    let now_ms = now_ms.map_or(0, |now| i64::try_from(now.as_millis()).unwrap_or(i64::MAX));
    tracing::info!(
        database = name,
        from = replica.name(),
        txid = %restored.txid,
        age_s = (now_ms - restored.timestamp_ms).max(0) / 1000,
        bytes = u64::from(restored.pages) * u64::from(restored.page_size),
        files = restored.files,
        took_ms = began.elapsed().as_millis() as u64,
        "restored"
    );
}
