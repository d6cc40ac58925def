//! Brings databases up to date that another machine went on with: what it stored is
//! restored over an older state, before the app sees it.
//!
//! What is here and was never stored is not thrown away: it keeps a name under
//! `.monolite/kept/`, and this is reported. Whenever the process dies, a database is
//! what it was, or what the replica holds; the next start looks again, because it is
//! written down only afterwards that all are up to date.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use monolite_platform::process::Inode;
use monolite_replica::{
    Destination, Leases, RestoreOptions, Standing, Target, keep_database, restore, standing,
};
use monolite_volume::layout;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::candidate::{Candidate, remember};
use super::context::{Context, has_content, now_ms};
use super::error::ReplicationError;
use super::inventory::Holding;
use super::progress::Logged;
use super::restore::log_restored;

/// Databases that are looked at, and restored, at the same time.
const AT_ONCE: usize = 8;
/// Files that are downloaded at the same time, for each.
const PARALLEL: usize = 4;

/// Looks at every database of the volume in every destination that another machine may
/// have written since this volume last did; the number of those that were restored.
pub(super) async fn catch_up(
    context: &Arc<Context>,
    leases: &Leases,
) -> Result<usize, ReplicationError> {
    let mut restored = 0;
    let mut changed = Vec::new();
    for destination in leases.destinations() {
        if leases
            .may_be_behind(&destination)
            .map_err(ReplicationError::Follow)?
        {
            changed.push(destination);
        }
    }
    if !changed.is_empty() {
        let found = context.find().await;
        let present = found.iter().filter(|path| has_content(path) == Some(true));
        let names: Vec<String> = present.filter_map(|path| context.name(path)).collect();
        let mut tasks = JoinSet::new();
        let mut names = names.into_iter();
        loop {
            while tasks.len() < AT_ONCE
                && let Some(name) = names.next()
            {
                let (context, leases, changed) = (context.clone(), leases.clone(), changed.clone());
                tasks.spawn(async move { one(&context, &leases, &changed, &name).await });
            }
            match tasks.join_next().await {
                Some(Ok(looked)) => restored += usize::from(looked?),
                Some(Err(error)) => {
                    return Err(ReplicationError::Io {
                        what: "compare with the replicas",
                        source: error.into(),
                    });
                }
                None => break,
            }
        }
    }
    Ok(restored)
}

/// Whether the database was restored.
async fn one(
    context: &Context,
    leases: &Leases,
    changed: &[Destination],
    name: &str,
) -> Result<bool, ReplicationError> {
    let failed = |why: String| ReplicationError::Behind {
        database: name.into(),
        why,
    };
    let path = context.volume.join(name);
    let mut newest: Option<(Candidate, Standing)> = None;
    let mut others = Vec::new();
    for destination in changed {
        let standing = standing(&context.options.state, destination, name, &path).await;
        let standing = standing.map_err(|error| failed(error.to_string()))?;
        if !matches!(
            standing,
            Standing::Behind { .. } | Standing::Diverged { .. }
        ) {
            continue;
        }
        let holding = Holding {
            destination: destination.clone(),
            called: name.into(),
        };
        let candidate = Candidate::look(&holding).await;
        let candidate = candidate.map_err(|error| failed(error.to_string()))?;
        match &newest {
            Some((before, _)) if before.time_ms() >= candidate.time_ms() => others.push(candidate),
            _ => others.extend(newest.replace((candidate, standing)).map(|(it, _)| it)),
        }
    }
    let Some((candidate, standing)) = newest else {
        return Ok(false);
    };
    let writer = leases.before(&candidate.destination);
    let writer = writer.map_or_else(|| "another machine".into(), |holder| holder.to_string());
    let from = candidate.replica.name();
    match standing {
        Standing::Diverged { stored, .. } => {
            let kept = keep(context, name, &path).await?;
            tracing::error!(
                database = name,
                from,
                writer,
                "another machine went on with it, and commits here after transaction {stored} are in no replica: what is here is kept as {}, and the replica's newest state is restored",
                kept.display()
            );
        }
        Standing::Behind { here, .. } => tracing::warn!(
            database = name,
            from,
            writer,
            here = %here,
            newest = %candidate.txid,
            "another machine went on with it; what is here is stored: the replica's newest state is restored"
        ),
        _ => {}
    }
    let began = Instant::now();
    let options = RestoreOptions {
        target: Target::Latest,
        overwrite: true,
        parallel: PARALLEL,
        progress: Arc::new(Logged::new(name)),
        ..RestoreOptions::default()
    };
    let restored = restore(&candidate.replica, &path, options).await;
    let restored = restored.map_err(|error| failed(error.to_string()))?;
    log_restored(name, &candidate.replica, &restored, began);
    remember(context, name, &candidate, &others, &restored);
    Ok(true)
}

/// Another name of the same file in `dir`.
fn same_file(dir: &Path, path: &Path) -> Option<PathBuf> {
    let inode = Inode::of(path)?;
    let all = std::fs::read_dir(dir).ok()?;
    let mut all = all.filter_map(|entry| Some(entry.ok()?.path()));
    all.find(|other| Inode::of(other) == Some(inode))
}

/// Gives the database another name as well, which stays.
async fn keep(context: &Context, name: &str, path: &Path) -> Result<PathBuf, ReplicationError> {
    let dir = layout::kept(&context.volume, Path::new(name));
    let now = Timestamp::from_millisecond(now_ms()).unwrap_or_default();
    let kept = dir.join(format!("{}.sqlite3", now.strftime("%Y%m%dT%H%M%S%3fZ")));
    let from = path.to_owned();
    let work = tokio::task::spawn_blocking(move || {
        // From a try whose restore failed.
        if let Some(before) = same_file(&dir, &from) {
            return Ok(before);
        }
        keep_database(&from, &kept).map(|()| kept)
    });
    let done = match work.await {
        Ok(done) => done.map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    match done {
        Ok(kept) => Ok(kept),
        Err(why) => Err(ReplicationError::Behind {
            database: name.into(),
            why: format!("what is here cannot be kept: {why}"),
        }),
    }
}
