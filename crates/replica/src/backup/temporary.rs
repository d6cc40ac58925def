//! The temporary files of copies, and their final names.

use std::io;
use std::path::Path;

use monolite_platform::durable::{self, IfExists, Options, Temporary};
use monolite_platform::failpoint;
use monolite_sqlite_format::{SUFFIXES, sibling_path};

use super::error::{Error, Result};

/// A copy that is being made. SQLite opens it, and may leave a WAL next to it.
const COPYING: Options = Options::new("copying").companions(&SUFFIXES);

/// An empty file that is to become `target`, with the permissions `mode`.
pub(super) fn create(target: &Path, mode: u32) -> Result<Temporary> {
    Temporary::create(target, &COPYING.mode(mode))
        .map_err(|error| Error::file("create", target, error))
}

/// Gives a copy its final name.
pub(super) fn publish(temporary: Temporary, overwrite: bool) -> Result<()> {
    failpoint::reached("backup.publishing");
    let target = temporary.target().to_owned();
    let if_exists = match overwrite {
        true => IfExists::Replace,
        false => IfExists::Fail,
    };
    temporary
        .persist(if_exists)
        .map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => Error::Exists {
                path: target.clone(),
            },
            _ => Error::file("rename a copy to", &target, error),
        })?;
    failpoint::reached("backup.renamed");
    Ok(())
}

/// Removes from `dir` what killed processes left of unfinished copies.
pub(super) fn sweep(dir: &Path) -> Result<()> {
    match durable::sweep(dir, &COPYING) {
        Ok(_) => Ok(()),
        Err(error) => Err(Error::file("list", dir, error)),
    }
}

/// Removes a database that nobody uses, with its WAL and journal. Those go
/// first: without the database nothing would say what they belong to.
pub(super) fn remove(database: &Path) -> io::Result<()> {
    for suffix in SUFFIXES {
        match std::fs::remove_file(sibling_path(database, suffix)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    std::fs::remove_file(database)
}
