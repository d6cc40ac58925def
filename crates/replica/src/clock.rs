//! What time it is, in two ways.

use std::fmt::Debug;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Tells the time. Tests bring a [`ManualClock`].
pub trait Clock: Debug + Send + Sync + 'static {
    /// Milliseconds since 1970-01-01 UTC. People and machines set it, so that
    /// it may step in either direction.
    fn now_ms(&self) -> i64;

    /// A clock that only goes forward, also while the machine is suspended. It
    /// counts from an arbitrary moment of this start of the machine.
    fn monotonic(&self) -> Duration;
}

/// The machine's clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&self) -> i64 {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => millis(since),
            Err(before) => -millis(before.duration()),
        }
    }

    fn monotonic(&self) -> Duration {
        // The one that goes on in a suspended machine: a lease ends there too.
        #[cfg(target_os = "linux")]
        let id = rustix::time::ClockId::Boottime;
        #[cfg(not(target_os = "linux"))]
        let id = rustix::time::ClockId::Monotonic;
        let now = rustix::time::clock_gettime(id);
        let part = |value: i64| u64::try_from(value).unwrap_or(0);
        Duration::from_secs(part(now.tv_sec)) + Duration::from_nanos(part(now.tv_nsec))
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub struct ManualClock(Mutex<(i64, Duration)>);

impl ManualClock {
    /// Starts at a wall time, in milliseconds since 1970.
    #[must_use]
    pub fn at(now_ms: i64) -> Self {
        Self(Mutex::new((now_ms, Duration::from_secs(1_000))))
    }

    /// Lets time pass.
    pub fn advance(&self, by: Duration) {
        self.change(|(wall, monotonic)| {
            *wall = wall.saturating_add(millis(by));
            *monotonic += by;
        });
    }

    /// Sets the wall clock forward or back, as a person would: no time passes.
    pub fn step(&self, by_ms: i64) {
        self.change(|(wall, _)| *wall = wall.saturating_add(by_ms));
    }

    fn change<T>(&self, change: impl FnOnce(&mut (i64, Duration)) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Clock for ManualClock {
    fn now_ms(&self) -> i64 {
        self.change(|(wall, _)| *wall)
    }

    fn monotonic(&self) -> Duration {
        self.change(|(_, monotonic)| *monotonic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_clock_goes_forward() {
        let before = SystemClock.monotonic();
        assert!(before > Duration::ZERO);
        assert!(SystemClock.monotonic() >= before);
        assert!(SystemClock.now_ms() > 1_700_000_000_000);
    }

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let clock = ManualClock::at(5_000);
        let start = clock.monotonic();
        clock.step(-2_000);
        assert_eq!((clock.now_ms(), clock.monotonic()), (3_000, start));
        clock.advance(Duration::from_millis(10));
        assert_eq!(clock.now_ms(), 3_010);
        assert_eq!(clock.monotonic(), start + Duration::from_millis(10));
    }
}
