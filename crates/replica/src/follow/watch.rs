//! Which databases of a volume were written to: inotify on its directories.
//!
//! A directory's watch names the file that was written, so that one descriptor
//! serves any number of databases, and none of them is opened for it. The
//! kernel joins equal events while they wait; we read at most every
//! [`READ_PAUSE`], so that a busy writer costs no more than a slow one.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

use monolite_volume::layout;
use monolite_volume::walk::LEVELS_MAX;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::inotify;
use rustix::io::Errno;

/// The pause between two reads of the kernel's queue.
const READ_PAUSE: Duration = Duration::from_millis(10);
/// The pause between two reads of all databases while some directory cannot be
/// watched.
const UNWATCHED_PAUSE: Duration = Duration::from_secs(1);
/// Directories watched, altogether.
const MAX_DIRECTORIES: usize = 1000;

/// What happened on the volume.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Event {
    /// This database, or its log, was written to.
    Written(PathBuf),
    /// Files came or went.
    Names,
    /// Events were lost, or a directory changed: read everything.
    All,
}

/// The thread that waits for the kernel; ends when this is dropped.
pub(super) struct Watch {
    stop: OwnedFd,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Calls `notify` for what happens in `volume` and below from now on, from a
    /// thread of its own.
    pub(super) fn start(
        volume: &Path,
        notify: impl Fn(Event) + Send + 'static,
    ) -> rustix::io::Result<Self> {
        let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
        let mut directories = Directories {
            inotify: inotify::init(flags)?,
            volume: volume.into(),
            watched: HashMap::new(),
            incomplete: false,
        };
        directories.find()?;
        let stop = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let stopped = rustix::io::dup(&stop)?;
        let thread = std::thread::Builder::new()
            .name("replica-watch".into())
            .spawn(move || directories.run(&stopped, &notify))
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
    incomplete: bool,
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
        self.incomplete = false;
        let mut level = vec![self.volume.clone()];
        for _ in 1..LEVELS_MAX {
            let mut below = Vec::new();
            for dir in level {
                let entries = std::fs::read_dir(&dir).into_iter().flatten().flatten();
                for entry in entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())) {
                    if entry.file_name() == layout::STATE {
                        continue;
                    }
                    if self.watched.len() >= MAX_DIRECTORIES {
                        self.incomplete = true;
                        continue;
                    }
                    match inotify::add_watch(&self.inotify, entry.path(), what) {
                        Ok(n) => drop(self.watched.insert(n, entry.path())),
                        // Gone again, or not ours to read.
                        Err(Errno::NOENT | Errno::ACCESS) => continue,
                        // The system's limit of watches.
                        Err(_) => self.incomplete = true,
                    }
                    below.push(entry.path());
                }
            }
            level = below;
        }
        Ok(())
    }

    fn run(mut self, stop: &OwnedFd, notify: &dyn Fn(Event)) {
        let pause = Timespec::try_from(READ_PAUSE).ok();
        let unwatched = Timespec::try_from(UNWATCHED_PAUSE).ok();
        loop {
            let mut fds = [
                PollFd::from_borrowed_fd(self.inotify.as_fd(), PollFlags::IN),
                PollFd::from_borrowed_fd(stop.as_fd(), PollFlags::IN),
            ];
            let timeout = self
                .incomplete
                .then_some(&unwatched)
                .and_then(Option::as_ref);
            let waited = poll(&mut fds, timeout);
            if !fds[1].revents().is_empty() {
                return;
            }
            match waited {
                // Some directory could not be watched: look everywhere.
                Ok(0) => {
                    notify(Event::All);
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
            events.into_iter().for_each(notify);
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
                    let database = layout::database_of(name);
                    // A database's log and journal come and go with its
                    // transactions.
                    if !flags.contains(inotify::ReadFlags::MODIFY) && database == name {
                        events.insert(Event::Names);
                    }
                    events.insert(Event::Written(dir.join(database)));
                }
            }
            // A fast writer makes them faster than they are read. The rest waits,
            // and the kernel joins equal events meanwhile.
            if reader.is_buffer_empty() {
                break;
            }
        }
        events
    }
}

#[cfg(test)]
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
        // The new directory is watched before its event is reported.
        std::fs::write(&of_tenant, "1").unwrap();
        wait(&Event::Written(of_tenant));
        drop(watch);
        assert!(rx.try_iter().count() < 10);
        assert!(rx.recv().is_err(), "the thread is gone");
    }
}
