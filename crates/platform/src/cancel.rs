//! A flag that ends blocking work early.
//!
//! Invariant: once set it stays set, and all clones are the same flag.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Asks blocking work to stop; clones are the same flag.
///
/// The work looks at it between its steps ([`Cancel::check`]), and sleeps with
/// [`Cancel::wait`], which [`Cancel::cancel`] cuts short. For code on an async
/// runtime `tokio_util::sync::CancellationToken` does the same.
///
/// ```
/// use monolite_platform::cancel::{Cancel, Cancelled};
///
/// fn copy(cancel: &Cancel) -> Result<(), Cancelled> {
///     for _step in 0..3 {
///         cancel.check()?;
///     }
///     Ok(())
/// }
/// let cancel = Cancel::default();
/// assert_eq!(copy(&cancel), Ok(()));
/// cancel.clone().cancel();
/// assert_eq!(copy(&cancel), Err(Cancelled));
/// ```
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<Flag>);

#[derive(Debug, Default)]
struct Flag {
    is_set: AtomicBool,
    /// Held while the flag is set, so that no waiter misses it.
    waiters: Mutex<()>,
    was_set: Condvar,
}

/// The work was asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it was cancelled")]
pub struct Cancelled;

impl Cancel {
    /// Asks for the end, from any thread; not from a signal handler.
    pub fn cancel(&self) {
        let waiters = self.0.waiters.lock();
        let _waiters = waiters.unwrap_or_else(PoisonError::into_inner);
        self.0.is_set.store(true, Ordering::Release);
        self.0.was_set.notify_all();
    }

    /// True once [`Cancel::cancel`] was called.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.is_set.load(Ordering::Acquire)
    }

    /// For `?` between two steps.
    ///
    /// # Errors
    /// [`Cancelled`] once [`Cancel::cancel`] was called.
    pub fn check(&self) -> Result<(), Cancelled> {
        match self.is_cancelled() {
            true => Err(Cancelled),
            false => Ok(()),
        }
    }

    /// Sleeps for `duration`.
    ///
    /// # Errors
    /// [`Cancelled`] as soon as [`Cancel::cancel`] is called, or at once if it was.
    pub fn wait(&self, duration: Duration) -> Result<(), Cancelled> {
        let since = Instant::now();
        let mut waiters = self
            .0
            .waiters
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        while !self.is_cancelled() {
            let left = duration.saturating_sub(since.elapsed());
            if left.is_zero() {
                return Ok(());
            }
            let woken = self.0.was_set.wait_timeout(waiters, left);
            (waiters, _) = woken.unwrap_or_else(PoisonError::into_inner);
        }
        Err(Cancelled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_with_its_time_or_with_the_flag() {
        let cancel = Cancel::default();
        assert_eq!(cancel.wait(Duration::from_millis(1)), Ok(()));
        let (waits, began) = (cancel.clone(), std::sync::mpsc::channel());
        let waiter = std::thread::spawn(move || {
            let _ = began.0.send(());
            waits.wait(Duration::from_secs(600))
        });
        began.1.recv().unwrap();
        cancel.cancel();
        assert_eq!(waiter.join().unwrap(), Err(Cancelled));
        assert!(cancel.is_cancelled());
        assert_eq!(cancel.wait(Duration::ZERO), Err(Cancelled));
        assert_eq!(cancel.check(), Err(Cancelled));
    }
}
