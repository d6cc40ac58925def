//! Files that get their name when they are whole.

use std::ffi::{OsStr, OsString};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::error::{Error, Result};
use super::source::beside;
use crate::steps;

/// Between the name a file is to get and what makes it unique meanwhile.
const MARK: &str = ".copying-";
/// Suffixes of the files that SQLite keeps for a database.
const SUFFIXES: [&str; 3] = ["-wal", "-shm", "-journal"];

/// A file under another name than the one it is to have, removed when dropped.
///
/// It is locked as long as its process lives, so that other processes recognize what a
/// process that was killed has left.
#[derive(Debug)]
pub(super) struct Temporary {
    file: File,
    path: PathBuf,
    target: PathBuf,
    published: bool,
}

impl Temporary {
    /// An empty file in the directory of `target`, from which what killed
    /// processes left of the same `target` is removed first.
    pub(super) fn next_to(target: &Path, mode: u32) -> Result<Self> {
        let dir = directory(target);
        let name = target.file_name().unwrap_or_default();
        // If that cannot be listed, it may still be written.
        let _ = sweep(dir, |of| of == name);
        loop {
            let mut unique = name.to_owned();
            unique.push(format!("{MARK}{:016x}", fastrand::u64(..)));
            let path = dir.join(unique);
            let mut options = OpenOptions::new();
            options.read(true).write(true).create_new(true).mode(mode);
            let file = options
                .open(&path)
                .map_err(|error| Error::file("create", &path, error))?;
            let locked = flock(&file, FlockOperation::NonBlockingLockExclusive);
            let links = file.metadata().map_or(1, |metadata| metadata.nlink());
            // Taken for left behind before it was locked: once more. (A
            // filesystem without locks has nothing taken for left behind.)
            if locked == Err(Errno::WOULDBLOCK) || links == 0 {
                continue;
            }
            return Ok(Self {
                file,
                path,
                target: target.into(),
                published: false,
            });
        }
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The path it is to have.
    pub(super) fn target(&self) -> &Path {
        &self.target
    }

    /// Gives it its name, for good. What it holds must have been synced.
    pub(super) fn publish(mut self, overwrite: bool) -> Result<()> {
        steps::reached("backup.publishing");
        match rename(&self.path, &self.target, overwrite) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let path = self.target.clone();
                return Err(Error::Exists { path });
            }
            other => other.map_err(|error| Error::file("rename a copy to", &self.target, error))?,
        }
        self.published = true;
        steps::reached("backup.renamed");
        sync_directory(directory(&self.target))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.published {
            // Whoever comes next sweeps what cannot be removed now.
            let _ = remove(&self.path);
        }
    }
}

/// The directory a file is in.
pub(super) fn directory(file: &Path) -> &Path {
    match file.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    }
}

/// Makes `dir` and what is missing above it, for this user alone, to stay.
pub(super) fn make_directory(dir: &Path) -> Result<()> {
    let missing: Vec<&Path> = dir
        .ancestors()
        .take_while(|dir| !dir.as_os_str().is_empty() && !dir.exists())
        .collect();
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|error| Error::file("create the directory", dir, error))?;
    missing
        .into_iter()
        .try_for_each(|made| sync_directory(directory(made)))
}

/// Has the disk keep the names in `dir`.
pub(super) fn sync_directory(dir: &Path) -> Result<()> {
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(|error| Error::file("sync the directory", dir, error))
}

/// Removes from `dir` what processes that were killed have left of files that
/// were to have a name that `is` wants.
pub(super) fn sweep(dir: &Path, is: impl Fn(&OsStr) -> bool) -> Result<()> {
    let at = |error| Error::file("list", dir, error);
    for entry in std::fs::read_dir(dir).map_err(at)? {
        let name = entry.map_err(at)?.file_name();
        if target_of(&name).is_some_and(|target| is(&target)) {
            remove_if_left(&dir.join(name));
        }
    }
    Ok(())
}

/// The name that a temporary file was to have.
fn target_of(name: &OsStr) -> Option<OsString> {
    let name = name.to_str()?;
    let (target, unique) = name.rsplit_once(MARK)?;
    let is_ours = unique.len() == 16 && unique.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_ours.then(|| target.into())
}

fn remove_if_left(path: &Path) {
    let Ok(file) = File::open(path) else {
        return;
    };
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
        // Not there any more, or next time.
        let _ = remove(path);
    }
}

/// Removes a database that nobody uses, with its WAL and journal. Those
/// go first: without the database nothing would say what they belong to.
pub(super) fn remove(database: &Path) -> io::Result<()> {
    for suffix in SUFFIXES {
        match std::fs::remove_file(beside(database, suffix)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    std::fs::remove_file(database)
}

fn rename(from: &Path, to: &Path, overwrite: bool) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    if !overwrite {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            // The filesystem cannot: as good as it gets.
            Err(Errno::INVAL | Errno::NOSYS) => {}
            other => return Ok(other?),
        }
    }
    if !overwrite && to.symlink_metadata().is_ok() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    std::fs::rename(from, to)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_process_left_is_swept_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("a.db");
        let left = [
            "a.db.copying-0123456789abcdef",
            "a.db.copying-0123456789abcdef-wal",
        ];
        let kept = [
            "a.db",
            "a.db.copying-0123",
            "b.db.copying-0123456789abcdef",
            "a.db.copying-0123456789abcdeg",
        ];
        for name in left.iter().chain(&kept) {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let in_work = Temporary::next_to(&target, 0o600).unwrap();
        let second = Temporary::next_to(&target, 0o600).unwrap();
        for name in left {
            assert!(!dir.path().join(name).exists(), "{name}");
        }
        for name in kept {
            assert!(dir.path().join(name).exists(), "{name}");
        }
        assert!(in_work.path().exists() && second.path().exists());
        let path = second.path().to_owned();
        drop(second);
        assert!(!path.exists());
        let Err(Error::Exists { path }) = in_work.publish(false) else {
            unreachable!("it is there");
        };
        assert_eq!(path, target);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), kept.len());
    }
}
