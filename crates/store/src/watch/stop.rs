//! A flag that a thread can sleep on: an eventfd where it must sleep on
//! inotify as well, else a condition variable.

#[cfg(not(target_os = "linux"))]
pub(super) use portable::Stop;
#[cfg(target_os = "linux")]
pub(super) use with_descriptor::Stop;

#[cfg(target_os = "linux")]
mod with_descriptor {
    use std::os::fd::{BorrowedFd, OwnedFd};
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use std::os::fd::AsFd;

    use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

    /// A flag that a thread can sleep on.
    pub(in crate::watch) struct Stop {
        flag: AtomicBool,
        event: OwnedFd,
    }

    impl Stop {
        pub(in crate::watch) fn new() -> std::io::Result<Self> {
            Ok(Self {
                flag: AtomicBool::new(false),
                event: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            })
        }

        pub(in crate::watch) fn set(&self) {
            self.flag.store(true, Ordering::Release);
            let _ = rustix::io::write(&self.event, &1_u64.to_ne_bytes());
        }

        pub(in crate::watch) fn is_set(&self) -> bool {
            self.flag.load(Ordering::Acquire)
        }

        pub(in crate::watch) fn fd(&self) -> BorrowedFd<'_> {
            self.event.as_fd()
        }

        /// Sleeps for `time`; true as soon as the flag is set.
        pub(in crate::watch) fn wait(&self, time: Duration) -> bool {
            let time = Timespec::try_from(time).ok();
            let _ = poll(
                &mut [PollFd::new(&self.event, PollFlags::IN)],
                time.as_ref(),
            );
            self.is_set()
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod portable {
    use std::sync::{Condvar, Mutex, PoisonError};
    use std::time::Duration;

    /// A flag that a thread can sleep on.
    #[derive(Default)]
    pub(in crate::watch) struct Stop {
        flag: Mutex<bool>,
        wake: Condvar,
    }

    impl Stop {
        pub(in crate::watch) fn new() -> std::io::Result<Self> {
            Ok(Self::default())
        }

        pub(in crate::watch) fn set(&self) {
            *self.flag.lock().unwrap_or_else(PoisonError::into_inner) = true;
            self.wake.notify_all();
        }

        /// Sleeps for `time`; true as soon as the flag is set.
        pub(in crate::watch) fn wait(&self, time: Duration) -> bool {
            let flag = self.flag.lock().unwrap_or_else(PoisonError::into_inner);
            let waited = self.wake.wait_timeout_while(flag, time, |set| !*set);
            *waited.unwrap_or_else(PoisonError::into_inner).0
        }
    }
}
