//! The volume's id: a random number that is kept on it.

use std::io;
use std::path::Path;

use monolite_platform::durable;

use crate::error::{Error, Result};

/// The volume's id, made at the first call. A copy of the volume has the same
/// one; the lease keeps the two apart while both are in use.
pub(super) fn id(state: &Path) -> Result<u64> {
    let path = state.join("node");
    let at = |error| Error::file(&path, error);
    std::fs::create_dir_all(state).map_err(at)?;
    match std::fs::read_to_string(&path) {
        Ok(text) => {
            let id = u64::from_str_radix(text.trim(), 16);
            return id.map_err(|error| at(io::Error::other(error)));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(at(error)),
    }
    // Never 0, which means that the writer is not known.
    let id = fastrand::u64(1..);
    durable::write(&path, format!("{id:016x}\n").as_bytes()).map_err(at)?;
    Ok(id)
}
