//! Wake-ups: notice a commit of any process soon after it.
//!
//! On Linux an inotify watch on the `-wal` file reports writes by any process;
//! `PRAGMA data_version` then says whether that was a commit. The watch names a
//! path: no descriptor on the database or its `-shm` is opened, since closing one
//! would drop this process's POSIX locks on it.
//!
//! The write is not yet the commit: SQLite publishes the commit in shared memory
//! *after* it wrote (and, at `synchronous=FULL`, synced) the WAL, and that makes no
//! event. So after each event the version is read again, at least every 500 µs for
//! 100 ms, in which most disks sync, then at doubling intervals, until it changes or
//! 30 s have passed. A later commit writes again, so giving up misses nothing.
//!
//! While nothing is written the thread sleeps in the kernel. Without inotify (other
//! systems, or its limits are reached) `data_version` is read every 5 ms.

#[cfg(target_os = "linux")]
mod inotify;
mod stop;
mod version;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::connection::{self, FileId, Role};
use crate::park::block_on_until;
use crate::{Error, Options, Result};
use stop::Stop;
use version::Version;

/// Used for a timeout that a clock cannot represent.
const TIMEOUT_MAX: Duration = Duration::from_secs(365 * 24 * 3600);
/// Interval of reading the version without inotify.
const POLL_EVERY: Duration = Duration::from_millis(5);

/// Wakes at commits to the store's file. Cheap to clone.
///
/// Wake-ups are merged: one may stand for many commits, and one may come without a
/// commit; after the last commit there is always one.
#[derive(Clone)]
pub struct Watch {
    commits: watch::Receiver<u64>,
    _watcher: Arc<Watcher>,
}

impl Watch {
    /// Waits for a commit made since the last call (or since the watch was
    /// made).
    ///
    /// # Errors
    /// [`Error::Closed`] once the store is closed.
    pub async fn changed(&mut self) -> Result<()> {
        self.commits.changed().await.map_err(|_| Error::Closed)
    }

    /// As [`Watch::changed`], blocking this thread for at most `timeout`;
    /// false if nothing was committed meanwhile.
    ///
    /// # Errors
    /// [`Error::Closed`] once the store is closed.
    pub fn changed_blocking(&mut self, timeout: Duration) -> Result<bool> {
        let now = Instant::now();
        let deadline = now.checked_add(timeout).unwrap_or(now + TIMEOUT_MAX);
        match block_on_until(self.commits.changed(), deadline) {
            None => Ok(false),
            Some(Ok(())) => Ok(true),
            Some(Err(_)) => Err(Error::Closed),
        }
    }
}

/// Starts the watcher thread when the first watch is made, and lets it end
/// with the last.
pub(crate) struct Watches {
    path: PathBuf,
    file: Option<FileId>,
    options: Options,
    state: Mutex<State>,
}

struct State {
    /// `None` once closed.
    commits: Option<watch::Sender<u64>>,
    running: Weak<Watcher>,
    /// Of the watchers, including one whose last watch was dropped: its connection
    /// may still be open for a moment, and would keep SQLite from removing the WAL.
    threads: Vec<JoinHandle<()>>,
}

impl Watches {
    pub(crate) fn new(
        path: &Path,
        file: Option<FileId>,
        options: &Options,
        commits: watch::Sender<u64>,
    ) -> Self {
        Self {
            path: path.into(),
            file,
            options: options.clone(),
            state: Mutex::new(State {
                commits: Some(commits),
                running: Weak::new(),
                threads: Vec::new(),
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn watch(&self) -> Result<Watch> {
        let mut state = self.lock();
        let commits = state.commits.clone().ok_or(Error::Closed)?;
        let receiver = commits.subscribe();
        let watcher = match state.running.upgrade() {
            Some(watcher) => watcher,
            None => {
                let (started, thread) =
                    Watcher::start(&self.path, self.file, &self.options, commits)?;
                state.threads.retain(|thread| !thread.is_finished());
                state.threads.push(thread);
                let watcher = Arc::new(started);
                state.running = Arc::downgrade(&watcher);
                watcher
            }
        };
        Ok(Watch {
            commits: receiver,
            _watcher: watcher,
        })
    }

    /// Ends every watch with [`Error::Closed`].
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.commits = None;
        if let Some(watcher) = state.running.upgrade() {
            watcher.stop.set();
        }
    }

    /// As [`Watches::close`], and waits until the watcher's connection is
    /// closed as well.
    pub(crate) fn join(&self) {
        self.close();
        let threads = std::mem::take(&mut self.lock().threads);
        for thread in threads {
            let _ = thread.join();
        }
    }
}

struct Watcher {
    stop: Arc<Stop>,
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.stop.set();
    }
}

impl Watcher {
    fn start(
        path: &Path,
        file: Option<FileId>,
        options: &Options,
        commits: watch::Sender<u64>,
    ) -> Result<(Self, JoinHandle<()>)> {
        let conn = connection::open(path, options, Role::Reader(file))?;
        let mut version = Version::new(conn)?;
        let io = |what| move |source: std::io::Error| Error::Io { what, source };
        let stop = Arc::new(Stop::new().map_err(io("make an eventfd"))?);
        #[cfg(target_os = "linux")]
        let events = inotify::Events::new(path).ok();
        let thread_stop = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("monolite-watch".into())
            .spawn(move || {
                let raise = || commits.send_modify(|count| *count += 1);
                #[cfg(target_os = "linux")]
                if let Some(events) = events {
                    return inotify::follow(&events, &mut version, &thread_stop, raise);
                }
                while !thread_stop.wait(POLL_EVERY) {
                    if version.moved() {
                        raise();
                    }
                }
            })
            .map_err(io("start the watcher thread"))?;
        Ok((Self { stop }, thread))
    }
}
