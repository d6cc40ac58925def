//! Files of the guard on the disk: written whole or not at all, removed and renamed for good.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, lchown};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// The logs that SQLite keeps next to a database, which hold what is not in its file yet.
pub(super) const LOGS: [&str; 2] = ["-wal", "-journal"];
/// All that SQLite keeps next to a database.
pub(super) const COMPANIONS: [&str; 3] = ["-wal", "-journal", "-shm"];

pub(super) fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// The URI of a database that nobody writes: read without locks, and without
/// anything being made beside it.
pub(super) fn immutable(path: &Path) -> String {
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

pub(super) fn directory(file: &Path) -> &Path {
    match file.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    }
}

/// Makes `dir` and what is missing above it, for this user alone, to stay.
pub(super) fn make_directory(dir: &Path) -> Result<()> {
    let missing: Vec<&Path> = (dir.ancestors())
        .take_while(|dir| !dir.as_os_str().is_empty() && !dir.exists())
        .collect();
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|error| Error::file("create the directory", dir, error))?;
    for made in missing.iter().rev() {
        own_as(made, directory(made));
    }
    missing
        .into_iter()
        .try_for_each(|made| sync(directory(made)))
}

/// Gives `path` the owner of `like`, where this process may: what root made on
/// the volume of another is that one's, who may be the next to come.
pub(super) fn own_as(path: &Path, like: &Path) {
    if let (Ok(ours), Ok(like)) = (path.symlink_metadata(), like.metadata())
        && (ours.uid(), ours.gid()) != (like.uid(), like.gid())
    {
        let _ = lchown(path, Some(like.uid()), Some(like.gid()));
    }
}

/// Has the disk keep the names in `dir`.
pub(super) fn sync(dir: &Path) -> Result<()> {
    let synced = File::open(dir).and_then(|dir| dir.sync_all());
    synced.map_err(|error| Error::file("sync the directory", dir, error))
}

/// Writes a file whole, in the place of what is there.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let temporary = beside(path, ".new");
    let written = || {
        let mut options = OpenOptions::new();
        let mut file = (options.write(true).create(true).truncate(true))
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(bytes)?;
        own_as(&temporary, directory(path));
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    };
    written().map_err(|error| Error::file("write", path, error))?;
    sync(directory(path))
}

/// Removes a file if it is there, for good.
pub(super) fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::file("remove", path, error)),
        Ok(()) => sync(directory(path)),
    }
}

/// Moves a database that nobody has open to `to`. Whatever of its log is left follows: it belongs
/// to no other file of the name.
pub(super) fn move_database(from: &Path, to: &Path) -> Result<()> {
    make_directory(directory(to))?;
    let moved = |from: &Path, to: &Path| match std::fs::rename(from, to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::file("move away", from, error))
        }
        _ => Ok(()),
    };
    moved(from, to)?;
    for suffix in COMPANIONS {
        moved(&beside(from, suffix), &beside(to, suffix))?;
    }
    sync(directory(to))?;
    sync(directory(from))
}

/// Whether a file can be moved from one directory to the other: both are of one
/// mount, which is more than one filesystem.
pub(super) fn is_same_mount(one: &Path, other: &Path) -> bool {
    let (Ok(first), Ok(second)) = (one.metadata(), other.metadata()) else {
        return true;
    };
    let (first, second) = (first.dev(), second.dev());
    #[cfg(target_os = "linux")]
    if let (Some(one), Some(other)) = (mount(one), mount(other)) {
        return one == other;
    }
    first == second
}

#[cfg(target_os = "linux")]
fn mount(dir: &Path) -> Option<u64> {
    use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
    let of = statx(CWD, dir, AtFlags::empty(), StatxFlags::MNT_ID).ok()?;
    let is_told = StatxFlags::from_bits_retain(of.stx_mask).contains(StatxFlags::MNT_ID);
    is_told.then_some(of.stx_mnt_id)
}

/// `20261121T143000Z` of milliseconds since 1970; beyond the year 9999 the number
/// itself.
pub(super) fn stamp(now_ms: i64) -> String {
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
            std::fs::write(beside(&from, suffix), suffix).unwrap();
        }
        move_database(&from, &to).unwrap();
        assert_eq!(std::fs::read(beside(&to, "-wal")).unwrap(), b"-wal");
        assert!(to.exists() && !from.exists() && !beside(&from, "-shm").exists());
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
