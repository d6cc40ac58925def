//! Which databases of a volume were written to: inotify on its directories.
//!
//! A directory's watch names the file that was written, so that one descriptor
//! serves any number of databases, and none of them is opened for it. The
//! kernel joins equal events while they wait; we read at most every
//! [`AT_MOST_EVERY`], so that hot writers cost no more than slow ones.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::inotify;
use rustix::io::Errno;

/// Between two looks at the kernel's queue.
const AT_MOST_EVERY: Duration = Duration::from_millis(10);
/// Between two looks at all databases while some directory is not watched.
const BLINDLY: Duration = Duration::from_secs(1);
/// Levels of directories that are watched: as many as `monolite-volume` looks for
/// databases in (`walk::LEVELS_MAX`).
const DEPTH: usize = 32;
/// Directories watched, altogether.
const MAX_DIRECTORIES: usize = 1000;

/// What happened on the volume.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Event {
    /// This database, or its log, was written to.
    Written(PathBuf),
    /// Files came or went.
    Names,
    /// Too much to tell: look at everything.
    All,
}

/// The thread that waits for the kernel; ends when this is dropped.
pub(super) struct Watch {
    stop: OwnedFd,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Calls `tell` for what happens in `volume` and below from now on, from a
    /// thread of its own.
    pub(super) fn start(
        volume: &Path,
        tell: impl Fn(Event) + Send + 'static,
    ) -> rustix::io::Result<Self> {
        let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
        let mut directories = Directories {
            inotify: inotify::init(flags)?,
            volume: volume.into(),
            watched: HashMap::new(),
            blind: false,
        };
        directories.find()?;
        let stop = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let stopped = rustix::io::dup(&stop)?;
        let thread = std::thread::Builder::new()
            .name("replica-watch".into())
            .spawn(move || directories.run(&stopped, &tell))
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::AGAIN))?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // Cannot fail: the counter is at zero.
        let _ = rustix::io::write(&self.stop, &1u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Directories {
    inotify: OwnedFd,
    volume: PathBuf,
    watched: HashMap<i32, PathBuf>,
    /// Some directory is not watched.
    blind: bool,
}

impl Directories {
    /// Watches the volume and what directories there are in it.
    fn find(&mut self) -> rustix::io::Result<()> {
        let what = inotify::WatchFlags::MODIFY
            | inotify::WatchFlags::CREATE
            | inotify::WatchFlags::DELETE
            | inotify::WatchFlags::MOVED_FROM
            | inotify::WatchFlags::MOVED_TO
            | inotify::WatchFlags::ONLYDIR;
        // An inode that is watched already keeps its number.
        let volume = inotify::add_watch(&self.inotify, &self.volume, what)?;
        self.watched.insert(volume, self.volume.clone());
        let mut level = vec![self.volume.clone()];
        for _ in 1..DEPTH {
            let mut below = Vec::new();
            for dir in level {
                let entries = std::fs::read_dir(&dir).into_iter().flatten().flatten();
                for entry in entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())) {
                    if entry.file_name() == ".monolite" {
                        continue;
                    }
                    if self.watched.len() >= MAX_DIRECTORIES {
                        self.blind = true;
                        continue;
                    }
                    match inotify::add_watch(&self.inotify, entry.path(), what) {
                        Ok(n) => drop(self.watched.insert(n, entry.path())),
                        // Gone again, or not ours to read.
                        Err(Errno::NOENT | Errno::ACCESS) => continue,
                        // The system's limit of watches.
                        Err(_) => self.blind = true,
                    }
                    below.push(entry.path());
                }
            }
            level = below;
        }
        Ok(())
    }

    fn run(mut self, stop: &OwnedFd, tell: &dyn Fn(Event)) {
        let pause = Timespec::try_from(AT_MOST_EVERY).ok();
        let blindly = Timespec::try_from(BLINDLY).ok();
        loop {
            let mut fds = [
                PollFd::from_borrowed_fd(self.inotify.as_fd(), PollFlags::IN),
                PollFd::from_borrowed_fd(stop.as_fd(), PollFlags::IN),
            ];
            let patience = self.blind.then_some(&blindly).and_then(Option::as_ref);
            let waited = poll(&mut fds, patience);
            if !fds[1].revents().is_empty() {
                return;
            }
            match waited {
                // Some directory could not be watched: look everywhere.
                Ok(0) => {
                    tell(Event::All);
                    continue;
                }
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                // Cannot happen with two good descriptors; never spin.
                Err(_) => std::thread::sleep(Duration::from_secs(1)),
            }
            let events = self.read();
            if events
                .iter()
                .any(|e| matches!(e, Event::Names | Event::All))
            {
                let _ = self.find();
            }
            events.into_iter().for_each(tell);
            let mut fds = [PollFd::from_borrowed_fd(stop.as_fd(), PollFlags::IN)];
            if matches!(poll(&mut fds, pause.as_ref()), Ok(1)) {
                return;
            }
        }
    }

    /// What waits in the kernel's queue, as much as goes in at once, each thing
    /// once.
    fn read(&mut self) -> HashSet<Event> {
        let mut buffer = [std::mem::MaybeUninit::uninit(); 16 << 10];
        let mut reader = inotify::Reader::new(&self.inotify, &mut buffer);
        let mut events = HashSet::new();
        while let Ok(event) = reader.next() {
            let flags = event.events();
            if flags.contains(inotify::ReadFlags::QUEUE_OVERFLOW) {
                events.insert(Event::All);
            } else if flags.contains(inotify::ReadFlags::IGNORED) {
                self.watched.remove(&event.wd());
            } else if flags.contains(inotify::ReadFlags::ISDIR) {
                events.insert(Event::All);
            } else {
                let name = event
                    .file_name()
                    .map(|name| OsStr::from_bytes(name.to_bytes()));
                if let (Some(name), Some(dir)) = (name, self.watched.get(&event.wd())) {
                    let database = database(name);
                    // What lies beside a database comes and goes with its
                    // transactions.
                    if !flags.contains(inotify::ReadFlags::MODIFY) && database == name {
                        events.insert(Event::Names);
                    }
                    events.insert(Event::Written(dir.join(database)));
                }
            }
            // A fast writer makes them faster than they are read: the rest
            // waits, and becomes less meanwhile, for what is told twice is one.
            if reader.is_buffer_empty() {
                break;
            }
        }
        events
    }
}

/// The name of the database whose file or log this is.
fn database(name: &OsStr) -> &OsStr {
    let bytes = name.as_bytes();
    let bytes = [b"-wal".as_slice(), b"-journal", b"-shm"]
        .iter()
        .find_map(|suffix| bytes.strip_suffix(*suffix))
        .unwrap_or(bytes);
    OsStr::from_bytes(bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn writes_and_names_are_told_also_below() {
        let dir = tempfile::tempdir().unwrap();
        let (tx, rx) = channel();
        let watch = Watch::start(dir.path(), move |event| {
            let _ = tx.send(event);
        })
        .unwrap();
        let wait = |wanted: &Event| {
            while &rx.recv_timeout(Duration::from_secs(10)).unwrap() != wanted {}
        };
        std::fs::write(dir.path().join("app.sqlite3-wal"), "1").unwrap();
        wait(&Event::Written(dir.path().join("app.sqlite3")));
        let below = dir.path().join("tenants");
        std::fs::create_dir(&below).unwrap();
        wait(&Event::All);
        let of_tenant = below.join("one.db");
        // The new directory is watched before its coming is told.
        std::fs::write(&of_tenant, "1").unwrap();
        wait(&Event::Written(of_tenant));
        drop(watch);
        assert!(rx.try_iter().count() < 10);
        assert!(rx.recv().is_err(), "the thread is gone");
    }
}
