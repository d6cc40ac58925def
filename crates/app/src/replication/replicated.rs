//! A volume while it is replicated: from the restore of what is missing to the last sync.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use monolite_gate::health::Report;
use monolite_replica::Follower;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::context::Context;
use super::deletion_monitor::DeletionMonitor;
use super::error::ReplicationError;
use super::health::Observed;
use super::heartbeat::Heartbeat;
use super::maintenance::Failed;
use super::options::Replication;
use super::record::Record;
use super::restore_deleted::{is_source, restore_deleted, status_of};
use super::{health, maintenance, report, restore};
use crate::accounting::Findings;

/// Longest time to give leases back.
const RELEASE_TIME_MAX: Duration = Duration::from_secs(5);
/// Longest wait for tasks that were aborted to let go of the follower.
const ABORT_TIME_MAX: Duration = Duration::from_secs(1);
/// How often it is looked whether a replica has what was deleted.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Replicates from [`start`](Self::start) until [`stop`](Self::stop); dropped, it just ends.
pub(crate) struct Replicated {
    context: Arc<Context>,
    /// Taken only when this is dropped.
    runtime: Option<Runtime>,
    running: Option<Running>,
    /// Taken when the volume is followed.
    heartbeat: Option<Heartbeat>,
    observer: ObserverSlot,
    /// It has ended, and not everything is stored.
    unfinished: Arc<AtomicBool>,
    findings: Arc<Findings>,
}

/// The observer, once the volume is followed.
type ObserverSlot = Arc<Mutex<Option<Observer>>>;

/// Knows how all is. It does not keep the follower alive.
#[derive(Clone)]
struct Observer {
    context: Arc<Context>,
    follower: Weak<Follower>,
    monitor: Arc<DeletionMonitor>,
    failed: Arc<Failed>,
    findings: Arc<Findings>,
}

impl Observer {
    /// `None` once replication has ended.
    fn observe(&self) -> Option<Observed> {
        let replicas = self.follower.upgrade()?.status();
        Some(Observed {
            lost: self.monitor.lost_count(),
            unaccounted: self.findings.lost(),
            unrestorable: self.failed.count(&self.context, &replicas),
            replicas,
        })
    }
}

struct Running {
    follower: Arc<Follower>,
    monitor: Arc<DeletionMonitor>,
    observer: Observer,
    tasks: Vec<JoinHandle<()>>,
}

/// Takes databases off the list of what belongs on the volume.
pub(crate) struct Forget {
    observer: ObserverSlot,
    state: PathBuf,
}

impl Forget {
    /// These databases, named by their paths in the volume, were removed on purpose, and are not to
    /// be restored.
    pub(crate) fn removed(&self, names: &[String]) -> std::io::Result<()> {
        if names.is_empty() {
            return Ok(());
        }
        let observer = self.observer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(observer) = observer.as_ref() {
            return observer.monitor.removed(names);
        }
        let mut record = Record::load(&self.state)?;
        for name in names {
            record.was_deleted(name);
        }
        record.save(&self.state)
    }
}

impl Replicated {
    /// Starts the runtime, and nothing on it.
    ///
    /// # Errors
    /// Its threads cannot be started, or no heartbeat can be sent to the URL for them.
    pub(crate) fn new(
        options: Replication,
        volume: PathBuf,
        main: String,
        findings: Arc<Findings>,
    ) -> std::io::Result<Self> {
        let heartbeat = options.heartbeat_url.as_deref().map(Heartbeat::new);
        let heartbeat = heartbeat.transpose().map_err(std::io::Error::other)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("monolite-replica")
            .enable_all()
            .build()?;
        Ok(Self {
            context: Arc::new(Context {
                options,
                volume,
                main,
            }),
            runtime: Some(runtime),
            running: None,
            heartbeat,
            observer: Arc::default(),
            unfinished: Arc::default(),
            findings,
        })
    }

    /// Restores what is missing on the volume, then follows all of it. Cancelled, it leaves nothing
    /// half done.
    pub(crate) async fn start(&mut self) -> Result<(), ReplicationError> {
        let (context, heartbeat) = (self.context.clone(), self.heartbeat.take());
        let findings = self.findings.clone();
        let running = self.on_runtime(async move {
            let record = restore::missing(&context).await?;
            follow(&context, record, heartbeat, findings)
        });
        let running = running.await?;
        let mut observer = self.observer.lock().unwrap_or_else(PoisonError::into_inner);
        *observer = Some(running.observer.clone());
        drop(observer);
        self.running = Some(running);
        Ok(())
    }

    /// What the health page says, whenever it is asked.
    pub(crate) fn health(&self) -> impl Fn() -> Report + Send + Sync + 'static {
        let slot = self.observer.clone();
        move || {
            let observer = slot.lock().unwrap_or_else(PoisonError::into_inner).clone();
            match observer.map(|observer| observer.observe()) {
                None => health::starting(),
                Some(Some(observed)) => health::report(&observed),
                Some(None) => health::ended(),
            }
        }
    }

    pub(crate) fn forget(&self) -> Forget {
        Forget {
            observer: self.observer.clone(),
            state: self.context.options.state.clone(),
        }
    }

    /// Comes when the file of a database is deleted that can be restored.
    pub(crate) async fn deleted(&self) {
        let Some(running) = &self.running else {
            return std::future::pending().await;
        };
        loop {
            running.monitor.lost().await;
            if !self.restorable().is_empty() {
                return;
            }
            // Its first upload may be under way.
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// The databases whose files were deleted and that some replica has.
    pub(crate) fn restorable(&self) -> Vec<String> {
        let Some(running) = &self.running else {
            return Vec::new();
        };
        let missing = running.monitor.missing();
        let (stored, not_stored): (Vec<_>, Vec<_>) = missing
            .into_iter()
            .partition(|name| status_of(&running.follower, name).iter().any(is_source));
        for name in not_stored {
            if running.monitor.is_news(&name) {
                tracing::error!(
                    database = name,
                    "its file was deleted, and no replica has it yet: what the app still has open can be copied from /proc/PID/fd before it ends"
                );
            }
        }
        stored
    }

    /// Restores what was deleted, with all that was committed to it. No process may have it open any
    /// more. Tries until it is done.
    pub(crate) async fn restore_deleted(&self) {
        let Some(running) = &self.running else {
            return;
        };
        let missing = self.restorable();
        if missing.is_empty() {
            return;
        }
        let (context, follower) = (self.context.clone(), running.follower.clone());
        self.on_runtime(async move {
            for name in missing {
                restore_deleted(&context, &follower, &name).await;
            }
        })
        .await;
    }

    /// Longest time that [`stop`](Self::stop) takes.
    pub(crate) fn stop_time(&self) -> Duration {
        let sync_time = self.context.options.sync_time;
        // The last second is for what ends a moment after its time.
        sync_time + 2 * ABORT_TIME_MAX + RELEASE_TIME_MAX + Duration::from_secs(1)
    }

    /// Stores what is not stored yet, gives the leases back, and ends.
    pub(crate) async fn stop(&mut self) {
        let Some(running) = self.running.take() else {
            return;
        };
        let limit = self.context.options.sync_time;
        let unfinished = self.unfinished.clone();
        self.on_runtime(async move {
            let began = Instant::now();
            for task in running.tasks {
                task.abort();
                let _ = task.await;
            }
            let synced = super::report::last_sync(&running.follower, limit).await;
            let is_any_followed = !running.follower.status().is_empty();
            unfinished.store(synced.is_err(), Ordering::Relaxed);
            // Nothing is written any more. A destination that does not answer cannot delay the end.
            let release_time = match synced.is_ok() {
                true => RELEASE_TIME_MAX,
                false => ABORT_TIME_MAX,
            };
            if let Some(follower) = alone(running.follower).await {
                let _ = tokio::time::timeout(release_time, follower.stop(release_time)).await;
            }
            let took_ms = began.elapsed().as_millis() as u64;
            match synced {
                Ok(()) if !is_any_followed => tracing::warn!(
                    "no database was replicated: the data directory has none. If the app has stored anything, it is elsewhere"
                ),
                Ok(()) => tracing::info!(took_ms, "all commits are stored in the replicas"),
                Err(error) => {
                    let error = error.to_string();
                    tracing::error!(
                        took_ms,
                        error,
                        "stopped before all commits were stored; the next start continues, on this volume"
                    );
                }
            }
        })
        .await;
    }

    /// After [`stop`](Self::stop): whether everything that was committed is stored.
    pub(crate) fn is_all_stored(&self) -> bool {
        !self.unfinished.load(Ordering::Relaxed)
    }

    /// Runs `work` on the runtime; it ends when the caller does not wait for it any more.
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
            // This may be dropped on another runtime, where waiting is not allowed.
            runtime.shutdown_background();
        }
    }
}

/// A task that is aborted when this is dropped.
struct Ended<T>(JoinHandle<T>);

impl<T> Drop for Ended<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The follower, once no task has it any more: one that was aborted may take a moment to end.
async fn alone(mut follower: Arc<Follower>) -> Option<Follower> {
    let until = Instant::now() + ABORT_TIME_MAX;
    loop {
        follower = match Arc::try_unwrap(follower) {
            Ok(follower) => return Some(follower),
            Err(_) if Instant::now() >= until => return None,
            Err(shared) => shared,
        };
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn follow(
    context: &Arc<Context>,
    record: Record,
    heartbeat: Option<Heartbeat>,
    findings: Arc<Findings>,
) -> Result<Running, ReplicationError> {
    let options = context.options.clone();
    let (volume, state) = (&context.volume, &options.state);
    let monitor = DeletionMonitor::new(
        volume,
        state,
        &context.main,
        options.heal,
        options.find,
        record,
    );
    let monitor = Arc::new(monitor);
    let finder = monitor.clone();
    let follower = Follower::start(
        volume,
        state,
        options.destinations,
        Arc::new(move || finder.find()),
        options.follow,
    );
    let follower = Arc::new(follower.map_err(ReplicationError::Follow)?);
    let mut tasks = vec![
        tokio::spawn(forget_deleted(follower.clone(), monitor.clone())),
        tokio::spawn(watch(follower.clone())),
    ];
    let observer = Observer {
        context: context.clone(),
        follower: Arc::downgrade(&follower),
        monitor: monitor.clone(),
        failed: Arc::default(),
        findings,
    };
    tasks.extend(maintenance::start(context, &follower, &observer.failed));
    if let Some(heartbeat) = heartbeat {
        tasks.push(tokio::spawn(beat(heartbeat, observer.clone())));
    }
    Ok(Running {
        follower,
        monitor,
        observer,
        tasks,
    })
}

async fn watch(follower: Arc<Follower>) {
    report::watch(&follower).await;
}

async fn beat(heartbeat: Heartbeat, observer: Observer) {
    // No database at all is not well.
    let observed = || observer.observe().unwrap_or_default();
    heartbeat.beat_while_well(observed).await;
}

/// Ends the following of what was deleted on purpose.
async fn forget_deleted(follower: Arc<Follower>, monitor: Arc<DeletionMonitor>) {
    loop {
        for path in monitor.deleted().await {
            follower.forget(&path);
        }
    }
}
