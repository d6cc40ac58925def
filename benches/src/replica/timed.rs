//! How long a program takes from its start to its end.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::process::Running;

/// `None` if it was not done within `limit`, and was ended.
pub(super) fn timed(command: &Command, limit: Duration) -> anyhow::Result<Option<Duration>> {
    let mut bounded = Command::new("timeout");
    bounded
        .arg(format!("{}", limit.as_secs_f64()))
        .arg(command.get_program())
        .args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => bounded.env(name, value),
            None => bounded.env_remove(name),
        };
    }
    // What was written before is not to be waited for in here.
    rustix::fs::sync();
    let started = Instant::now();
    let ended = Running::start_talking(&mut bounded)?.output();
    let took = started.elapsed();
    if took >= limit {
        return Ok(None);
    }
    ended?;
    Ok(Some(took))
}

/// As [`timed`], for what must be done in time.
pub(super) fn timed_to_end(command: &Command, limit: Duration) -> anyhow::Result<Duration> {
    let done = timed(command, limit)?;
    let program = command.get_program().display();
    done.ok_or_else(|| anyhow::anyhow!("{program} was not done in {} s", limit.as_secs()))
}
