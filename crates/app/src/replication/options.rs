//! How a volume is replicated.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use monolite_replica::{Destination, Find, FollowOptions};

use crate::settings::Source;
use crate::{Settings, database_filter, destinations};

/// Says whether a database, named by its path in the volume, is replicated.
pub(super) type Wanted = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// Larger replicas, in bytes of their newest files, are not verified unless somebody asks for it:
/// all of it is downloaded.
const VERIFY_BYTES_MAX: u64 = 1 << 30;

/// How a volume is replicated. Times are upper bounds, except intervals.
#[derive(Clone)]
#[non_exhaustive]
pub struct Replication {
    /// Where to. For a restore the one with the newest state is tried first.
    pub destinations: Vec<Destination>,
    /// Finds the databases.
    pub find: Find,
    /// Which of the databases in a destination belong to this volume.
    pub(super) wanted: Wanted,
    /// How they are followed.
    pub follow: FollowOptions,
    /// A directory for what has to be known after a restart.
    pub state: PathBuf,
    /// How long a destination that cannot be reached and may have a missing database is tried.
    pub restore_time: Duration,
    /// Time after the app's end for what is not stored yet.
    pub sync_time: Duration,
    /// Whether a database whose file is deleted while the app runs is restored at once.
    pub heal: bool,
    /// How often it is verified that replicas can be restored, where something was stored since;
    /// `None`: never.
    pub verify_every: Option<Duration>,
    /// Replicas of more bytes are not verified.
    pub verify_bytes: u64,
    /// How often a snapshot is kept on the volume itself, where something was written since and
    /// there is space; `None`: never.
    pub snapshot_every: Option<Duration>,
    /// Asked once a minute while everything is stored.
    pub heartbeat_url: Option<String>,
}

impl Replication {
    /// As `settings` say, of the databases in `volume`.
    pub fn new(settings: &Settings, destinations: Vec<Destination>, volume: &Path) -> Self {
        let exclude = settings.replica_exclude.clone();
        let verify_bytes = match settings.source("verify_every") {
            Source::Default => VERIFY_BYTES_MAX,
            // Who says how often wants it for all.
            _ => u64::MAX,
        };
        Self {
            destinations,
            find: database_filter::find(volume, &exclude),
            wanted: Arc::new(move |name: &str| database_filter::is_replicated(name, &exclude)),
            follow: destinations::follow_options(settings),
            state: destinations::state(volume),
            restore_time: settings.restore_timeout,
            sync_time: settings.sync_timeout,
            heal: settings.heal,
            verify_every: interval(settings.verify_every),
            verify_bytes,
            snapshot_every: interval(settings.local_snapshot_interval),
            heartbeat_url: settings.heartbeat_url.clone(),
        }
    }
}

/// Zero is never.
fn interval(every: Duration) -> Option<Duration> {
    (!every.is_zero()).then_some(every)
}

impl fmt::Debug for Replication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replication")
            .field("destinations", &self.destinations)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}
