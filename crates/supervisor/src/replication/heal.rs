//! A database whose file was deleted, brought back with all that was committed.
//!
//! The follower has the deleted file open still, as its app had: what was
//! committed up to the app's end is read from there and stored first.

use std::sync::Arc;
use std::time::Duration;

use monolite_replica::{Follower, State, Status, Target};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::has_content;
use super::replicated::{Shared, status_of};
use super::restore::{newest, one, say};
use super::stock::Holding;

/// Between two tries.
const PAUSE: Duration = Duration::from_secs(1);
/// Between two lines of the log that say the same.
const REMIND: Duration = Duration::from_secs(60);
/// What can be reached, and has not taken the last commits for so long, cannot
/// take them: they were not read in time.
const GIVE_UP: Duration = Duration::from_secs(60);
/// For the follower to open what was restored.
const AGAIN: Duration = Duration::from_millis(300);
/// Files that are downloaded at a time.
const PARALLEL: usize = 8;

/// Whether a database can be restored from there: it was stored by us, and
/// nobody else writes there now.
pub(super) fn is_source(status: &Status) -> bool {
    status.txid.0 > 0 && status.state != State::Refused
}

/// Returns once the database is back, and followed again.
pub(super) async fn heal(shared: &Arc<Shared>, follower: &Arc<Follower>, name: &str) {
    bring_back(shared, follower, name).await;
    // Before the app writes to it: should this one be deleted as well, it is
    // open already. That all pages are compared is not waited for.
    for holding in sources(shared, follower, name) {
        let path = shared.volume.join(name);
        let _ = follower
            .sync_to(&path, holding.destination.name(), AGAIN)
            .await;
    }
}

async fn bring_back(shared: &Arc<Shared>, follower: &Arc<Follower>, name: &str) {
    let began = Instant::now();
    let mut said: Option<Instant> = None;
    loop {
        if has_content(&shared.volume.join(name)) == Some(true) {
            return;
        }
        let why = match attempt(shared, follower, name, began).await {
            Ok(()) => return,
            Err(why) => why,
        };
        if said.is_none_or(|said| said.elapsed() >= REMIND) {
            said = Some(Instant::now());
            tracing::error!(
                database = name,
                why,
                "cannot restore it, trying on; requests wait"
            );
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn attempt(
    shared: &Arc<Shared>,
    follower: &Arc<Follower>,
    name: &str,
    began: Instant,
) -> Result<(), String> {
    // It may have gone with the database, and nothing is sent without it.
    let state = &shared.replication.state;
    let made = std::fs::create_dir_all(state);
    made.map_err(|error| format!("{}: {error}", state.display()))?;
    match first_complete(shared, follower, name).await {
        Ok(destination) => {
            let status = status_of(follower, name);
            let txid = status
                .iter()
                .find(|status| status.destination == destination);
            let txid = txid.ok_or("it is not followed any more")?.txid;
            let mut all = shared.replication.destinations.iter();
            let holder = all.find(|one| one.name() == destination);
            let replica = holder.ok_or("its destination is unknown")?.replica(name);
            let begun = Instant::now();
            // Exactly the state that holds everything.
            let restored = one(shared, name, &replica, Target::Txid(txid), PARALLEL).await;
            if let Some(restored) = restored.map_err(|error| error.to_string())? {
                say(name, &replica, &restored, begun);
            }
            Ok(())
        }
        Err(why) if began.elapsed() < GIVE_UP => Err(why),
        Err(_) => {
            let held = sources(shared, follower, name);
            let failed = |failed: super::restore::Failed| failed.why;
            newest(shared, name, &held, PARALLEL)
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

/// Has all that was committed stored, and says which destination was the first
/// to have it.
async fn first_complete(
    shared: &Arc<Shared>,
    follower: &Arc<Follower>,
    name: &str,
) -> Result<String, String> {
    let limit = shared.replication.sync_time.max(PAUSE);
    let path = shared.volume.join(name);
    let mut tasks = JoinSet::new();
    for holding in sources(shared, follower, name) {
        let (follower, path) = (follower.clone(), path.clone());
        let to = holding.destination.name().to_owned();
        tasks.spawn(async move {
            let synced = follower.sync_to(&path, &to, limit).await;
            synced.map(|()| to).map_err(|error| error.to_string())
        });
    }
    let mut why = "no replica holds it".to_owned();
    while let Some(synced) = tasks.join_next().await {
        match synced {
            Ok(Ok(to)) => return Ok(to),
            Ok(Err(error)) => why = error,
            Err(error) => why = error.to_string(),
        }
    }
    Err(why)
}

fn sources(shared: &Shared, follower: &Follower, name: &str) -> Vec<Holding> {
    let status = status_of(follower, name);
    let is_source = |destination: &str| {
        let mut of = status
            .iter()
            .filter(|status| status.destination == destination);
        of.any(is_source)
    };
    let all = shared.replication.destinations.iter();
    all.filter(|destination| is_source(destination.name()))
        .map(|destination| Holding {
            destination: destination.clone(),
            called: name.into(),
        })
        .collect()
}
