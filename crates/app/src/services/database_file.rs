//! The empty file of a database that does not exist yet, for frameworks that refuse to create it.
//!
//! It comes after replication has started: a database that a replica has is restored by then, and no
//! app gets an empty file in its place. The file is made without a descriptor on it, so that no lock
//! of a connection in this process is lost.

use std::io;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use monolite_supervisor::{Error, Run, Service, Started, wants_a_database_file};
use rustix::fs::{CWD, FileType, Mode, mknodat};

pub(crate) struct DatabaseFile {
    pub(crate) app_dir: PathBuf,
    pub(crate) database: PathBuf,
}

#[async_trait(?Send)]
impl Service for DatabaseFile {
    fn name(&self) -> &'static str {
        "database file"
    }

    async fn start(&mut self, _: &mut Run) -> Result<Started, Error> {
        if wants_a_database_file(&self.app_dir) {
            match create(&self.database) {
                Ok(true) => tracing::info!(
                    database = %self.database.display(),
                    "created, empty: the framework does not do it"
                ),
                Ok(false) => {}
                Err(source) => {
                    let what = "create the file of the database";
                    return Err(Error::Io { what, source });
                }
            }
        }
        Ok(Started::Yes)
    }
}

/// False if it exists.
fn create(path: &Path) -> io::Result<bool> {
    // What the user's umask leaves of it, as if SQLite had created it.
    let mode = Mode::from_raw_mode(0o644);
    match mknodat(CWD, path, FileType::RegularFile, mode, 0) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::EXIST) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_created_once_and_never_touched() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.sqlite3");
        assert!(create(&path).unwrap());
        assert_eq!(path.metadata().unwrap().len(), 0);
        std::fs::write(&path, "rows").unwrap();
        assert!(!create(&path).unwrap());
        assert_eq!(std::fs::read(&path).unwrap(), b"rows");
        assert!(create(&dir.path().join("missing/app.sqlite3")).is_err());
    }
}
