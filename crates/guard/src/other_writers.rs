//! Which other processes have a database open for writing while a migration runs: what they write is
//! only in the copy of what was rolled back.
//!
//! They are looked for whenever somebody opens a database (inotify), and every so often. One that
//! has a database open for less than the time of a look at `/proc` may not be seen.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use monolite_platform::process::{self, Named, Pid};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::fs::inotify;
use serde::Serialize;

use crate::files;
use crate::processes::is_guarded_on;

/// Longest time between two looks, and until the end is noticed.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// Writers that are remembered.
const WRITERS_MAX: usize = 100;

/// A process that may have written to a database while a migration ran, and is not part of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OtherWriter {
    /// Its name and number, in words.
    pub process: String,
    /// The database, by its path in the volume.
    pub database: PathBuf,
    /// When it was first seen, in milliseconds since 1970.
    pub since_ms: i64,
}

/// Looks for them, from the snapshots on until [`end`](Self::end).
#[derive(Debug)]
pub(crate) struct OtherWriters {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Vec<OtherWriter>>>,
}

impl OtherWriters {
    /// `databases`: the file of each, and its path in the volume.
    pub(crate) fn watch(volume: &Path, databases: Vec<(PathBuf, PathBuf)>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut look = Look::new(volume, databases);
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("guard-writers".into())
            .spawn(move || {
                loop {
                    look.look();
                    if stopped.load(Ordering::Acquire) {
                        return look.seen;
                    }
                    look.wait();
                }
            });
        Self {
            stop,
            // Without it only those are known that are still there at the end.
            thread: thread.ok(),
        }
    }

    pub(crate) fn end(&mut self) -> Vec<OtherWriter> {
        self.stop.store(true, Ordering::Release);
        let thread = self.thread.take();
        thread
            .and_then(|thread| thread.join().ok())
            .unwrap_or_default()
    }
}

impl Drop for OtherWriters {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

struct Look {
    volume: PathBuf,
    /// By each of the files that hold what is written.
    wanted: HashMap<PathBuf, PathBuf>,
    seen: Vec<OtherWriter>,
    pids: Vec<(Pid, PathBuf)>,
    opened: Option<OwnedFd>,
}

impl Look {
    fn new(volume: &Path, databases: Vec<(PathBuf, PathBuf)>) -> Self {
        let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
        let opened = inotify::init(flags).ok();
        let mut wanted = HashMap::new();
        for (file, name) in databases {
            let path = file.canonicalize().unwrap_or(file);
            if let Some(opened) = &opened {
                // If not, they are looked for every so often.
                let _ = inotify::add_watch(opened, &path, inotify::WatchFlags::OPEN);
            }
            for file in files::logs(&path).into_iter().chain([path]) {
                wanted.insert(file, name.clone());
            }
        }
        let volume = volume.canonicalize().unwrap_or_else(|_| volume.into());
        Self {
            volume,
            wanted,
            seen: Vec::new(),
            pids: Vec::new(),
            opened,
        }
    }

    /// Until somebody opens a database, or for [`LOOK_INTERVAL`].
    fn wait(&self) {
        let timeout = Timespec::try_from(LOOK_INTERVAL).ok();
        let Some(opened) = &self.opened else {
            return std::thread::sleep(LOOK_INTERVAL);
        };
        if poll(&mut [PollFd::new(opened, PollFlags::IN)], timeout.as_ref()).is_err() {
            std::thread::sleep(LOOK_INTERVAL);
        }
        let mut events = [0_u8; 4096];
        while rustix::io::read(opened, &mut events).is_ok_and(|bytes| bytes > 0) {}
    }

    fn look(&mut self) {
        let wanted = &self.wanted;
        let open = process::open_elsewhere(|file| {
            wanted.contains_key(file.path()) && file.access().may_write()
        });
        for file in open.unwrap_or_default() {
            let Some(name) = self.wanted.get(file.path()) else {
                continue;
            };
            let known = self
                .pids
                .iter()
                .any(|(pid, of)| *pid == file.pid && of == name);
            if known || self.seen.len() >= WRITERS_MAX || self.is_of_the_migration(file.pid) {
                continue;
            }
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            let now_ms = now.unwrap_or_default().as_millis();
            self.seen.push(OtherWriter {
                process: Named(file.pid).to_string(),
                database: name.clone(),
                since_ms: i64::try_from(now_ms).unwrap_or(i64::MAX),
            });
            self.pids.push((file.pid, name.clone()));
        }
    }

    /// What this process has started, or the guarded command has.
    fn is_of_the_migration(&self, pid: Pid) -> bool {
        let all = process::all().unwrap_or_default();
        let own = rustix::process::getpid();
        let above = process::ancestors(&all, pid);
        above.contains(&own)
            || is_guarded_on(&self.volume, pid)
            || above.iter().any(|pid| is_guarded_on(&self.volume, *pid))
            // It is gone: nobody knows whose it was, and the command's processes come and go.
            || !all.iter().any(|process| process.pid == pid)
    }
}
