//! The migration lock, for a verb that changes the databases of a volume and is not guarded itself.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::anyhow;
use monolite_guard::{Cancel, Error, ExclusiveLock};

use super::host::is_guarded;
use crate::Failure;

/// How long the lock is waited for before a line says so.
const SILENT_WAIT_MAX: Duration = Duration::from_secs(1);

/// No migration runs on the volume, nor is one to be rolled back, until the lock is dropped. A
/// migration that runs is waited for as long as `wait`. Under a guard there is no lock to take: the
/// guard has it.
pub(crate) fn migration_lock(
    volume: &Path,
    verb: &str,
    wait: Duration,
) -> Result<Option<ExclusiveLock>, Failure> {
    // It may have to be made first; then nothing was interrupted there.
    if !volume.is_dir() || is_guarded(volume) {
        return Ok(None);
    }
    let cancel = Cancel::default();
    let is_done = Arc::new(AtomicBool::new(false));
    let mut before = None;
    let lock = ExclusiveLock::acquire(volume, verb, &cancel, |behind| {
        before = Some(behind.to_owned());
        if wait.is_zero() {
            return cancel.cancel();
        }
        let (cancel, is_done) = (cancel.clone(), Arc::clone(&is_done));
        let said = format!("{verb}: waiting for {behind}, which migrates this volume");
        // Nobody waits for this thread: once the lock is held, it does nothing.
        std::thread::spawn(move || {
            std::thread::sleep(SILENT_WAIT_MAX.min(wait));
            if wait > SILENT_WAIT_MAX && !is_done.load(Ordering::Relaxed) {
                eprintln!("{said}");
            }
            std::thread::sleep(wait.saturating_sub(SILENT_WAIT_MAX));
            cancel.cancel();
        });
    });
    is_done.store(true, Ordering::Relaxed);
    match (lock, before) {
        (Err(Error::Cancelled), Some(before)) => Err(Failure::Error(anyhow!(
            "{before} migrates this volume; nothing was changed. Try again when that has ended"
        ))),
        (lock, _) => Ok(Some(lock.map_err(anyhow::Error::from)?)),
    }
}
