//! The turn of a verb that changes the databases of a volume, beside migrations
//! that are guarded.

use std::path::Path;

use anyhow::anyhow;
use monolite_migrate::guard::{Cancel, Error, Turn};
use monolite_supervisor::GUARDED;

use crate::Failure;
use crate::bar::Bar;

/// No migration runs on the volume, nor is one to be put back, until that is
/// dropped: for a verb that changes the databases, and `waits` for one that
/// runs. Under a guard it has the guard's turn.
pub(crate) fn turn(volume: &Path, verb: &str, waits: bool) -> Result<Option<Turn>, Failure> {
    // It may have to be made first; then nothing was interrupted there.
    if !volume.is_dir() || is_guarded(volume) {
        return Ok(None);
    }
    let cancel = Cancel::default();
    let mut before = None;
    let mut bar = None;
    let turn = Turn::take(volume, verb, &cancel, |behind| {
        match waits {
            true => bar
                .insert(Bar::new(verb))
                .say(&format!("waiting for {behind}, which migrates this volume")),
            false => cancel.cancel(),
        }
        before = Some(behind.to_owned());
    });
    match (turn, before) {
        (Err(Error::Cancelled), Some(before)) => Err(Failure::Error(anyhow!(
            "{before} migrates this volume; nothing was changed. Try again when that has ended"
        ))),
        (turn, _) => Ok(Some(turn.map_err(anyhow::Error::from)?)),
    }
}

/// Whether this process is (of) the command of a guard of the volume.
pub(super) fn is_guarded(volume: &Path) -> bool {
    let guarded = std::env::var_os(GUARDED).and_then(|of| Path::new(&of).canonicalize().ok());
    guarded.is_some() && guarded == volume.canonicalize().ok()
}
