//! What `run` is told of replicas.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use monolite_replica::Follower;
use monolite_supervisor::{Beside, Replication};

use crate::Failure;
use crate::heartbeat::Heartbeat;
use crate::replication::{self, report};
use crate::settings::Settings;

/// How the volume is replicated; `None`: it is not.
pub(crate) fn replication(
    settings: &Settings,
    volume: &Path,
) -> Result<Option<Replication>, Failure> {
    let destinations = replication::destinations(&settings.replicas)?;
    if destinations.is_empty() {
        return Ok(None);
    }
    let (following, mending) = (&settings.following, &settings.mending);
    let exclude = following.replica_exclude.clone();
    let mut replication = Replication::new(
        destinations,
        replication::find(volume, following),
        Arc::new(move |name: &str| replication::is_replicated(name, &exclude)),
        replication::follow_options(following),
        replication::state(volume),
    );
    if let Some(time) = following.sync_timeout {
        replication.sync_time = time;
    }
    if let Some(time) = mending.restore_timeout {
        replication.restore_time = time;
    }
    if let Some(heal) = mending.heal {
        replication.heal = heal;
    }
    if let Some(every) = mending.verify_every {
        replication.verify_every = often(every);
        // Whoever says how often wants it for all.
        replication.verify_bytes = u64::MAX;
    }
    if let Some(every) = mending.local_snapshot_interval {
        replication.snapshot_every = often(every);
    }
    replication.beside = Some(beside(following.heartbeat_url.clone())?);
    Ok(Some(replication))
}

/// Never, if it is as often as can be.
fn often(every: Duration) -> Option<Duration> {
    (!every.is_zero()).then_some(every)
}

/// Reports on it, and sends heartbeats.
fn beside(heartbeat_url: Option<String>) -> anyhow::Result<Beside> {
    let heartbeat = move || heartbeat_url.as_deref().map(Heartbeat::new).transpose();
    // Wrong settings are told before anything begins.
    heartbeat()?;
    Ok(Arc::new(move |follower: Arc<Follower>| {
        let heartbeat = heartbeat().ok().flatten();
        Box::pin(async move {
            let report = report::watch(&follower);
            match heartbeat {
                Some(heartbeat) => {
                    tokio::join!(report, heartbeat.beat(&follower));
                }
                None => report.await,
            }
        })
    }))
}
