//! Whether the newest file of a replica was written by Litestream from this very
//! database, so that what was committed here since may follow it.
//!
//! Litestream keeps the files of level 0 that it made last in a directory next to the
//! database, and never without the newest. If the newest one of the replica is among
//! them, with the same content, the database here is that state or a later one.

use std::path::{Path, PathBuf};

use monolite_ltx::{FileName, Txid};

use crate::storage::{FileInfo, Replica, StorageError};

/// Whether `newest`, the last transaction of the replica, was sent from `database`.
pub(super) async fn sent(
    replica: &Replica,
    files: &[FileInfo],
    newest: Txid,
    database: &Path,
) -> Result<bool, StorageError> {
    let is_it = |file: &&FileInfo| file.level == 0 && file.max == newest && !file.sealed;
    let Some(file) = files.iter().find(is_it) else {
        return Ok(false);
    };
    match local(database, file).filter(|path| path.is_file()) {
        Some(path) => replica.equals(file, &path).await,
        None => Ok(false),
    }
}

/// Where Litestream keeps its copy of a file of level 0, unless it was given another
/// directory.
fn local(database: &Path, file: &FileInfo) -> Option<PathBuf> {
    let mut directory = std::ffi::OsString::from(".");
    directory.push(database.file_name()?);
    directory.push("-litestream");
    let (min, max) = (file.min, file.max);
    let name = FileName { min, max }.to_string();
    Some(database.with_file_name(directory).join("ltx/0").join(name))
}
