//! The copies that earlier migrations left of a database as it was before them: what
//! `monolite migrate up --redo` goes back to.

use std::path::{Path, PathBuf};

use monolite_volume::layout;

use crate::active::Active;
use crate::error::{Error, Result};
use crate::files;
use crate::snapshots::{BEFORE, FOUND, unused_path};
use monolite_platform::failpoint;

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
    /// Before the command: makes `copy` the state that the database `name` is compared with and
    /// rolled back to. The snapshot that was taken of it is kept as a state that was replaced; its
    /// path is the answer. The caller restores the copy into the database.
    ///
    /// At each point the journal names a whole snapshot: that of the database, then the copy.
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
        let kept = unused_path(&kept.join("before-redo.sqlite3"));
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
