//! The folder that a database is put into.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use super::error::RestoreError;

/// The folder that a file is in.
pub(super) fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// Makes a folder that is to survive a power cut, with those it is in.
pub(super) fn make(dir: &Path) -> Result<(), RestoreError> {
    let made = match fs::create_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound && folder(dir) != dir => {
            make(folder(dir))?;
            fs::create_dir(dir)
        }
        made => made,
    };
    made.map_err(|error| RestoreError::file("make", dir, error))?;
    sync(folder(dir))
}

/// Has the names in a folder survive a power cut.
pub(super) fn sync(dir: &Path) -> Result<(), RestoreError> {
    let synced = File::open(dir).and_then(|dir| dir.sync_all());
    synced.map_err(|error| RestoreError::file("write", dir, error))
}
