//! What the bench asks of a peer's program, and how that answers. Also
//! compiled into `peers/*`.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

/// `CASE TIME_MS PATH`: what to measure, about how long, in which file.
#[allow(dead_code, reason = "the bench asks, its peers read it")]
pub(crate) struct Asked {
    pub(crate) case: String,
    pub(crate) time: Duration,
    pub(crate) path: PathBuf,
}

#[allow(dead_code, reason = "the bench asks, its peers read it")]
impl Asked {
    pub(crate) fn from_arguments() -> anyhow::Result<Self> {
        let given: Vec<String> = std::env::args().skip(1).collect();
        let [case, time_ms, path] = given.as_slice() else {
            anyhow::bail!("to be started by monolite-bench");
        };
        Ok(Self {
            case: case.clone(),
            time: Duration::from_millis(time_ms.parse()?),
            path: path.into(),
        })
    }
}

/// Tells what was measured: a rate, or a histogram.
#[allow(dead_code, reason = "the bench asks, its peers answer")]
pub(crate) fn answer(measured: &impl Serialize) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string(measured)?);
    Ok(())
}

/// Says that all is in place.
#[allow(dead_code, reason = "not every peer is waited for")]
pub(crate) fn say_ready() {
    println!("ready");
}

/// Says that all is in place, and waits to be let go.
#[allow(dead_code, reason = "not every peer is waited for")]
pub(crate) fn ready_and_wait() -> anyhow::Result<()> {
    say_ready();
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    anyhow::ensure!(line.trim_end() == "go", "the bench has gone");
    Ok(())
}
