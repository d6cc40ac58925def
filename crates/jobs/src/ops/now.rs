//! The time at which an operation happens.

use std::sync::Arc;

use monolite_platform::clock::Clock;

/// The smallest change of the wall clock that is followed, in milliseconds.
/// Smaller ones are the corrections of a time server; they add up and are
/// followed once their sum comes to this.
pub const CLOCK_STEP_MS: i64 = 1000;

/// The time at which an operation happens; read once per transaction.
#[derive(Debug, Clone)]
pub struct Now {
    /// Milliseconds since 1970.
    pub wall_ms: i64,
    /// Milliseconds of the monotonic clock.
    pub steady_ms: i64,
    /// Which boot of the machine `steady_ms` belongs to.
    pub boot: Arc<str>,
}

impl Now {
    /// Reads a clock, and which boot of the machine this is.
    pub fn of(clock: &dyn Clock) -> Self {
        Self::read(clock, &clock.boot_id().into())
    }

    /// Reads a clock during a known boot.
    pub fn read(clock: &dyn Clock, boot: &Arc<str>) -> Self {
        loop {
            let before_ms = clock.monotonic_ms();
            let wall_ms = clock.now_ms();
            let steady_ms = clock.monotonic_ms();
            // A thread that was stopped between the two reads would take that
            // for a change of the wall clock.
            if steady_ms - before_ms < CLOCK_STEP_MS / 10 {
                return Self {
                    wall_ms,
                    steady_ms,
                    boot: Arc::clone(boot),
                };
            }
        }
    }
}
