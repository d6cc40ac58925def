//! What time it is, by three clocks that differ in what they count.
//!
//! Invariant: time comes into a library through a [`Clock`] argument, so that a
//! test can steer it ([`ManualClock`]).

use std::fmt::Debug;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::process;

/// Tells the time.
pub trait Clock: Debug + Send + Sync + 'static {
    /// Wall-clock time in milliseconds since 1970-01-01 UTC. People and machines
    /// set it, so it may step in either direction.
    fn now_ms(&self) -> i64;

    /// Time since this start of the machine, the same in all its processes; it
    /// stands still while the machine is suspended (`CLOCK_MONOTONIC`). For how
    /// long this machine has worked on something.
    fn monotonic(&self) -> Duration;

    /// As [`Clock::monotonic`], and goes on while the machine is suspended
    /// (`CLOCK_BOOTTIME`). For what others wait for, as a lease. Where the system
    /// has no such clock it is [`Clock::monotonic`].
    fn boottime(&self) -> Duration;

    /// Tells one start of the machine from another: what was read from
    /// [`Clock::monotonic`] and [`Clock::boottime`] before means nothing after.
    fn boot_id(&self) -> String;

    /// [`Clock::monotonic`] in milliseconds, as it is stored.
    fn monotonic_ms(&self) -> i64 {
        millis(self.monotonic())
    }
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
        read(rustix::time::ClockId::Monotonic)
    }

    fn boottime(&self) -> Duration {
        #[cfg(target_os = "linux")]
        let id = rustix::time::ClockId::Boottime;
        #[cfg(not(target_os = "linux"))]
        let id = rustix::time::ClockId::Monotonic;
        read(id)
    }

    fn boot_id(&self) -> String {
        // Elsewhere: the minute of the start, which two processes work out alike
        // unless the clock is set in between.
        process::boot_id()
            .unwrap_or_else(|| format!("{}", (self.now_ms() - millis(self.boottime())) / 60_000))
    }
}

fn read(id: rustix::time::ClockId) -> Duration {
    let now = rustix::time::clock_gettime(id);
    let part = |value: i64| u64::try_from(value).unwrap_or(0);
    Duration::from_secs(part(now.tv_sec)) + Duration::from_nanos(part(now.tv_nsec))
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// A clock for tests: it stands still until it is moved.
#[derive(Debug)]
pub struct ManualClock(Mutex<Times>);

#[derive(Debug, Clone, Copy)]
struct Times {
    now_ms: i64,
    monotonic: Duration,
    boottime: Duration,
}

impl ManualClock {
    /// Starts at a wall-clock time, in milliseconds since 1970.
    #[must_use]
    pub fn at(now_ms: i64) -> Self {
        let since_start = Duration::from_secs(1_000);
        Self(Mutex::new(Times {
            now_ms,
            monotonic: since_start,
            boottime: since_start,
        }))
    }

    /// Lets time pass.
    pub fn advance(&self, by: Duration) {
        self.change(|times| {
            times.now_ms = times.now_ms.saturating_add(millis(by));
            times.monotonic += by;
            times.boottime += by;
        });
    }

    /// Lets time pass while the machine is suspended.
    pub fn suspend(&self, by: Duration) {
        self.change(|times| {
            times.now_ms = times.now_ms.saturating_add(millis(by));
            times.boottime += by;
        });
    }

    /// Sets the wall clock forward or back, as a person would: no time passes.
    pub fn step(&self, by_ms: i64) {
        self.change(|times| times.now_ms = times.now_ms.saturating_add(by_ms));
    }

    fn change(&self, change: impl FnOnce(&mut Times)) -> Times {
        let mut times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut times);
        *times
    }
}

impl Clock for ManualClock {
    fn now_ms(&self) -> i64 {
        self.change(|_| ()).now_ms
    }

    fn monotonic(&self) -> Duration {
        self.change(|_| ()).monotonic
    }

    fn boottime(&self) -> Duration {
        self.change(|_| ()).boottime
    }

    fn boot_id(&self) -> String {
        "manual".into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_has_one_boot_and_its_clocks_go_forward() {
        let clock = SystemClock;
        assert_eq!(clock.boot_id(), clock.boot_id());
        assert!(!clock.boot_id().is_empty());
        let (monotonic, boottime) = (clock.monotonic(), clock.boottime());
        assert!(monotonic > Duration::ZERO && boottime + Duration::from_secs(1) > monotonic);
        assert!(clock.monotonic() >= monotonic && clock.boottime() >= boottime);
        assert!(clock.monotonic_ms() >= millis(monotonic));
        assert!(clock.now_ms() > 1_700_000_000_000);
    }

    #[test]
    fn a_manual_clock_moves_only_when_it_is_moved() {
        let clock = ManualClock::at(5_000);
        let start = clock.monotonic();
        assert_eq!((start, clock.monotonic()), (clock.boottime(), start));
        clock.step(-2_000);
        assert_eq!((clock.now_ms(), clock.monotonic()), (3_000, start));
        let ten = Duration::from_millis(10);
        clock.advance(ten);
        assert_eq!((clock.now_ms(), clock.monotonic()), (3_010, start + ten));
        clock.suspend(ten);
        assert_eq!((clock.now_ms(), clock.monotonic()), (3_020, start + ten));
        assert_eq!(clock.boottime(), start + 2 * ten);
    }
}
