//! Two clocks: one that people set, and one that only goes forward.

use std::fmt::Debug;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A source of time. Tests use a [`ManualClock`].
pub trait Clock: Debug + Send + Sync + 'static {
    /// Milliseconds since 1970-01-01 UTC. People and machines set this clock: it
    /// may step in either direction.
    fn wall_ms(&self) -> i64;

    /// Milliseconds of a clock that only goes forward, and is the same in all
    /// processes of the machine, until the next boot. It stands still while the
    /// machine sleeps.
    fn steady_ms(&self) -> i64;

    /// Identifies the current boot of the machine. Values of
    /// [`Clock::steady_ms`] of another boot mean nothing in this one.
    fn boot(&self) -> String;
}

/// The machine's clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn wall_ms(&self) -> i64 {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => millis(since),
            Err(before) => -millis(before.duration()),
        }
    }

    fn steady_ms(&self) -> i64 {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        now.tv_sec * 1000 + now.tv_nsec / 1_000_000
    }

    fn boot(&self) -> String {
        let path = "/proc/sys/kernel/random/boot_id";
        match std::fs::read_to_string(path) {
            Ok(id) => id.trim_end().into(),
            // Not Linux: the time of the boot, to the minute. Two processes
            // compute the same unless the clock is set in between.
            Err(_) => format!("{}", (self.wall_ms() - self.steady_ms()) / 60_000),
        }
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub struct ManualClock {
    wall_ms: AtomicI64,
    steady_ms: AtomicI64,
}

impl ManualClock {
    /// A clock at a wall time, in milliseconds since 1970.
    pub fn at(wall_ms: i64) -> Self {
        Self {
            wall_ms: AtomicI64::new(wall_ms),
            steady_ms: AtomicI64::new(1_000_000),
        }
    }

    /// Moves both clocks forward.
    pub fn advance(&self, by: Duration) {
        self.wall_ms.fetch_add(millis(by), Ordering::SeqCst);
        self.steady_ms.fetch_add(millis(by), Ordering::SeqCst);
    }

    /// Sets the wall clock forward or back, as a person does; no time passes.
    pub fn step(&self, by_ms: i64) {
        self.wall_ms.fetch_add(by_ms, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn wall_ms(&self) -> i64 {
        self.wall_ms.load(Ordering::SeqCst)
    }

    fn steady_ms(&self) -> i64 {
        self.steady_ms.load(Ordering::SeqCst)
    }

    fn boot(&self) -> String {
        "manual".into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_has_one_boot_and_its_steady_clock_goes_forward() {
        let clock = SystemClock;
        assert_eq!(clock.boot(), clock.boot());
        let before = clock.steady_ms();
        assert!(before > 0);
        assert!(clock.steady_ms() >= before);
        assert!(clock.wall_ms() > 1_700_000_000_000);
    }
}
