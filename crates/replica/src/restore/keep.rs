//! Keeps a database that is about to be replaced, under another name.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use monolite_platform::durable;
use monolite_platform::path::directory;
use monolite_sqlite_format::{SUFFIXES, sibling_path};

use super::error::RestoreError;
use super::swap;
use monolite_platform::failpoint;

/// Gives the database at `path`, with all that is in its log, the name `kept` as well;
/// its directory is made. No page is copied where the file system has hard links.
/// Whenever the machine dies, the database is still at `path`. Blocks.
///
/// # Errors
/// Another process has the database open, `kept` exists and is another file, or the
/// system refuses. Nothing was changed.
pub fn keep_database(path: &Path, kept: &Path) -> Result<(), RestoreError> {
    let dir = directory(kept);
    let at = |what, path: &Path| {
        let path = path.to_owned();
        move |error| RestoreError::file(what, &path, error)
    };
    durable::make_directories(dir, 0o777).map_err(at("make", dir))?;
    swap::recover(path)?;
    // What no SQLite can read may still have a log that somebody can.
    for suffix in [""]
        .iter()
        .chain(SUFFIXES.iter().filter(|it| **it != "-shm"))
    {
        let (from, to) = (sibling_path(path, suffix), sibling_path(kept, suffix));
        match fs::hard_link(&from, &to) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound && !suffix.is_empty() => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && is_same(&from, &to) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(RestoreError::Exists { path: to });
            }
            // The file system has none.
            Err(_) => copy(&from, &to).map_err(at("write", &to))?,
        }
    }
    durable::sync_directory(dir).map_err(at("write", dir))?;
    failpoint::reached("restore.kept");
    Ok(())
}

fn is_same(one: &Path, other: &Path) -> bool {
    let inode = |path| fs::metadata(path).map(|file| (file.dev(), file.ino())).ok();
    inode(one).is_some() && inode(one) == inode(other)
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::copy(from, to)?;
    fs::File::open(to)?.sync_all()
}
