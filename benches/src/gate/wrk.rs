//! One turn of load by `wrk`.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Context;

use crate::process::Running;

/// What is sent.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) name: &'static str,
    pub(crate) connections: usize,
    /// Zero: GET. Else POST with a body of so many bytes.
    pub(crate) body_bytes: usize,
}

/// What came of it.
pub(crate) struct Answered {
    pub(crate) per_second: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
}

/// Runs `load` against `port` for `time`. A failed request fails the bench: an
/// error is answered sooner than a page.
pub(crate) fn run(dir: &Path, load: Load, port: u16, time: Duration) -> anyhow::Result<Answered> {
    let script = dir.join("load.lua");
    std::fs::write(&script, lua(load))?;
    let mut command = Command::new("wrk");
    command
        .args(["--threads", &load.connections.min(2).to_string()])
        .args(["--latency", "--timeout", "5s"])
        .args(["--connections", &load.connections.to_string()])
        .args(["--duration", &format!("{}s", time.as_secs().max(1))])
        .arg("--script")
        .arg(script)
        .arg(format!("http://127.0.0.1:{port}/"));
    let output = Running::start_talking(&mut command)?.output()?;
    let line = output.lines().find_map(|line| line.strip_prefix("told "));
    let told: Vec<f64> = line
        .with_context(|| format!("wrk said: {output}"))?
        .split_whitespace()
        .map(str::parse)
        .collect::<Result<_, _>>()?;
    let [requests, duration_us, errors, p50_us, p99_us] = told[..] else {
        anyhow::bail!("wrk said: {output}");
    };
    anyhow::ensure!(errors == 0.0, "{errors} requests failed: {output}");
    Ok(Answered {
        per_second: requests / (duration_us / 1e6),
        p50_us,
        p99_us,
    })
}

fn lua(load: Load) -> String {
    let request = match load.body_bytes {
        0 => String::new(),
        bytes => format!(
            "wrk.method = \"POST\"
            wrk.body = string.rep(\"x\", {bytes})
            wrk.headers[\"Content-Type\"] = \"application/octet-stream\"\n"
        ),
    };
    let told = "function done(summary, latency, requests)
            local e = summary.errors
            io.write(string.format(\"told %d %d %d %f %f\\n\",
                summary.requests, summary.duration,
                e.connect + e.read + e.write + e.status + e.timeout,
                latency:percentile(50), latency:percentile(99)))
        end\n";
    request + told
}
