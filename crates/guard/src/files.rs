//! Files of the guard on the disk: written whole or not at all, removed and renamed for good.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, lchown};
use std::path::{Path, PathBuf};

use monolite_platform::durable;
pub(crate) use monolite_platform::mountinfo::is_same_mount;
pub(crate) use monolite_platform::path::{directory, with_suffix};
use monolite_sqlite_format::SUFFIXES;
use monolite_volume::layout;

use crate::error::{Error, Result};

/// The logs that SQLite keeps next to a database, which hold what is not in its file yet.
pub(crate) fn logs(database: &Path) -> [PathBuf; 2] {
    ["-wal", "-journal"].map(|suffix| with_suffix(database, suffix))
}

/// The URI of a database that nobody writes: read without locks, and without
/// anything being made beside it.
pub(crate) fn immutable(path: &Path) -> String {
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => {
                uri.push(char::from(*byte));
            }
            byte => uri.push_str(&format!("%{byte:02x}")),
        }
    }
    uri + "?immutable=1"
}

/// Makes `dir` and what is missing above it, for this user alone, to stay.
pub(crate) fn make_directory(dir: &Path) -> Result<()> {
    let made = durable::make_directories(dir, 0o700);
    made.map_err(|error| Error::file("create the directory", dir, error))
}

/// Has the disk keep the names in `dir`.
pub(crate) fn sync(dir: &Path) -> Result<()> {
    let synced = durable::sync_directory(dir);
    synced.map_err(|error| Error::file("sync the directory", dir, error))
}

/// Writes a file whole, in the place of what is there.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let written = durable::write(path, bytes);
    written.map_err(|error| Error::file("write", path, error))
}

/// Removes a file if it is there, for good.
pub(crate) fn remove(path: &Path) -> Result<()> {
    let removed = durable::remove(path);
    removed.map_err(|error| Error::file("remove", path, error))
}

/// Gives `path` the owner of `like`, where this process may: what root made on
/// the volume of another is that one's, who may be the next to come.
pub(crate) fn own_as(path: &Path, like: &Path) {
    if let (Ok(ours), Ok(like)) = (path.symlink_metadata(), like.metadata())
        && (ours.uid(), ours.gid()) != (like.uid(), like.gid())
    {
        let _ = lchown(path, Some(like.uid()), Some(like.gid()));
    }
}

/// Moves a database that nobody has open to `to`. Whatever of its log is left follows: it belongs
/// to no other file of the name.
pub(crate) fn move_database(from: &Path, to: &Path) -> Result<()> {
    make_directory(directory(to))?;
    let moved = |from: &Path, to: &Path| match std::fs::rename(from, to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::file("move away", from, error))
        }
        _ => Ok(()),
    };
    moved(from, to)?;
    for (suffix, from) in SUFFIXES.iter().zip(layout::companions(from)) {
        moved(&from, &with_suffix(to, suffix))?;
    }
    sync(directory(to))?;
    sync(directory(from))
}

/// `20261121T143000Z` of milliseconds since 1970; beyond the year 9999 the number
/// itself.
pub(crate) fn stamp(now_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(now_ms).map_or_else(
        |_| now_ms.to_string(),
        |now| now.strftime("%Y%m%dT%H%M%SZ").to_string(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_are_dates() {
        for (ms, text) in [
            (0, "19700101T000000Z"),
            (1_795_271_400_000, "20261121T143000Z"),
            (951_782_400_000, "20000229T000000Z"),
            (-1, "19691231T235959Z"),
            (i64::MAX, "9223372036854775807"),
        ] {
            assert_eq!(stamp(ms), text);
        }
    }

    #[test]
    fn a_database_moves_with_what_is_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("a.db"), dir.path().join("x/y/a.db"));
        for suffix in ["", "-wal", "-shm"] {
            std::fs::write(with_suffix(&from, suffix), suffix).unwrap();
        }
        move_database(&from, &to).unwrap();
        assert_eq!(std::fs::read(with_suffix(&to, "-wal")).unwrap(), b"-wal");
        assert!(to.exists() && !from.exists() && !with_suffix(&from, "-shm").exists());
        move_database(&from, &to).unwrap();
        assert!(to.exists(), "done already");
    }

    #[test]
    fn names_are_escaped_for_sqlite() {
        assert_eq!(
            immutable(Path::new("/a b?%")),
            "file:/a%20b%3f%25?immutable=1"
        );
    }
}
