//! Keeps this thread, and what it starts, on one core.
//!
//! Two programs that wait for each other, as a server and its one client do,
//! are several times faster on one core that stays awake than on two that must
//! wake each other; the scheduler does now this and now that. So both are shown.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// While it lives.
pub(crate) struct OneCore {
    before: CpuSet,
}

impl OneCore {
    pub(crate) fn enter() -> anyhow::Result<Self> {
        let before = sched_getaffinity(None)?;
        let mut one = CpuSet::new();
        let first = (0..CpuSet::MAX_CPU).find(|core| before.is_set(*core));
        one.set(first.unwrap_or(0));
        sched_setaffinity(None, &one)?;
        Ok(Self { before })
    }
}

impl Drop for OneCore {
    fn drop(&mut self) {
        let _ = sched_setaffinity(None, &self.before);
    }
}
