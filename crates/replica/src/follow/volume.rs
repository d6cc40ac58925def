//! Follows every database of a volume, in every destination.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::database::{Database, Handle, Shared};
use super::flusher::Flusher;
use super::leaser::WritePermit;
use super::leases::Leases;
use super::pending::Pending;
use super::space;
use super::state_files::StateFiles;
use super::status::{Board, Failure, State, Status};
use super::uploader::{Settings, Uploader};
use super::watch::{Event, Watch};
use crate::class::ErrorClass;
use crate::error::{Error, Result};
use crate::history::Policy;
use crate::storage::Destination;
use crate::wal::{Budget, check_sqlite};
use monolite_platform::clock::{Clock, SystemClock};
use monolite_sqlite_format::wal_path;

/// Descriptors that a followed database needs, at most.
const DESCRIPTORS_EACH: usize = 11;
/// Descriptors for all else: connections to destinations, snapshots that are read, temporary files.
const DESCRIPTORS_RESERVED: usize = 40;
/// Databases that are read at the same moment.
const READERS: usize = 4;
/// Databases whose pages are all compared at the same moment.
const COMPARERS: usize = 2;
/// The shortest and the longest pause between two reads of a log that is written
/// all the time.
const READ_PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(100));
/// The shortest sync interval.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(50);

/// Names the databases of a volume.
pub type Find = Arc<dyn Fn() -> Vec<PathBuf> + Send + Sync>;

/// How a volume is followed.
#[derive(Clone)]
pub struct FollowOptions {
    /// At least so long between two files of one database. Default 1 s; 50 ms
    /// is the shortest.
    pub sync_interval: Duration,
    /// A whole snapshot is sent so often, while there are changes. Default: 24
    /// hours.
    pub snapshot_every: Duration,
    /// What is kept, and for how long.
    pub policy: Policy,
    /// Old files are merged and deleted so often, while there are changes.
    /// Default: 5 minutes.
    pub maintain_every: Duration,
    /// Whether a sync waits for the work that goes on in the background (merges,
    /// deletions, snapshots): for a process that ends after one sync. Default:
    /// no.
    pub wait_for_background: bool,
    /// Bytes of memory for pages on their way, for all databases together.
    /// Default 32 MiB. What does not fit is read from the database later.
    pub memory: usize,
    /// A directory for files that are as large as a database and soon removed. Default: the state
    /// directory.
    pub scratch: Option<PathBuf>,
    /// One to be used for them where the state directory has too little free space for a database.
    /// Default: none.
    pub spare_scratch: Option<PathBuf>,
    /// Send this volume's databases also where the replica holds a state that
    /// is not an older one of theirs. That state stays restorable.
    pub take_over: bool,
    /// This machine's name, as shown on another machine that wants the lease.
    pub host: String,
    /// The source of time.
    pub clock: Arc<dyn Clock>,
}

impl Default for FollowOptions {
    fn default() -> Self {
        Self {
            sync_interval: Duration::from_secs(1),
            snapshot_every: Duration::from_secs(24 * 3600),
            policy: Policy::default(),
            maintain_every: Duration::from_secs(300),
            wait_for_background: false,
            memory: 32 << 20,
            scratch: None,
            spare_scratch: None,
            take_over: false,
            host: String::new(),
            clock: Arc::new(SystemClock),
        }
    }
}

/// Follows a volume until [`stop`](Self::stop) is called.
pub struct Follower {
    inner: Arc<Inner>,
    watch: Watch,
    finder: tokio::task::JoinHandle<()>,
}

struct Inner {
    volume: PathBuf,
    state: PathBuf,
    find: Find,
    options: FollowOptions,
    leases: Leases,
    shared: Arc<Shared>,
    followed: Mutex<HashMap<PathBuf, Followed>>,
    names: Notify,
    /// Descriptors that were open before the first database was followed.
    open_before: OnceLock<usize>,
    not_followed: Mutex<Option<NotFollowed>>,
    tasks: Mutex<JoinSet<()>>,
}

/// The databases that cannot be followed.
#[derive(Clone)]
struct NotFollowed {
    /// How many they are.
    count: usize,
    /// One of them.
    first: String,
    why: &'static str,
    since_ms: i64,
}

impl NotFollowed {
    fn failure(&self) -> Failure {
        let Self {
            count, first, why, ..
        } = self;
        let error = format!("{count} databases are not replicated, the first is {first:?}: {why}");
        Failure::new(error, ErrorClass::Permanent, self.since_ms)
    }
}

/// One database.
#[derive(Clone)]
struct Followed {
    handle: Handle,
    uploads: Vec<Upload>,
    problem: Arc<Mutex<Problem>>,
}

/// What the task that reads it reports.
#[derive(Default, Clone)]
struct Problem {
    /// Why it cannot be read.
    failure: Option<Failure>,
    advice: Option<String>,
}

#[derive(Clone)]
struct Upload {
    flusher: Flusher,
    board: Arc<Board>,
    pending: Arc<Pending>,
    broken: Arc<Mutex<Option<String>>>,
}

impl Follower {
    /// Begins to follow the databases that `find` names, in `volume`, and to
    /// send them to `destinations`. `state` is a directory for what has to be
    /// known after a restart; losing it costs a download, no data. Blocks while
    /// the directories of the volume are listed; needs a tokio runtime.
    ///
    /// # Errors
    /// The program's SQLite is too old, the state directory cannot be written, or
    /// the kernel does not let the volume be watched. Not: a destination that cannot be reached, which is
    /// tried again for ever and reported by [`status`](Self::status).
    pub fn start(
        volume: &Path,
        state: &Path,
        destinations: Vec<Destination>,
        find: Find,
        options: FollowOptions,
    ) -> Result<Self> {
        let (host, take_over) = (&options.host, options.take_over);
        let leases = Leases::new(state, destinations, host, take_over, &*options.clock)?;
        Self::start_with(volume, state, leases, find, options)
    }

    /// As [`start`](Self::start), with leases that may be held already.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_with(
        volume: &Path,
        state: &Path,
        leases: Leases,
        find: Find,
        options: FollowOptions,
    ) -> Result<Self> {
        check_sqlite()?;
        let inner = Arc::new(Inner {
            volume: volume.into(),
            state: state.into(),
            find,
            leases,
            shared: Arc::new(Shared {
                budget: Budget::new(options.memory),
                readers: Semaphore::new(READERS),
                comparers: Semaphore::new(COMPARERS),
                clock: options.clock.clone(),
            }),
            options,
            followed: Mutex::default(),
            names: Notify::new(),
            open_before: OnceLock::new(),
            not_followed: Mutex::default(),
            tasks: Mutex::default(),
        });
        let watcher = inner.clone();
        let watch = Watch::start(volume, move |event| watcher.handle(&event))
            .map_err(|error| Error::file(volume, error.into()))?;
        // After the watch began: what comes meanwhile is not missed.
        let finder = tokio::spawn(find_databases(inner.clone()));
        Ok(Self {
            inner,
            watch,
            finder,
        })
    }

    /// The status of each database in each destination, by name. If databases
    /// cannot be followed, the first of them has one that says how many they are.
    #[must_use]
    pub fn status(&self) -> Vec<Status> {
        let now = self.inner.shared.clock.now_ms();
        let mut all = Vec::new();
        for followed in self.inner.followed().values() {
            let problem = followed.problem.lock();
            let problem = problem.unwrap_or_else(PoisonError::into_inner).clone();
            for upload in &followed.uploads {
                let mut status = upload.board.read();
                let since = upload.pending.since_ms();
                status.lag_ms = since.map_or(0, |ms| u64::try_from(now - ms).unwrap_or(0));
                status.failure = problem.failure.clone().or(status.failure);
                status.advice = problem.advice.clone().or(status.advice);
                all.push(status);
            }
        }
        if let Some(not_followed) = &*self.inner.not_followed() {
            for (destination, _) in self.inner.leases.all() {
                let mut status = Status::new(not_followed.first.clone(), destination.name());
                status.state = State::Retrying;
                status.failure = Some(not_followed.failure());
                all.push(status);
            }
        }
        all.sort_by(|a, b| (&a.database, &a.destination).cmp(&(&b.database, &b.destination)));
        all
    }

    /// Returns once every database that exists now is followed.
    pub async fn find(&self) {
        // Directories may be large, and disks slow.
        let finder = self.inner.clone();
        let _ = tokio::task::spawn_blocking(move || finder.find_new()).await;
    }

    /// Returns once everything that was committed before this call is stored in
    /// every destination.
    ///
    /// # Errors
    /// Not within `limit`: which databases are not, and why. Does not wait for
    /// `limit` where a permanent error is in the way, but for all that can be
    /// stored.
    pub async fn sync(&self, limit: Duration) -> Result<()> {
        self.flush(limit, false).await
    }

    /// As [`sync`](Self::sync), and makes sure that each destination that something was
    /// sent to still has all that its newest states need; it gets new snapshots
    /// otherwise, and [`Status::repair`] says so.
    ///
    /// # Errors
    /// As [`sync`](Self::sync).
    pub async fn audit(&self, limit: Duration) -> Result<()> {
        self.flush(limit, true).await
    }

    /// `is_audited`: each destination is asked, too, whether what was sent is still there.
    async fn flush(&self, limit: Duration, is_audited: bool) -> Result<()> {
        let all = async {
            // A database that came just now is to be found first.
            self.find().await;
            let mut flushes = JoinSet::new();
            for followed in self.inner.followed().values().cloned() {
                flushes.spawn(async move {
                    followed.handle.read_now().await.map_err(|_| ())?;
                    // Each destination, even if another one fails.
                    let flushes = followed.uploads.iter().map(|s| s.flusher.flush(is_audited));
                    let flushed = join_all(flushes).await;
                    flushed.into_iter().collect::<Result<(), ()>>()
                });
            }
            let mut done = self.inner.not_followed().is_none();
            while let Some(flushed) = flushes.join_next().await {
                done &= matches!(flushed, Ok(Ok(())));
            }
            done
        };
        match tokio::time::timeout(limit, all).await {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(self.not_synced()),
        }
    }

    /// As [`sync`](Self::sync), for one database and the destination of this
    /// name. Also for a database whose file is gone: what was committed to it
    /// can still be read for a while.
    ///
    /// # Errors
    /// As of [`sync`](Self::sync); or it is not followed.
    pub async fn sync_to(&self, database: &Path, to: &str, limit: Duration) -> Result<()> {
        let followed = self.inner.followed().get(database).cloned();
        let Some(followed) = followed else {
            return Err(Error::Closed);
        };
        let is_it = |upload: &&Upload| upload.board.read().destination == to;
        let upload = followed.uploads.iter().find(is_it).ok_or(Error::Closed)?;
        let all = async {
            followed.handle.read_now().await.map_err(|_| ())?;
            upload.flusher.flush(false).await
        };
        match tokio::time::timeout(limit, all).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(())) | Err(_) => Err(self.not_synced()),
        }
    }

    /// Has a new snapshot of a database stored in the destination of this name, at
    /// once: what is there was found not to lead to its newest state. `why` is reported
    /// as [`Status::repair`]. Returns `false` if it is not followed.
    pub fn repair(&self, database: &str, to: &str, why: &str) -> bool {
        let path = self.inner.volume.join(database);
        let Some(followed) = self.inner.followed().get(&path).cloned() else {
            return false;
        };
        let is_it = |upload: &&Upload| upload.board.read().destination == to;
        let Some(upload) = followed.uploads.into_iter().find(|upload| is_it(&upload)) else {
            return false;
        };
        *upload.broken.lock().unwrap_or_else(PoisonError::into_inner) = Some(why.into());
        // Wakes the task; nobody waits for it.
        tokio::spawn(async move { upload.flusher.flush(false).await });
        true
    }

    /// Stops following a database that no longer exists. A new file of its name
    /// is found again.
    pub fn forget(&self, database: &Path) {
        self.inner.followed().remove(database);
    }

    fn not_synced(&self) -> Error {
        let mut why: Vec<String> = self
            .status()
            .into_iter()
            .filter(|status| status.lag_ms > 0 || status.failure.is_some())
            .map(|status| {
                let error = status.error().unwrap_or("not done yet");
                format!("{} to {}: {error}", status.database, status.destination)
            })
            .collect();
        if why.is_empty() {
            why.push("it could not be determined in time".into());
        }
        Error::NotSynced {
            why: why.join("; "),
        }
    }

    /// Stores what is committed, makes sure that what was sent is still there, gives the
    /// leases back, and ends, all within
    /// `limit`. A quarter of it, and at most 5 s, is kept for ending.
    ///
    /// # Errors
    /// As [`sync`](Self::sync); it has ended all the same.
    pub async fn stop(self, limit: Duration) -> Result<()> {
        let end = Instant::now() + limit;
        let reserve = (limit / 4).min(END_MAX);
        let synced = self.flush(limit.saturating_sub(reserve), true).await;
        self.finder.abort();
        let _ = self.finder.await;
        drop(self.watch);
        // The tasks end with their handles.
        self.inner.followed().clear();
        let mut tasks = std::mem::take(&mut *self.inner.tasks());
        let ended = async { while tasks.join_next().await.is_some() {} };
        // A request that gets no answer is not waited for.
        let _ = tokio::time::timeout_at(end - reserve / 2, ended).await;
        tasks.abort_all();
        while tasks.join_next().await.is_some() {}
        let _ = tokio::time::timeout_at(end, self.inner.leases.release(synced.is_ok())).await;
        synced
    }

    /// Ends within `limit` without storing anything more, and keeps the leases for
    /// the one who began it with them: for a volume whose replica another machine
    /// writes.
    pub async fn abandon(self, limit: Duration) {
        self.finder.abort();
        let _ = self.finder.await;
        drop(self.watch);
        self.inner.followed().clear();
        let mut tasks = std::mem::take(&mut *self.inner.tasks());
        let ended = async { while tasks.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(limit, ended).await;
        tasks.abort_all();
        while tasks.join_next().await.is_some() {}
    }
}

/// The shortest pause between two searches for new databases, however many files come
/// and go.
const FIND_PAUSE: Duration = Duration::from_millis(250);
/// The pause is so many times as long as a search took: with millions of files it takes seconds.
const FIND_PAUSE_FACTOR: u32 = 20;
/// How much of a stop's time is kept for tasks to end, at most.
const END_MAX: Duration = Duration::from_secs(5);

async fn find_databases(inner: Arc<Inner>) {
    loop {
        let (finder, began) = (inner.clone(), Instant::now());
        // Directories may be large, and disks slow.
        let _ = tokio::task::spawn_blocking(move || finder.find_new()).await;
        let pause = (began.elapsed() * FIND_PAUSE_FACTOR).max(FIND_PAUSE);
        inner.names.notified().await;
        tokio::time::sleep(pause).await;
    }
}

/// If there are more than can be followed, those that were written last come first.
fn in_order_of_use(mut found: Vec<PathBuf>, most: usize) -> Vec<PathBuf> {
    if found.len() > most {
        let modified = |path: &Path| std::fs::metadata(path).and_then(|of| of.modified()).ok();
        found.sort_by_cached_key(|path| {
            let last = modified(path).max(modified(&wal_path(path)));
            std::cmp::Reverse(last.unwrap_or(SystemTime::UNIX_EPOCH))
        });
    }
    found
}

impl Inner {
    fn handle(&self, event: &Event) {
        match event {
            Event::Written(path) => {
                let known = self.followed().get(path).map(|f| f.handle.clone());
                match known {
                    Some(handle) => handle.written(),
                    // Its first bytes: now it may be a database.
                    None => self.names.notify_one(),
                }
            }
            Event::Names => self.names.notify_one(),
            Event::All => {
                for followed in self.followed().values() {
                    followed.handle.written();
                }
                self.names.notify_one();
            }
        }
    }

    /// Begins to follow what is not followed yet.
    fn find_new(self: &Arc<Self>) {
        let mut left_out: Option<NotFollowed> = None;
        let found = (self.find)();
        let most = self.databases_max();
        for path in in_order_of_use(found, most) {
            let mut followed = self.followed();
            if followed.contains_key(&path) {
                continue;
            }
            let why = if followed.len() >= most {
                "this process may not have enough files open for more; raise its limit (`ulimit -n`, \
                 LimitNOFILE of systemd, --ulimit nofile of docker)"
            } else if let Some(new) = self.follow(&path) {
                followed.insert(path, new);
                continue;
            } else {
                "its path is not UTF-8"
            };
            let name = path.strip_prefix(&self.volume).unwrap_or(&path);
            let first = || NotFollowed {
                count: 0,
                first: name.to_string_lossy().into_owned(),
                why,
                since_ms: self.shared.clock.now_ms(),
            };
            left_out.get_or_insert_with(first).count += 1;
        }
        let mut not_followed = self.not_followed();
        if let (Some(now), Some(before)) = (&mut left_out, &*not_followed) {
            now.since_ms = before.since_ms;
        }
        *not_followed = left_out;
    }

    /// How many databases can be followed with the descriptors that this process may have. What is
    /// open when the first is found is not ours.
    fn databases_max(&self) -> usize {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        let limit = limit.current.and_then(|limit| usize::try_from(limit).ok());
        let Some(limit) = limit else {
            return usize::MAX;
        };
        let others = *self.open_before.get_or_init(|| {
            let own = std::fs::read_dir("/proc/self/fd");
            own.map_or(0, Iterator::count)
        });
        limit.saturating_sub(others + DESCRIPTORS_RESERVED) / DESCRIPTORS_EACH
    }

    fn follow(self: &Arc<Self>, path: &Path) -> Option<Followed> {
        // A name that is not UTF-8 cannot be a key in every bucket.
        let name = path.strip_prefix(&self.volume).ok()?.to_str()?.to_owned();
        let problem: Arc<Mutex<Problem>> = Arc::default();
        let reported = problem.clone();
        let queues: Vec<_> = (self.leases.all().iter())
            .map(|_| Arc::new(Pending::new(&self.shared.budget, self.options.memory / 4)))
            .collect();
        let pause = (self.options.sync_interval / 4).clamp(READ_PAUSE.0, READ_PAUSE.1);
        let clock = self.shared.clock.clone();
        let report = move |error: Option<&Error>| {
            let mut problem = reported.lock().unwrap_or_else(PoisonError::into_inner);
            let before = problem.failure.take();
            *problem = match error {
                None => Problem::default(),
                Some(error @ Error::NotWal { .. }) => Problem {
                    failure: None,
                    advice: Some(error.to_string()),
                },
                Some(error) => Problem {
                    failure: Some(Failure::of(error, clock.now_ms(), before.as_ref())),
                    advice: None,
                },
            };
        };
        let shared = self.shared.clone();
        let (database, handle) =
            Database::new(path, queues.clone(), shared, pause, Arc::new(report));
        let mut tasks = self.tasks();
        tasks.spawn(database.run());
        let (set, spare) = (&self.options.scratch, &self.options.spare_scratch);
        let scratch = space::scratch(path, &self.state, set.as_deref(), spare.as_deref());
        let mut uploads = Vec::new();
        for ((destination, leaser), pending) in self.leases.all().iter().zip(queues) {
            let (flusher, flushes) = Flusher::new();
            let board = Board::new(name.clone(), destination.name().into());
            let board = Arc::new(board);
            let permit = Arc::new(WritePermit::new(leaser.clone()));
            let broken: Arc<Mutex<Option<String>>> = Arc::default();
            let uploader = Uploader {
                path: path.into(),
                replica: destination.replica(&name).with_permit(permit.clone()),
                permit,
                pending: pending.clone(),
                database: handle.clone(),
                shared: self.shared.clone(),
                settings: self.settings(),
                board: board.clone(),
                files: StateFiles::new(&self.state, destination.name(), &name)
                    .scratch_in(scratch.clone()),
                flushes,
                broken: broken.clone(),
            };
            tasks.spawn(uploader.run());
            uploads.push(Upload {
                flusher,
                board,
                pending,
                broken,
            });
        }
        Some(Followed {
            handle,
            uploads,
            problem,
        })
    }

    fn settings(&self) -> Settings {
        Settings {
            sync_interval: self.options.sync_interval.max(SHORTEST_INTERVAL),
            snapshot_every: self.options.snapshot_every,
            policy: self.options.policy,
            maintain_every: self.options.maintain_every,
            node_id: self.leases.node_id(),
            wait_for_background: self.options.wait_for_background,
            take_over: self.options.take_over,
        }
    }

    fn followed(&self) -> std::sync::MutexGuard<'_, HashMap<PathBuf, Followed>> {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn not_followed(&self) -> std::sync::MutexGuard<'_, Option<NotFollowed>> {
        self.not_followed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn tasks(&self) -> std::sync::MutexGuard<'_, JoinSet<()>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
