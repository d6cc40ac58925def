//! A volume while it is replicated.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use monolite_replica::{Follower, Status};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::lookout::Lookout;
use super::record::Record;
use super::{Beside, Replication, chores, heal, restore};
use crate::{Config, Error};

/// For leases to be given back.
const FAREWELL: Duration = Duration::from_secs(5);
/// For what was ended to let go.
const WAY_OUT: Duration = Duration::from_secs(1);
/// Between two looks whether a replica holds what is gone.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What all parts of it need.
pub(super) struct Shared {
    pub(super) replication: Replication,
    pub(super) volume: PathBuf,
    /// The app's own database, by its path in the volume.
    pub(super) main: String,
}

impl Shared {
    /// A database's path in the volume; `None` for what lies elsewhere, or has a
    /// name that no replica can have.
    pub(super) fn name(&self, path: &Path) -> Option<String> {
        Some(path.strip_prefix(&self.volume).ok()?.to_str()?.to_owned())
    }
}

/// Replicates until [`end`](Self::end); dropped, it just stops.
pub(crate) struct Replicated {
    shared: Arc<Shared>,
    /// Taken only when this is dropped.
    runtime: Option<Runtime>,
    running: Option<Running>,
}

struct Running {
    follower: Arc<Follower>,
    lookout: Arc<Lookout>,
    beside: Vec<JoinHandle<()>>,
}

impl Replicated {
    /// Makes ready, if the configuration names a place to replicate to.
    pub(crate) fn new(config: &Config) -> Result<Option<Self>, Error> {
        let Some(replication) = config.replication.clone() else {
            return Ok(None);
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("monolite-replica")
            .enable_all()
            .build();
        let runtime = runtime.map_err(|source| Error::Io {
            what: "start the threads of replication",
            source,
        })?;
        Ok(Some(Self {
            shared: Arc::new(Shared {
                replication,
                volume: config.place.dir.clone(),
                main: config.database.clone(),
            }),
            runtime: Some(runtime),
            running: None,
        }))
    }

    /// Restores what is missing on the volume, then follows all of it.
    /// Cancelled, it leaves nothing half done.
    pub(crate) async fn begin(&mut self) -> Result<(), Error> {
        let shared = self.shared.clone();
        let running = self.on_runtime(async move {
            let record = restore::missing(&shared).await?;
            follow(&shared, record)
        });
        self.running = Some(running.await?);
        Ok(())
    }

    /// These databases are gone on purpose, and are not to be restored.
    pub(crate) fn removed(&self, names: &[String]) -> std::io::Result<()> {
        if names.is_empty() {
            return Ok(());
        }
        if let Some(running) = &self.running {
            return running.lookout.removed(names);
        }
        let state = &self.shared.replication.state;
        let mut record = Record::load(state)?;
        for name in names {
            record.was_deleted(name);
        }
        record.save(state)
    }

    /// Comes when the file of a database is gone that can be restored.
    pub(crate) async fn lost(&self) {
        let Some(running) = &self.running else {
            return std::future::pending().await;
        };
        loop {
            running.lookout.lost().await;
            if !self.mendable().is_empty() {
                return;
            }
            // Its first upload may be under way.
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// The databases whose files are gone and that some replica holds.
    pub(crate) fn mendable(&self) -> Vec<String> {
        let Some(running) = &self.running else {
            return Vec::new();
        };
        let missing = running.lookout.missing();
        let (held, not_held): (Vec<_>, Vec<_>) = missing.into_iter().partition(|name| {
            status_of(&running.follower, name)
                .iter()
                .any(heal::is_source)
        });
        for name in not_held {
            if running.lookout.is_news(&name) {
                tracing::error!(
                    database = name,
                    "its file was deleted, and no replica holds it yet: what the app still has open can be copied from /proc/PID/fd before it ends"
                );
            }
        }
        held
    }

    /// Restores what is gone, with all that was committed to it. Nobody may
    /// have it open any more. Goes on until it is done.
    pub(crate) async fn heal(&self) {
        let Some(running) = &self.running else {
            return;
        };
        let (shared, follower) = (self.shared.clone(), running.follower.clone());
        let missing = self.mendable();
        self.on_runtime(async move {
            for name in missing {
                heal::heal(&shared, &follower, &name).await;
            }
        })
        .await;
    }

    /// Stores what is not stored yet, gives the leases back, and ends.
    pub(crate) async fn end(mut self) {
        let Some(running) = self.running.take() else {
            return;
        };
        let limit = self.shared.replication.sync_time;
        self.on_runtime(async move {
            let began = Instant::now();
            for beside in running.beside {
                beside.abort();
                let _ = beside.await;
            }
            let synced = running.follower.sync(limit).await;
            // Nothing is written any more: what is left is to let go, which a
            // place that does not answer may not hold up.
            let farewell = if synced.is_ok() { FAREWELL } else { WAY_OUT };
            if let Some(follower) = alone(running.follower).await {
                let _ = tokio::time::timeout(farewell, follower.stop(farewell)).await;
            }
            let took_ms = began.elapsed().as_millis() as u64;
            match synced {
                Ok(()) => tracing::info!(took_ms, "all commits are stored in the replicas"),
                Err(error) => {
                    let error = error.to_string();
                    tracing::error!(
                        took_ms,
                        error,
                        "stopped before all commits were stored; the next start goes on, on this volume"
                    );
                }
            }
        })
        .await;
    }

    /// Runs `work` on the runtime, and ends it when nobody waits any more.
    async fn on_runtime<T, F>(&self, work: F) -> T
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let Some(runtime) = &self.runtime else {
            return std::future::pending().await;
        };
        let mut task = Ended(runtime.spawn(work));
        match (&mut task.0).await {
            Ok(done) => done,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => std::future::pending().await,
        }
    }
}

impl Drop for Replicated {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Whoever drops this may be on another runtime, and cannot wait.
            runtime.shutdown_background();
        }
    }
}

/// A task that ends with whoever waits for it.
struct Ended<T>(JoinHandle<T>);

impl<T> Drop for Ended<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The follower, once nobody else has it: what was ended a moment ago may
/// still be on its way out.
async fn alone(mut follower: Arc<Follower>) -> Option<Follower> {
    let until = Instant::now() + WAY_OUT;
    loop {
        follower = match Arc::try_unwrap(follower) {
            Ok(follower) => return Some(follower),
            Err(_) if Instant::now() >= until => return None,
            Err(shared) => shared,
        };
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn follow(shared: &Arc<Shared>, record: Record) -> Result<Running, Error> {
    let Replication {
        destinations,
        find,
        follow,
        state,
        heal,
        beside,
        ..
    } = shared.replication.clone();
    let volume = &shared.volume;
    let lookout = Lookout::new(volume, &state, &shared.main, heal, find, record);
    let lookout = Arc::new(lookout);
    let looking = lookout.clone();
    let follower = Follower::start(
        volume,
        &state,
        destinations,
        Arc::new(move || looking.find()),
        follow,
    );
    let follower = Arc::new(follower.map_err(Error::Replicate)?);
    let mut tasks = vec![tokio::spawn(forget(follower.clone(), lookout.clone()))];
    tasks.extend(chores::start(shared, &follower));
    tasks.extend(beside.map(|beside: Beside| tokio::spawn(beside(follower.clone()))));
    Ok(Running {
        follower,
        lookout,
        beside: tasks,
    })
}

/// Lets go of what was deleted on purpose.
async fn forget(follower: Arc<Follower>, lookout: Arc<Lookout>) {
    loop {
        for path in lookout.deleted().await {
            follower.forget(&path);
        }
    }
}

/// What there is to say of `name` in each destination.
pub(super) fn status_of(follower: &Follower, name: &str) -> Vec<Status> {
    let mut all = follower.status();
    all.retain(|status| status.database == name);
    all
}
