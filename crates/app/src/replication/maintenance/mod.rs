//! What is done at intervals while a volume is followed.

mod proofs;
mod snapshots;
mod verification;

use std::sync::Arc;
use std::time::Duration;

use monolite_replica::Follower;
use tokio::task::JoinHandle;

use self::proofs::Proofs;
pub(super) use self::verification::Failed;
use super::context::Context;

/// Pause after the start, which is busy enough.
const FIRST_PAUSE_MAX: Duration = Duration::from_secs(60);
/// How often it is looked whether something is due, at least.
const POLL_INTERVAL_MAX: Duration = Duration::from_secs(3600);

/// Starts what the settings want. `failed` is kept up to date.
pub(super) fn start(
    context: &Arc<Context>,
    follower: &Arc<Follower>,
    failed: &Arc<Failed>,
) -> Vec<JoinHandle<()>> {
    let mut tasks = Vec::new();
    if let Some(every) = context.options.snapshot_every {
        tasks.push(tokio::spawn(snapshots::take(context.clone(), every)));
    }
    if let Some(every) = context.options.verify_every {
        let proofs = Proofs::load(&context.options.state);
        failed.set(proofs.failed());
        tasks.push(tokio::spawn(verification::verify(
            context.clone(),
            follower.clone(),
            proofs,
            failed.clone(),
            every,
        )));
    }
    tasks
}

/// The pause before it is looked first whether something is due, and between two looks.
fn pauses(every: Duration) -> (Duration, Duration) {
    (every.min(FIRST_PAUSE_MAX), every.min(POLL_INTERVAL_MAX))
}
