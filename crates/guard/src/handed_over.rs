//! Allowances that the guarded command itself hands to its guard: `monolite migrate up`, as the
//! command of `monolite migrate -- …` or of `monolite run --migrate`, has read them in the migration
//! files that it applies.
//!
//! Invariant: they are in the directory of this migration's copies, which no other migration has, so
//! that none of them allows anything later. They are on the disk before the first file is applied.

use std::path::Path;

use monolite_migrate::allowance::Allowance;
use monolite_volume::layout;

use crate::error::{Error, Result};
use crate::files;
use crate::journal::Journal;

/// Most bytes of them that are read.
const BYTES_MAX: u64 = 1 << 20;

/// The file with one allowance a line.
const NAME: &str = "allowed";

/// Hands `allowances`, each as it is written for `--allow-loss`, to the guard that this process runs
/// under on `volume`. Those handed over before are replaced.
///
/// # Errors
/// No migration is under way there, or the file cannot be written.
pub fn hand_over(volume: &Path, allowances: &[String]) -> Result<()> {
    let dir = layout::migrations(volume);
    let Some(journal) = Journal::load(volume)? else {
        let missing = std::io::ErrorKind::NotFound.into();
        return Err(Error::file(
            "find the migration under way in",
            &dir,
            missing,
        ));
    };
    let dir = dir.join(&journal.stamp);
    files::make_directory(&dir)?;
    let lines: Vec<&str> = allowances
        .iter()
        .map(String::as_str)
        .filter(|one| !one.contains('\n'))
        .collect();
    files::write(&dir.join(NAME), lines.join("\n").as_bytes())
}

/// What was handed over to the migration whose copies are in `dir`.
pub(crate) fn received(dir: &Path) -> Vec<Allowance> {
    use std::io::Read;
    let mut text = String::new();
    let read = std::fs::File::open(dir.join(NAME))
        .and_then(|file| file.take(BYTES_MAX).read_to_string(&mut text));
    match read {
        Ok(_) => text.lines().map(Allowance::new).collect(),
        // What cannot be read allows nothing.
        Err(_) => Vec::new(),
    }
}
