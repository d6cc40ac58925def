//! Ends processes: by themselves if they do, else by signals.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use monolite_platform::process::{self, Named, Process};
use rustix::process::{Pid, Signal, kill_process};

/// The environment variable that is set to the volume for a guarded command. A `monolite migrate`
/// under it would wait for itself.
pub const GUARDED: &str = "MONOLITE_GUARDED";

/// How long a process that is left may take to end by itself, and again after SIGTERM, and after
/// SIGKILL.
const END_TIME_MAX: Duration = Duration::from_secs(5);
/// Pause between two looks.
pub(super) const LOOK_PAUSE: Duration = Duration::from_millis(10);

/// All that live: one that has ended and was not waited for left out. None where the system does
/// not say.
pub(super) fn all() -> Vec<Process> {
    let mut all = process::all().unwrap_or_default();
    all.retain(|process| !process.is_zombie);
    all
}

/// First they may end by themselves; then they are asked to, then killed.
pub(super) fn end(mut left: impl FnMut() -> Vec<Pid>) -> Vec<String> {
    let mut ended = Vec::new();
    for signal in [None, Some(Signal::TERM), Some(Signal::KILL)] {
        let since = Instant::now();
        let mut asked = HashSet::new();
        loop {
            let now = left();
            if now.is_empty() {
                return ended;
            }
            if since.elapsed() >= END_TIME_MAX {
                break;
            }
            // Also those that come meanwhile.
            for pid in now.into_iter().filter(|pid| asked.insert(*pid)) {
                let Some(signal) = signal else { continue };
                let name = Named(pid).to_string();
                if kill_process(pid, signal).is_ok() && !ended.contains(&name) {
                    ended.push(name);
                }
            }
            std::thread::sleep(LOOK_PAUSE);
        }
    }
    // A disk or a network mount hangs: whoever judges sees what it has open.
    ended
}
