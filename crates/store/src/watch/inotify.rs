//! Waits for writes to the `-wal` file with inotify.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use monolite_sqlite_format::wal_path;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;
use rustix::io::Errno;

use super::stop::Stop;
use super::version::Version;

/// First pause before the version is read again after an event.
const FIRST_RECHECK: Duration = Duration::from_micros(20);
/// Most disks sync a commit in this time.
const SYNC_TIME: Duration = Duration::from_millis(100);
/// A commit whose sync takes longer than this may be noticed only at the next one.
const SYNC_TIME_MAX: Duration = Duration::from_secs(30);
/// Least time between two wake-ups while commits follow each other.
const WAKE_EVERY: Duration = Duration::from_micros(500);
/// Pause before the WAL is looked for again after it was deleted.
const REWATCH_EVERY: Duration = Duration::from_millis(5);

pub(super) struct Events {
    inotify: OwnedFd,
    wal: PathBuf,
}

enum Event {
    Written,
    /// The watched file is gone: watch the next one.
    Gone,
    Stop,
    Timeout,
}

impl Events {
    pub(super) fn new(database: &Path) -> rustix::io::Result<Self> {
        let inotify =
            inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
        let events = Self {
            inotify,
            wal: wal_path(database),
        };
        events.watch()?;
        Ok(events)
    }

    fn watch(&self) -> rustix::io::Result<()> {
        let what = inotify::WatchFlags::MODIFY
            | inotify::WatchFlags::DELETE_SELF
            | inotify::WatchFlags::MOVE_SELF;
        inotify::add_watch(&self.inotify, &self.wal, what).map(drop)
    }

    /// Sleeps until something happens, or for `timeout`.
    fn next(&self, stop: &Stop, timeout: Option<Duration>) -> Event {
        let timeout = timeout.and_then(|t| Timespec::try_from(t).ok());
        let mut fds = [
            PollFd::new(&self.inotify, PollFlags::IN),
            PollFd::from_borrowed_fd(stop.fd(), PollFlags::IN),
        ];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(0) => return Event::Timeout,
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => {
                // Not possible with two open descriptors; never spin.
                std::thread::sleep(REWATCH_EVERY);
                return Event::Written;
            }
        }
        if stop.is_set() {
            return Event::Stop;
        }
        self.drain()
    }

    fn drain(&self) -> Event {
        let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&self.inotify, &mut buffer);
        let mut seen = Event::Timeout;
        while let Ok(event) = reader.next() {
            let flags = event.events();
            let gone = inotify::ReadFlags::DELETE_SELF
                | inotify::ReadFlags::MOVE_SELF
                | inotify::ReadFlags::IGNORED;
            if flags.intersects(gone) {
                seen = Event::Gone;
            } else if !matches!(seen, Event::Gone) {
                // MODIFY, or an overflow of the kernel's queue.
                seen = Event::Written;
            }
        }
        seen
    }
}

pub(super) fn follow(events: &Events, version: &mut Version, stop: &Stop, raise: impl Fn()) {
    let mut raised: Option<Instant> = None;
    // A write was seen and its commit was not: since when, and the next pause.
    // Also at first: a write may have come before the watch.
    let mut pending = Some((Instant::now(), FIRST_RECHECK));
    let mut unwatched = false;
    loop {
        let timeout = match (unwatched, pending) {
            (true, _) => Some(REWATCH_EVERY),
            (false, Some((_, wait))) => Some(wait),
            (false, None) => None,
        };
        match events.next(stop, timeout) {
            Event::Stop => return,
            Event::Gone => unwatched = true,
            Event::Written => pending = Some((Instant::now(), FIRST_RECHECK)),
            Event::Timeout => {}
        }
        if unwatched {
            unwatched = events.watch().is_err();
            // Writes before the new watch made no event.
            pending = Some((Instant::now(), FIRST_RECHECK));
        }
        if let Some(since) = raised.map(|at| at.elapsed())
            && since < WAKE_EVERY
            && stop.wait(WAKE_EVERY - since)
        {
            return;
        }
        if version.moved() {
            raise();
            raised = Some(Instant::now());
            // A write may have followed the commit; look again.
            pending = Some((Instant::now(), FIRST_RECHECK));
        } else if let Some((since, wait)) = pending {
            let passed = since.elapsed();
            pending = (passed < SYNC_TIME_MAX).then_some((since, next_wait(wait, passed)));
        }
    }
}

/// The next pause before the version is read again, `passed` after the write.
fn next_wait(wait: Duration, passed: Duration) -> Duration {
    if passed < SYNC_TIME {
        (wait * 2).min(WAKE_EVERY)
    } else {
        wait * 2
    }
}
