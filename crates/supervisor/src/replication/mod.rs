//! Every commit of the volume in other places, and back from there.
//!
//! ```text
//! stock ─▶ restore what is missing ─▶ follow ─────────────▶ last sync ─▶ end
//!                    ▲                  │ lookout: a file is gone
//!                    └── send the rest ◀┘ (the app is stopped meanwhile)
//! ```
//!
//! All of it works on a runtime of its own, which is there only if there is a
//! place to replicate to.

mod candidate;
mod chores;
mod heal;
mod lookout;
mod opened;
mod progress;
mod record;
mod replicated;
mod restore;
mod stock;

use std::fmt;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use monolite_replica::{Destination, Find, FollowOptions, Follower};

pub(crate) use self::replicated::Replicated;

/// Says whether a database, named by its path in the volume, is replicated.
pub type Wanted = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// What is done beside a follower for as long as it runs, as to report on it.
pub type Beside =
    Arc<dyn Fn(Arc<Follower>) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// How a volume is replicated. Times are upper bounds, except those of what is
/// done now and then.
#[derive(Clone)]
pub struct Replication {
    /// Where to. Of several, each is tried in turn for a restore, the one with
    /// the newest state first.
    pub destinations: Vec<Destination>,
    /// Finds the databases.
    pub find: Find,
    /// Which of what a destination holds belongs here.
    pub wanted: Wanted,
    /// How they are followed.
    pub follow: FollowOptions,
    /// A directory for what has to be known after a restart.
    pub state: PathBuf,
    /// A database is missing, and a destination cannot be reached that may have
    /// it: it is tried for so long. Default 60 s.
    pub restore_time: Duration,
    /// After the app's end, for what is not stored yet. Default 10 s.
    pub sync_time: Duration,
    /// A database whose file is deleted under the app is restored at once.
    /// Default: yes.
    pub heal: bool,
    /// Replicas are proven to be restorable this often, where something was
    /// stored since; `None`: never. Default: daily.
    pub verify_every: Option<Duration>,
    /// Larger ones, in bytes of the replica's newest files, are left out of
    /// that, since all of it is downloaded. Default 1 GiB.
    pub verify_bytes: u64,
    /// A snapshot is kept on the volume itself this often, where something was
    /// written since and there is room; `None`: never. Default: daily.
    pub snapshot_every: Option<Duration>,
    /// What is done beside.
    pub beside: Option<Beside>,
}

impl Replication {
    /// With the defaults above.
    pub fn new(
        destinations: Vec<Destination>,
        find: Find,
        wanted: Wanted,
        follow: FollowOptions,
        state: PathBuf,
    ) -> Self {
        const DAY: Duration = Duration::from_secs(24 * 3600);
        Self {
            destinations,
            find,
            wanted,
            follow,
            state,
            restore_time: Duration::from_secs(60),
            sync_time: Duration::from_secs(10),
            heal: true,
            verify_every: Some(DAY),
            verify_bytes: 1 << 30,
            snapshot_every: Some(DAY),
            beside: None,
        }
    }
}

impl fmt::Debug for Replication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replication")
            .field("destinations", &self.destinations)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

/// Whether the file is there with something in it; `None` if that cannot be
/// told. An empty file is no database yet: SQLite makes one when an app opens
/// what is not there.
fn has_content(path: &std::path::Path) -> Option<bool> {
    match std::fs::metadata(path) {
        Ok(file) => Some(file.len() > 0),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Some(false),
        Err(_) => None,
    }
}
