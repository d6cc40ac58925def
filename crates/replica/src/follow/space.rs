//! Free space for files that are as large as a database and soon removed.

use std::io;
use std::path::{Path, PathBuf};

/// A tenth of a disk is left to the databases, within these bounds, in bytes.
const KEPT: (u64, u64) = (64 << 20, 1 << 30);
/// What `statfs` says of a filesystem in memory.
#[cfg(target_os = "linux")]
const TMPFS: i64 = 0x0102_1994;

/// The space of a directory's disk, in bytes.
pub(super) struct Space {
    /// All that is free.
    pub(super) free: u64,
    /// What of it is not used.
    pub(super) kept: u64,
}

impl Space {
    pub(super) fn of(dir: &Path) -> io::Result<Self> {
        let stat = rustix::fs::statvfs(dir)?;
        let tenth = (stat.f_blocks / 10).saturating_mul(stat.f_frsize);
        Ok(Self {
            free: stat.f_bavail.saturating_mul(stat.f_frsize),
            kept: tenth.clamp(KEPT.0, KEPT.1),
        })
    }

    pub(super) fn fits(&self, bytes: u64) -> bool {
        self.free.saturating_sub(self.kept) >= bytes
    }
}

/// Where files are made that are as large as `database`: in `set`, else in `state`, or in `spare` if
/// only there is enough space on a disk.
pub(super) fn scratch(
    database: &Path,
    state: &Path,
    set: Option<&Path>,
    spare: Option<&Path>,
) -> PathBuf {
    let needed = database.metadata().map_or(0, |of| of.len());
    let fits = |dir: &Path| Space::of(dir).is_ok_and(|space| space.fits(needed));
    match (set, spare) {
        (Some(set), _) => set.into(),
        (None, Some(spare)) if !fits(state) && fits(spare) && !is_memory(spare) => spare.into(),
        _ => state.into(),
    }
}

#[cfg(target_os = "linux")]
fn is_memory(dir: &Path) -> bool {
    rustix::fs::statfs(dir).map_or(true, |stat| {
        #[allow(
            clippy::unnecessary_cast,
            clippy::cast_lossless,
            reason = "its type differs by target"
        )]
        let kind = stat.f_type as i64;
        kind == TMPFS
    })
}

#[cfg(not(target_os = "linux"))]
fn is_memory(_: &Path) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_directory_is_used_where_it_is_set_or_the_only_one_with_space() {
        let dir = tempfile::tempdir().unwrap();
        let [state, set, database] = ["state", "set", "a.db"].map(|name| dir.path().join(name));
        std::fs::create_dir(&state).unwrap();
        std::fs::create_dir(&set).unwrap();
        std::fs::write(&database, "x").unwrap();
        let chosen =
            |state: &Path, set: Option<&Path>| scratch(&database, state, set, Some(dir.path()));
        assert_eq!(chosen(&state, Some(&set)), set);
        assert_eq!(chosen(&state, None), state);
        // There is no space on a filesystem like this.
        let nowhere = Path::new("/proc");
        let expected = match is_memory(dir.path()) {
            true => nowhere,
            false => dir.path(),
        };
        assert_eq!(chosen(nowhere, None), expected);
    }
}
