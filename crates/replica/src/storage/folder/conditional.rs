//! The lease's file: replaced under a lock, since a folder has no conditional
//! writes.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use bytes::Bytes;

use super::super::bucket::{ConditionalPut, Version, Versioned};
use super::super::error::{Result, StorageError};
use super::temporary::Temporary;
use super::{open, read_step};

pub(super) fn read(path: &Path, limit: u64) -> Result<Option<Versioned>> {
    let found = content(path, limit)?.map(|bytes| Versioned {
        version: Version::Content(bytes.clone()),
        bytes,
        age: None,
    });
    Ok(found)
}

fn content(path: &Path, limit: u64) -> Result<Option<Bytes>> {
    let mut file = match open(path) {
        Ok(file) => file,
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => return Err(error),
    };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let bytes = read_step(&mut file, limit.saturating_add(1));
    let bytes = bytes.map_err(StorageError::io("read", path))?;
    if bytes.len() > limit {
        let size = file.metadata().map_or(0, |found| found.len());
        let (name, limit) = (path.display().to_string(), limit as u64);
        return Err(StorageError::TooLarge { name, size, limit });
    }
    Ok(Some(bytes.into()))
}

pub(super) fn put_if(
    path: &Path,
    bytes: Bytes,
    expected: Option<&Version>,
) -> Result<ConditionalPut> {
    let lock = path.with_extension("lock");
    // Held by whoever swaps, for some milliseconds.
    let _locked = take(&lock).map_err(StorageError::io("lock", &lock))?;
    let expected = match expected {
        None => None,
        Some(Version::Content(bytes)) => Some(bytes),
        Some(Version::Object(_)) => return Ok(ConditionalPut::Conflict),
    };
    let found = match fs::metadata(path) {
        Ok(found) => content(path, found.len())?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(StorageError::io("read", path)(error)),
    };
    if found.as_ref() != expected {
        return Ok(ConditionalPut::Conflict);
    }
    let mut temporary = Temporary::create(path)?;
    temporary.write(&bytes)?;
    temporary.finish(None)?;
    temporary.publish()?;
    Ok(ConditionalPut::Done(Version::Content(bytes)))
}

/// The file is never deleted: two could hold the lock of two files of one name.
fn take(path: &Path) -> io::Result<File> {
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)?;
    file.lock()?;
    Ok(file)
}
