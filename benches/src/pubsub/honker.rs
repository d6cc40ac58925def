//! honker: a process that notifies, and one that listens.

use std::path::Path;
use std::time::Duration;

use crate::contest::histogram::Histogram;
use crate::peers::program::Program;

/// From before `notify` to the notification in the listener's hands, which
/// learns of it in honker's own way or as the `watcher` named.
pub(crate) fn waits(
    honker: &Program,
    watcher: &str,
    dir: &Path,
    time: Duration,
) -> anyhow::Result<Histogram> {
    let mut listener = honker.start(&format!("listen {watcher}"), dir, time)?;
    listener.wait_ready()?;
    let mut notifier = honker.start("notify", dir, time)?;
    notifier.wait_ready()?;
    notifier.go()?;
    notifier.output()?;
    Ok(serde_json::from_str(&listener.output()?)?)
}
