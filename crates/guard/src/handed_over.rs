//! Allowances that the guarded command itself hands to its guard: `monolite migrate up`, as the
//! command of `monolite migrate -- …` or of `monolite run --migrate`, has read them in the migration
//! files that it applies.
//!
//! Invariant: they are in the directory of this migration's copies, which no other migration has, so
//! that none of them allows anything later. They are on the disk before the first file is applied.
//! Each is for one database: what the files of one allow is no word about another.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use monolite_migrate::allowance::Allowance;
use monolite_volume::layout;

use crate::error::{Error, Result};
use crate::files;
use crate::journal::Journal;

/// Most bytes of them that are read.
const BYTES_MAX: u64 = 1 << 20;

/// The file: a JSON object of lists of allowances, by the database.
const NAME: &str = "allowed";

/// Allowances by the path of the database in the volume.
type ByDatabase = BTreeMap<String, BTreeSet<String>>;

/// Hands `allowances` for losses in `database`, its path in `volume`, to the guard that this process
/// runs under there. Each is as it is written for `--allow-loss`. Those handed over before stay.
///
/// # Errors
/// No migration is under way there, the file cannot be read or written, or there are more than 1 MB
/// of allowances.
pub fn hand_over(volume: &Path, database: &Path, allowances: &[String]) -> Result<()> {
    let dir = layout::migrations(volume);
    let Some(journal) = Journal::load(volume)? else {
        let missing = ErrorKind::NotFound.into();
        return Err(Error::file(
            "find the migration under way in",
            &dir,
            missing,
        ));
    };
    // The guard may know the database by another path, through a link.
    let real = |name: &Path| volume.join(name).canonicalize().ok();
    let mut known = journal.databases.iter().map(|of| of.name.as_path());
    let known = known
        .find(|name| *name == database || real(name).is_some_and(|of| Some(of) == real(database)));
    let database = known.unwrap_or(database).display().to_string();
    let dir = dir.join(&journal.stamp);
    files::make_directory(&dir)?;
    let path = dir.join(NAME);
    let wrong = |error| Error::file("read", &path, error);
    let mut all = match read(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => ByDatabase::new(),
        all => all.map_err(wrong)?,
    };
    all.entry(database)
        .or_default()
        .extend(allowances.iter().cloned());
    let text = serde_json::to_vec(&all).map_err(|error| wrong(error.into()))?;
    if text.len() as u64 > BYTES_MAX {
        return Err(Error::file("write", &path, ErrorKind::FileTooLarge.into()));
    }
    files::write(&path, &text)
}

fn read(path: &Path) -> std::io::Result<ByDatabase> {
    let mut text = Vec::new();
    File::open(path)?.take(BYTES_MAX).read_to_end(&mut text)?;
    Ok(serde_json::from_slice(&text)?)
}

/// What was handed over to the migration whose copies are in `dir`.
pub(crate) struct Received(ByDatabase);

impl Received {
    pub(crate) fn of(dir: &Path) -> Self {
        // What cannot be read allows nothing.
        Self(read(&dir.join(NAME)).unwrap_or_default())
    }

    /// The allowances for one database, by its path in the volume.
    pub(crate) fn for_database(&self, name: &str) -> Vec<Allowance> {
        let allowances = self.0.get(name).into_iter().flatten();
        allowances.map(|text| Allowance::new(text)).collect()
    }
}
