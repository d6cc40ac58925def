//! The copies that earlier migrations left of a database as it was before them: what
//! `monolite migrate up --redo` goes back to.

use std::path::{Path, PathBuf};

use monolite_volume::layout;

use crate::active::Active;
use crate::error::{Error, Result};
use crate::files;
use crate::journal::Database;
use crate::snapshots::{BEFORE, FOUND};
use monolite_platform::failpoint;

/// What the database was before [`Active::start_from`], in its directory of [`FOUND`].
const BEFORE_REDO: &str = "before-redo.sqlite3";

/// The state to which `database` is rolled back, if it was not empty: what it was before a copy of an
/// earlier migration was put into it, else its snapshot. `dir` is that of the migration's copies.
pub(crate) fn state_before(dir: &Path, database: &Database) -> Option<PathBuf> {
    let snapshot = database.snapshot.as_ref()?;
    let newest = dir.join(FOUND).join(&database.name).join(BEFORE_REDO);
    Some(match newest.exists() {
        true => newest,
        false => dir.join(snapshot),
    })
}

/// The copies of the database with the path `name` in `volume` from before earlier migrations, the
/// newest first.
#[must_use]
pub fn earlier_copies(volume: &Path, name: &Path) -> Vec<PathBuf> {
    let list = |dir: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        let mut paths: Vec<_> = entries.map(|entry| entry.path()).collect();
        paths.sort_unstable();
        paths
    };
    let migrations = list(&layout::migrations(volume)).into_iter().rev();
    migrations
        .flat_map(|dir| list(&dir.join(BEFORE).join(name)))
        .filter(|path| path.extension().is_some_and(|is| is == "sqlite3"))
        .collect()
}

impl Active {
    /// Before the command: makes `copy` the state that the database `name` is compared with. The
    /// snapshot that was taken of it is kept; its path is the answer. The caller restores the copy
    /// into the database.
    ///
    /// Invariant: from before the copy takes the snapshot's path until the migration is accepted, the
    /// newest state is in `found/`, and a rollback leads to that state, never to the copy. At each
    /// point the journal names a whole snapshot: that of the database, then the copy.
    ///
    /// # Errors
    /// The database is not one of the migration, or was empty; or the disk fails.
    pub fn start_from(&mut self, name: &Path, copy: &Path) -> Result<PathBuf> {
        let dir = self.journal.copies(&self.volume);
        let known = self.journal.databases.iter().find(|of| of.name == name);
        let Some(snapshot) = known.and_then(|of| of.snapshot.clone()) else {
            let missing = std::io::ErrorKind::NotFound.into();
            return Err(Error::file("find the snapshot of", name, missing));
        };
        let taken = dir.join(&snapshot);
        let kept = dir.join(FOUND).join(name);
        files::make_directory(&kept)?;
        let kept = kept.join(BEFORE_REDO);
        let wrong = |path: &Path| {
            let path = path.to_owned();
            move |error| Error::file("copy", &path, error)
        };
        std::fs::hard_link(&taken, &kept).map_err(wrong(&taken))?;
        files::sync(files::directory(&kept))?;
        failpoint::reached("guard.snapshot-kept");
        let new = files::with_suffix(&taken, "-new");
        std::fs::copy(copy, &new).map_err(wrong(copy))?;
        let synced = std::fs::File::open(&new).and_then(|file| file.sync_all());
        synced.map_err(wrong(&new))?;
        std::fs::rename(&new, &taken).map_err(wrong(&new))?;
        files::sync(files::directory(&taken))?;
        // They were those of the snapshot.
        self.checksums.remove(&snapshot);
        Ok(kept)
    }
}
