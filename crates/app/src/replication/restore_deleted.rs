//! Restores a database whose file was deleted while the app ran, with all that was committed.
//!
//! The follower still has the deleted file open, as the app had: what was committed up to the app's
//! end is read from there and stored first.

use std::sync::Arc;
use std::time::Duration;

use monolite_replica::{Follower, State, Status, Target};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::context::{Context, has_content};
use super::inventory::Holding;
use super::restore::{Failed, log_restored, newest, one};

/// Pause between two attempts.
const PAUSE: Duration = Duration::from_secs(1);
/// Time between two log lines that say the same.
const REMIND_INTERVAL: Duration = Duration::from_secs(60);
/// How long storing the last commits is tried. A destination that can be reached and has not taken
/// them by then cannot take them: they were not read in time.
const LAST_COMMITS_TIME_MAX: Duration = Duration::from_secs(60);
/// Longest wait for the follower to open what was restored.
const REOPEN_TIME_MAX: Duration = Duration::from_millis(300);
/// Files that are downloaded at the same time.
const PARALLEL: usize = 8;

/// Whether a database can be restored from there: this volume has stored it, and no other machine
/// writes there now.
pub(super) fn is_source(status: &Status) -> bool {
    status.txid.0 > 0 && status.state != State::Refused
}

/// Returns once the database is restored, and followed again.
pub(super) async fn restore_deleted(context: &Arc<Context>, follower: &Arc<Follower>, name: &str) {
    retry(context, follower, name).await;
    // The follower opens it before the app writes to it: should this file be deleted as well, it can
    // be read. The comparison of all pages is not waited for.
    for holding in sources(context, follower, name) {
        let path = context.volume.join(name);
        let _ = follower
            .sync_to(&path, holding.destination.name(), REOPEN_TIME_MAX)
            .await;
    }
}

async fn retry(context: &Arc<Context>, follower: &Arc<Follower>, name: &str) {
    let began = Instant::now();
    let mut said: Option<Instant> = None;
    loop {
        if has_content(&context.volume.join(name)) == Some(true) {
            return;
        }
        let why = match attempt(context, follower, name, began).await {
            Ok(()) => return,
            Err(why) => why,
        };
        if said.is_none_or(|said| said.elapsed() >= REMIND_INTERVAL) {
            said = Some(Instant::now());
            tracing::error!(
                database = name,
                why,
                "cannot restore it, trying again; requests wait"
            );
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn attempt(
    context: &Arc<Context>,
    follower: &Arc<Follower>,
    name: &str,
    began: Instant,
) -> Result<(), String> {
    // It may be deleted as the database is, and nothing is sent without it.
    let state = &context.options.state;
    let made = std::fs::create_dir_all(state);
    made.map_err(|error| format!("{}: {error}", state.display()))?;
    match first_complete(context, follower, name).await {
        Ok(destination) => {
            let status = status_of(follower, name);
            let txid = status
                .iter()
                .find(|status| status.destination == destination);
            let txid = txid.ok_or("it is not followed any more")?.txid;
            let mut all = context.options.destinations.iter();
            let holder = all.find(|one| one.name() == destination);
            let replica = holder.ok_or("its destination is unknown")?.replica(name);
            let begun = Instant::now();
            // Exactly the state that holds everything.
            let restored = one(context, name, &replica, Target::Txid(txid), PARALLEL).await;
            if let Some(restored) = restored.map_err(|error| error.to_string())? {
                log_restored(name, &replica, &restored, begun);
            }
            Ok(())
        }
        Err(why) if began.elapsed() < LAST_COMMITS_TIME_MAX => Err(why),
        Err(_) => {
            let held = sources(context, follower, name);
            let failed = |failed: Failed| failed.why;
            newest(context, name, &held, PARALLEL)
                .await
                .map_err(failed)?;
            tracing::error!(
                database = name,
                "its last commits could not be read any more, and are not in what was restored"
            );
            Ok(())
        }
    }
}

/// Stores all that was committed; answers with the destination that was the first to have it.
async fn first_complete(
    context: &Arc<Context>,
    follower: &Arc<Follower>,
    name: &str,
) -> Result<String, String> {
    let limit = context.options.sync_time.max(PAUSE);
    let path = context.volume.join(name);
    let mut tasks = JoinSet::new();
    for holding in sources(context, follower, name) {
        let (follower, path) = (follower.clone(), path.clone());
        let to = holding.destination.name().to_owned();
        tasks.spawn(async move {
            let synced = follower.sync_to(&path, &to, limit).await;
            synced.map(|()| to).map_err(|error| error.to_string())
        });
    }
    let mut why = "no replica has it".to_owned();
    while let Some(synced) = tasks.join_next().await {
        match synced {
            Ok(Ok(to)) => return Ok(to),
            Ok(Err(error)) => why = error,
            Err(error) => why = error.to_string(),
        }
    }
    Err(why)
}

fn sources(context: &Context, follower: &Follower, name: &str) -> Vec<Holding> {
    let status = status_of(follower, name);
    let is_source = |destination: &str| {
        let mut of = status
            .iter()
            .filter(|status| status.destination == destination);
        of.any(is_source)
    };
    let all = context.options.destinations.iter();
    all.filter(|destination| is_source(destination.name()))
        .map(|destination| Holding {
            destination: destination.clone(),
            called: name.into(),
        })
        .collect()
}

/// The status of `name` in each destination.
pub(super) fn status_of(follower: &Follower, name: &str) -> Vec<Status> {
    let mut all = follower.status();
    all.retain(|status| status.database == name);
    all
}
