//! `redis-benchmark`, Redis's own tool, so that Redis is not shown slower than
//! its makers show it.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context;

use crate::peers::redis::Redis;

/// Requests of a first run, to learn how many fill the time.
const PROBE: u64 = 2_000;

/// Requests per second of one of the tool's `tests`, about as long as `time`.
pub(crate) fn rate(
    redis: &Redis,
    test: &str,
    clients: usize,
    size: usize,
    time: Duration,
) -> anyhow::Result<f64> {
    // Its GET finds a value only after its SET, of the same size, has run.
    if test == "get" {
        run(redis, "set", clients, size, PROBE)?;
    }
    let first = run(redis, test, clients, size, PROBE)?;
    let requests = (first * time.as_secs_f64()) as u64;
    run(redis, test, clients, size, requests.max(PROBE))
}

fn run(redis: &Redis, test: &str, clients: usize, size: usize, n: u64) -> anyhow::Result<f64> {
    let output = Command::new("redis-benchmark")
        .args(["-p", &redis.port().to_string(), "--csv", "-t", test])
        .args(["-c", &clients.to_string(), "-n", &n.to_string()])
        .args(["-d", &size.to_string()])
        .stderr(Stdio::inherit())
        .output()
        .context("start redis-benchmark")?;
    anyhow::ensure!(output.status.success(), "redis-benchmark failed");
    let text = String::from_utf8(output.stdout)?;
    // "test","rps",... and a line of its figures, all in quotes.
    let figures = text.lines().find_map(|line| {
        let mut columns = line.split(',').map(|column| column.trim_matches('"'));
        let named = columns.next()?.eq_ignore_ascii_case(test);
        named.then(|| columns.next()).flatten()?.parse().ok()
    });
    figures.with_context(|| format!("redis-benchmark said {text:?}"))
}
