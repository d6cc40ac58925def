//! The turn of a verb that changes the databases of a volume, beside migrations
//! that are guarded.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::anyhow;
use monolite_guard::{self as guard, Cancel, Error, Turn};
use monolite_supervisor::GUARDED;

use crate::Failure;

/// A wait that is worth a line.
const SAID_AFTER: Duration = Duration::from_secs(1);
/// Processes above this one that are looked at.
const ANCESTORS: usize = 1000;

/// No migration runs on the volume, nor is one to be put back, until that is
/// dropped: for a verb that changes the databases, and waits so long for one
/// that runs. Under a guard it has the guard's turn.
pub(crate) fn turn(volume: &Path, verb: &str, wait: Duration) -> Result<Option<Turn>, Failure> {
    // It may have to be made first; then nothing was interrupted there.
    if !volume.is_dir() || is_guarded(volume) {
        return Ok(None);
    }
    let cancel = Cancel::default();
    let is_done = Arc::new(AtomicBool::new(false));
    let mut before = None;
    let turn = Turn::take(volume, verb, &cancel, |behind| {
        before = Some(behind.to_owned());
        if wait.is_zero() {
            return cancel.cancel();
        }
        let (cancel, is_done) = (cancel.clone(), Arc::clone(&is_done));
        let said = format!("{verb}: waiting for {behind}, which migrates this volume");
        // Nobody waits for this: once it is our turn, it does nothing.
        std::thread::spawn(move || {
            std::thread::sleep(SAID_AFTER.min(wait));
            if wait > SAID_AFTER && !is_done.load(Ordering::Relaxed) {
                eprintln!("{said}");
            }
            std::thread::sleep(wait.saturating_sub(SAID_AFTER));
            cancel.cancel();
        });
    });
    is_done.store(true, Ordering::Relaxed);
    match (turn, before) {
        (Err(Error::Cancelled), Some(before)) => Err(Failure::Error(anyhow!(
            "{before} migrates this volume; nothing was changed. Try again when that has ended"
        ))),
        (turn, _) => Ok(Some(turn.map_err(anyhow::Error::from)?)),
    }
}

/// Whether this process is (of) the command of a guard of the volume: by its
/// environment, or, where that was not passed on (`sudo`, `env -i`), by who its
/// ancestors are.
pub(super) fn is_guarded(volume: &Path) -> bool {
    let guarded = std::env::var_os(GUARDED).and_then(|of| Path::new(&of).canonicalize().ok());
    let by_name = guarded.is_some() && guarded == volume.canonicalize().ok();
    by_name || guard::holder(volume).is_some_and(is_ancestor)
}

/// Whether a process is above this one.
fn is_ancestor(pid: u32) -> bool {
    let mut below = std::process::id();
    // A chain of parents has an end, but may change while it is read.
    for _ in 0..ANCESTORS {
        let stat = std::fs::read_to_string(format!("/proc/{below}/stat")).unwrap_or_default();
        // The name, in brackets, may hold anything.
        let after = stat.rsplit_once(") ").map_or("", |(_, after)| after);
        match after
            .split(' ')
            .nth(1)
            .and_then(|parent| parent.parse().ok())
        {
            Some(parent) if parent == pid => return true,
            None | Some(0) => return false,
            Some(parent) => below = parent,
        }
    }
    false
}
