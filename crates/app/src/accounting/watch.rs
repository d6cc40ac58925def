//! What happens to the names of SQLite's files on the volume: inotify on its directories.
//!
//! Only names are watched, not writes: a busy app costs nothing here. The one exception is the first
//! write to a log that is empty, which is reported once.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use monolite_sqlite_format::wal_path;
use monolite_volume::layout;
use monolite_volume::walk::LEVELS_MAX;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, ReadFlags, WatchFlags};

/// Directories watched, at most. What the app has open in others is found by the next scan.
const DIRECTORIES_MAX: usize = 1000;
/// Bytes of events that are read at once.
const BUFFER_BYTES: usize = 16 << 10;

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    /// This database has a log, or its log is not empty any more.
    Log(PathBuf),
    /// Files were deleted or renamed, or events were lost.
    Names,
}

/// The kernel's queue of events.
pub(super) struct Watch {
    inotify: OwnedFd,
    directories: HashMap<i32, PathBuf>,
    /// Empty logs, by their databases.
    logs: HashMap<i32, PathBuf>,
}

impl Watch {
    /// Watches `volume` and the directories below it.
    pub(super) fn new(volume: &Path) -> rustix::io::Result<Self> {
        let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
        let mut watch = Self {
            inotify: inotify::init(flags)?,
            directories: HashMap::new(),
            logs: HashMap::new(),
        };
        watch.add_below(volume);
        Ok(watch)
    }

    /// Reports the first write to the log of `database`, which is empty now.
    pub(super) fn first_write(&mut self, database: &Path) {
        let once = WatchFlags::MODIFY | WatchFlags::ONESHOT;
        if let Ok(number) = inotify::add_watch(&self.inotify, wal_path(database), once) {
            self.logs.insert(number, database.into());
        }
    }

    /// Waits for events, for `wake` to be readable, or for so long.
    pub(super) fn wait(&mut self, wake: &OwnedFd, limit: Duration) -> Vec<Event> {
        let limit = Timespec::try_from(limit).ok();
        let mut ready = [
            PollFd::from_borrowed_fd(self.inotify.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(wake.as_fd(), PollFlags::IN),
        ];
        // An interrupted wait is a short one.
        let _ = poll(&mut ready, limit.as_ref());
        self.read()
    }

    /// Watches a directory and those below it; answers with the databases that have a log there.
    fn add_below(&mut self, root: &Path) -> Vec<PathBuf> {
        let names = WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVED_TO
            | WatchFlags::ONLYDIR;
        let mut logged = Vec::new();
        let mut level = vec![root.to_owned()];
        for _ in 0..LEVELS_MAX {
            let mut below = Vec::new();
            for dir in level {
                if self.directories.len() >= DIRECTORIES_MAX {
                    return logged;
                }
                if let Ok(number) = inotify::add_watch(&self.inotify, &dir, names) {
                    self.directories.insert(number, dir.clone());
                }
                let entries = std::fs::read_dir(&dir).into_iter().flatten().flatten();
                for entry in entries.filter(|entry| entry.file_name() != layout::STATE) {
                    let name = entry.file_name();
                    if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                        below.push(entry.path());
                    } else if name.as_encoded_bytes().ends_with(b"-wal") {
                        logged.push(dir.join(layout::database_of(&name)));
                    }
                }
            }
            level = below;
        }
        logged
    }

    fn read(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        let mut new_directories = Vec::new();
        let mut buffer = [MaybeUninit::uninit(); BUFFER_BYTES];
        let mut reader = inotify::Reader::new(&self.inotify, &mut buffer);
        while let Ok(event) = reader.next() {
            let flags = event.events();
            if flags.contains(ReadFlags::QUEUE_OVERFLOW) {
                events.push(Event::Names);
            } else if let Some(database) = self.logs.remove(&event.wd()) {
                events.push(Event::Log(database));
            } else if flags.contains(ReadFlags::IGNORED) {
                self.directories.remove(&event.wd());
            } else if let (Some(dir), Some(name)) =
                (self.directories.get(&event.wd()), event.file_name())
            {
                let name = OsStr::from_bytes(name.to_bytes());
                let is_new = flags.intersects(ReadFlags::CREATE | ReadFlags::MOVED_TO);
                let base = layout::database_of(name);
                if flags.contains(ReadFlags::ISDIR) {
                    if is_new && name != layout::STATE {
                        new_directories.push(dir.join(name));
                    }
                    events.push(Event::Names);
                } else if is_new && name.as_encoded_bytes().ends_with(b"-wal") && base != name {
                    events.push(Event::Log(dir.join(base)));
                } else if !name.as_encoded_bytes().ends_with(b"-journal") {
                    // Also a new file: it may have replaced another one.
                    events.push(Event::Names);
                }
            }
        }
        for dir in new_directories {
            // What came before it was watched.
            let logged = self.add_below(&dir);
            events.extend(logged.into_iter().map(Event::Log));
        }
        events.dedup();
        events
    }
}

#[cfg(test)]
mod tests {
    use rustix::event::{EventfdFlags, eventfd};

    use super::*;

    #[test]
    fn a_log_and_its_first_write_are_reported_and_names_that_go() {
        let dir = tempfile::tempdir().unwrap();
        let wake = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
        let mut watch = Watch::new(dir.path()).unwrap();
        let next = |watch: &mut Watch| watch.wait(&wake, Duration::from_secs(5));
        let database = dir.path().join("app.db");
        std::fs::write(wal_path(&database), "").unwrap();
        assert_eq!(next(&mut watch), [Event::Log(database.clone())]);
        watch.first_write(&database);
        std::fs::write(wal_path(&database), "x").unwrap();
        assert_eq!(next(&mut watch)[0], Event::Log(database.clone()));
        std::fs::write(wal_path(&database), "more").unwrap();
        std::fs::remove_file(wal_path(&database)).unwrap();
        assert_eq!(next(&mut watch), [Event::Names], "only the first write");
        let below = dir.path().join("a/b");
        std::fs::create_dir_all(&below).unwrap();
        std::fs::write(below.join("c.db-wal"), "x").unwrap();
        let mut seen = Vec::new();
        while !seen.contains(&Event::Log(below.join("c.db"))) {
            let events = next(&mut watch);
            assert!(!events.is_empty(), "{seen:?}");
            seen.extend(events);
        }
    }
}
