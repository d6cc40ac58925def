//! The volume whose databases are guarded: which there are, and where their files lie.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::host::Host;
use crate::journal;
use crate::listing::list;
use crate::progress::{DatabaseProgress, Progress};
use crate::{files, open_files};

/// A volume as one guarded migration sees it.
#[derive(Clone)]
pub(crate) struct Volume {
    pub(crate) host: Arc<dyn Host>,
}

impl Volume {
    pub(crate) fn dir(&self) -> &Path {
        self.host.volume()
    }

    /// Where the journal and the copies are.
    pub(crate) fn own_dir(&self) -> PathBuf {
        journal::directory(self.dir())
    }

    /// A database's path in the volume.
    pub(crate) fn name(&self, database: &Path) -> Option<PathBuf> {
        Some(database.strip_prefix(self.dir()).ok()?.to_owned())
    }

    /// The databases there are, by their paths in the volume; links to databases outside of it
    /// included.
    pub(crate) fn names(&self) -> Vec<PathBuf> {
        self.names_with(list(self.dir()).links)
    }

    /// As [`names`](Self::names), with the links that are known already.
    pub(crate) fn names_with(&self, links: Vec<PathBuf>) -> Vec<PathBuf> {
        let found = self.host.databases();
        let mut names: Vec<_> = found.iter().filter_map(|path| self.name(path)).collect();
        for link in links {
            if !names.contains(&link) {
                names.push(link);
            }
        }
        names
    }

    /// The file of a database. SQLite follows a link, and has the log where that leads.
    pub(crate) fn file(&self, name: &Path) -> PathBuf {
        let path = self.dir().join(name);
        match path.is_symlink() {
            true => target(&path).unwrap_or(path),
            false => path,
        }
    }

    /// The database that another process has open for longer than a moment, and which process.
    pub(crate) fn stays_open(&self, files: &[PathBuf]) -> Option<(PathBuf, String)> {
        open_files::stays_open(files, self.host.has_no_database_open())
    }

    pub(crate) fn warn(&self, what: String) {
        self.host.report(Progress::Warning(what));
    }

    /// Does `work` with what reports the steps with the database `shown`.
    pub(crate) fn reporting<T>(
        &self,
        shown: &str,
        work: impl FnOnce(&DatabaseProgress<'_>) -> T,
    ) -> T {
        let report = |progress| self.host.report(progress);
        work(&DatabaseProgress::new(shown, &report))
    }

    /// Warns of a database that was not recognised as one when the migration began, as a file
    /// without an extension is not while nobody has it open.
    pub(crate) fn warn_unguarded(&self, name: &Path) {
        self.warn(format!(
            "{} was there before, and did not look like a database: it stays as it is, and is not guarded; a name that ends in .sqlite3 would be",
            name.display()
        ));
    }

    /// Makes the disk keep a database, with its log.
    pub(crate) fn sync(&self, file: &Path) -> Result<()> {
        let files = [file.to_owned()].into_iter();
        let files = files.chain(files::LOGS.map(|suffix| files::beside(file, suffix)));
        for file in files {
            match self.host.sync(&file) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::file("sync", &file, error));
                }
                _ => {}
            }
        }
        match files::directory(file) {
            dir if dir.exists() => files::sync(dir),
            _ => Ok(()),
        }
    }
}

/// Where a link leads, also if nothing is there.
fn target(link: &Path) -> Option<PathBuf> {
    link.canonicalize().ok().or_else(|| {
        let target = files::directory(link).join(link.read_link().ok()?);
        let dir = files::directory(&target).canonicalize().ok()?;
        Some(dir.join(target.file_name()?))
    })
}
