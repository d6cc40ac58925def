//! The end of a guarded migration: its databases are final, and its journal goes.
//!
//! Invariant: when the journal goes, everything is on the disk, and the directory of the copies
//! says how long it is kept. So no power cut takes the databases back to another state, and a death
//! before that point finds the journal, and does all of it once more.

use std::path::Path;

use crate::error::Result;
use crate::journal::Journal;
use crate::snapshots::{self, Keep};
use crate::volume::Volume;
use monolite_platform::failpoint;

/// Bytes of the disk that must be free after a rollback: else the copies go that nobody needs.
const FREE_BYTES_MIN: u64 = 64 << 20;

/// Whether an app would soon have no room to write.
fn is_disk_full(volume: &Volume) -> bool {
    volume
        .host
        .free_bytes()
        .is_some_and(|free| free < FREE_BYTES_MIN)
}

/// Nothing in the copies can be another process's.
fn is_own_work(dir: &Path) -> bool {
    snapshots::kept(dir) == Some(Keep::Week)
}

/// From now on the databases are what they are. Without `keep` the copies are removed.
pub(crate) fn finalize(volume: &Volume, journal: &Journal, keep: Option<Keep>) -> Result<()> {
    let dir = journal.copies(volume);
    // With `synchronous = OFF` or `NORMAL` SQLite has not synced all of it.
    for name in volume.names() {
        volume.sync(&volume.file(&name))?;
    }
    for known in &journal.databases {
        volume.sync(&volume.file(&known.name))?;
    }
    failpoint::reached("guard.synced");
    let mut is_marked = true;
    match keep {
        // A death after the journal must not leave what says that they are kept.
        None => snapshots::unmark(&dir)?,
        Some(keep) => {
            if let Err(error) = snapshots::keep(&dir, keep) {
                is_marked = false;
                // On a full disk, say. The databases are right all the same.
                volume.warn(format!(
                    "the copies in {} may be removed by the next migration: {error}",
                    dir.display()
                ));
            }
        }
    }
    failpoint::reached("guard.finalizing");
    Journal::remove(volume.dir())?;
    failpoint::reached("guard.finalized");
    let swept = match keep {
        Some(_) if !is_marked => Ok(()),
        Some(Keep::Week) if is_disk_full(volume) && is_own_work(&dir) => {
            volume.warn(format!(
                "less than {} MB of the disk are free: the copies in {} were removed, so that the app can write",
                FREE_BYTES_MIN >> 20,
                dir.display()
            ));
            snapshots::remove(&dir)
        }
        Some(_) => snapshots::sweep(
            &volume.own_dir(),
            Some(&journal.stamp),
            volume.host.now_ms(),
        ),
        None => snapshots::remove(&dir),
    };
    if let Err(error) = swept {
        // The next migration tries again.
        volume.warn(error.to_string());
    }
    Ok(())
}
