//! The volume's id: a random number that is kept on it.

use std::path::Path;

use crate::error::{Error, Result};

/// Identifies one boot of a machine, on Linux.
pub(super) fn boot() -> String {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim().chars().take(8).collect()
}

/// The volume's id, made at the first call. A copy of the volume has the same
/// one; the lease keeps the two apart while both live.
pub(super) fn id(state: &Path) -> Result<u64> {
    let path = state.join("node");
    let at = |error| Error::file(&path, error);
    std::fs::create_dir_all(state).map_err(at)?;
    match std::fs::read_to_string(&path) {
        Ok(text) => {
            let id = u64::from_str_radix(text.trim(), 16);
            return id.map_err(|error| at(std::io::Error::other(error)));
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(at(error)),
    }
    // Never 0, which means nobody.
    let id = fastrand::u64(1..);
    let temporary = state.join("node-new");
    let write = || -> std::io::Result<()> {
        use std::io::Write;
        let mut file = std::fs::File::create(&temporary)?;
        file.write_all(format!("{id:016x}\n").as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&temporary, &path)?;
        std::fs::File::open(state)?.sync_all()
    };
    write().map_err(at)?;
    Ok(id)
}
