//! Clocks that mean the same in every process of this machine.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds of `CLOCK_MONOTONIC`; unlike an `Instant` it can be sent.
pub(crate) fn monotonic_ns() -> u64 {
    read(ClockId::Monotonic).as_nanos() as u64
}

/// CPU time this process has used, all its threads together.
pub(crate) fn own_cpu() -> Duration {
    read(ClockId::ProcessCPUTime)
}

/// CPU time the living threads of another process have used.
pub(crate) fn cpu_of(pid: u32) -> anyhow::Result<Duration> {
    let mut total_ns = 0;
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        // In nanoseconds, where `stat` counts in ticks of 10 ms.
        let text = std::fs::read_to_string(task?.path().join("schedstat"));
        // A thread may end between the two reads.
        let Ok(text) = text else { continue };
        let spent = text.split_whitespace().next().unwrap_or("0");
        total_ns += spent.parse::<u64>()?;
    }
    Ok(Duration::from_nanos(total_ns))
}

fn read(clock: ClockId) -> Duration {
    Duration::try_from(clock_gettime(clock)).unwrap()
}
