//! What is done now and then, beside following.

mod snapshots;
mod verified;
mod verify;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use monolite_replica::Follower;
use tokio::task::JoinHandle;

use super::replicated::Shared;

/// After the start, which is busy enough.
const FIRST: Duration = Duration::from_secs(60);
/// Between two looks whether something is due.
const LOOK_EVERY: Duration = Duration::from_secs(3600);

/// Begins with what the settings want.
pub(super) fn start(shared: &Arc<Shared>, follower: &Arc<Follower>) -> Vec<JoinHandle<()>> {
    let mut tasks = Vec::new();
    if let Some(every) = shared.replication.snapshot_every {
        tasks.push(tokio::spawn(snapshots::take(shared.clone(), every)));
    }
    if let Some(every) = shared.replication.verify_every {
        tasks.push(tokio::spawn(verify::verify(
            shared.clone(),
            follower.clone(),
            every,
        )));
    }
    tasks
}

/// The pause before the first look, and between two.
fn pauses(every: Duration) -> (Duration, Duration) {
    (every.min(FIRST), every.min(LOOK_EVERY))
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    })
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
