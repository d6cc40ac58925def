//! Wake-ups: learn of a commit, by whichever process, soon after it.
//!
//! On Linux an inotify watch on the `-wal` file says when any process wrote
//! to it; `PRAGMA data_version` then says whether that was a commit. The
//! watch names a path: no descriptor on the database or its `-shm` is opened,
//! since closing one would drop this process's POSIX locks on it.
//!
//! The write seen is not yet the commit: SQLite publishes the commit in shared
//! memory *after* it wrote (and, at `synchronous=FULL`, synced) the WAL, and
//! that makes no event. So after each event the version is asked for again,
//! at least every [`AT_MOST_EVERY`] for the time a sync takes ([`SYNC_TIME`]),
//! then at doubling intervals, until it moves or [`GIVE_UP`] has passed. A later commit
//! writes again, so nothing is missed by giving up.
//!
//! Idle cost: none, the thread sleeps in the kernel. Where inotify is missing
//! (other systems, or its limits are reached) `data_version` is polled every
//! [`POLL`].

#[cfg(target_os = "linux")]
mod inotify;
mod stop;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::sync::watch;

use crate::connection::{self, FileId, Role};
use crate::park::block_on_until;
use crate::{Error, Options, Result};

/// First interval of asking again after an event.
const FIRST_RECHECK: Duration = Duration::from_micros(20);
/// Most disks are done with a commit in this time.
#[cfg(target_os = "linux")]
const SYNC_TIME: Duration = Duration::from_millis(100);
/// A commit that takes longer than this to sync may be noticed only at the next.
const GIVE_UP: Duration = Duration::from_secs(30);
/// Under a stream of commits: at most one wake-up in this time.
const AT_MOST_EVERY: Duration = Duration::from_micros(500);
/// Stands for a timeout beyond what a clock can hold.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);
/// Interval of the fallback.
const POLL: Duration = Duration::from_millis(5);

/// Tells of commits to the store's file. Cheap to clone.
///
/// Wake-ups are merged: one may stand for many commits, and one may come for
/// none; after the last commit there is always one.
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
        let deadline = now.checked_add(timeout).unwrap_or(now + LONGEST);
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
    /// Theirs, also of one whose last watch is gone: its connection may be open
    /// for a moment still, and keep the file from being closed in order.
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

/// Asks for the version of the file as other connections have left it.
struct Version {
    conn: Connection,
    last: i64,
}

impl Version {
    fn read(conn: &Connection) -> Result<i64> {
        let mut statement = conn.prepare_cached("PRAGMA data_version")?;
        Ok(statement.query_row([], |row| row.get(0))?)
    }

    fn moved(&mut self) -> bool {
        match Self::read(&self.conn) {
            Ok(version) => version != std::mem::replace(&mut self.last, version),
            // Better one wake-up too many than one lost.
            Err(_) => true,
        }
    }
}

use stop::Stop;

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
        let mut version = Version {
            last: Version::read(&conn)?,
            conn,
        };
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
                while !thread_stop.wait(POLL) {
                    if version.moved() {
                        raise();
                    }
                }
            })
            .map_err(io("start the watcher thread"))?;
        Ok((Self { stop }, thread))
    }
}
