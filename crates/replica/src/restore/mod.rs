//! From a replica to a database file that proves itself.
//!
//! All files of a plan are fetched at the same time, a few at once, and decoded
//! as they come; each page is written to its offset in a temporary file, at most once by the newest file that holds it and seldom before
//! by an older one. The checksum of the whole database is made on the way and
//! compared with the one that was replicated. The file gets its name only
//! when it is complete and on the disk.

mod build;
mod check;
mod error;
mod fetch;
mod keep;
mod output;
mod pages;
mod route;
mod swap;
mod target;
mod verify;

use std::path::Path;
use std::sync::Arc;

use monolite_platform::durable::{self, Options, Temporary};
use monolite_platform::path::directory;

pub use self::build::Restored;
pub use self::check::{Integrity, IntegrityCheck};
pub use self::error::RestoreError;
pub use self::keep::keep_database;
pub use self::swap::{Existing, replace_database};
pub use self::verify::{VerifyOptions, verify};

use self::build::Build;
use self::fetch::blocking;
use self::output::{Durability, Output};
use self::route::Route;
use crate::history::Target;
use crate::progress::Progress;
use crate::storage::Replica;
use monolite_platform::failpoint;

/// The file that a database is restored into. Without an old database, the app
/// that owns the directory must be able to write it.
const RESTORING: Options = Options::new("restoring").mode(0o666).owner_of_directory();

/// How a database is restored.
#[derive(Debug, Clone)]
pub struct RestoreOptions {
    /// Which state. Default: the newest.
    pub target: Target,
    /// Whether a file that is there may be replaced. Default: no.
    pub overwrite: bool,
    /// Whether a file that is replaced is kept next to the new one
    /// ([`Existing::Keep`]). Default: no.
    pub keep: bool,
    /// How many files are fetched at a time; each needs up to 5 MiB of memory.
    /// Default: 8.
    pub parallel: usize,
    /// What SQLite is asked afterwards.
    pub integrity_check: IntegrityCheck,
    /// Receives the progress. Default: none is reported.
    pub progress: Arc<dyn Progress>,
}

impl Default for RestoreOptions {
    fn default() -> Self {
        Self {
            target: Target::Latest,
            overwrite: false,
            keep: false,
            parallel: 8,
            integrity_check: IntegrityCheck::default(),
            progress: Arc::new(()),
        }
    }
}

impl RestoreOptions {
    fn existing(&self) -> Existing {
        match (self.overwrite, self.keep) {
            (false, _) => Existing::Refuse,
            (true, false) => Existing::Replace,
            (true, true) => Existing::Keep,
        }
    }
}

/// Restores a database to the file `out`, whole or not at all.
///
/// The folder is made if it is not there. A `-wal`, `-shm` or `-journal` of the
/// old database goes with it. If the replica changes so that
/// a file is gone, it is planned again, once. A damaged file is gone around where
/// other files lead to the same state.
///
/// # Errors
/// Nothing was changed, and nothing is left behind.
pub async fn restore(
    replica: &Replica,
    out: &Path,
    options: RestoreOptions,
) -> Result<Restored, RestoreError> {
    let (path, existing) = (out.to_owned(), options.existing());
    let out = blocking(move || {
        // SQLite follows a link, too, and keeps the WAL next to the link's target.
        let path = std::fs::canonicalize(&path).unwrap_or(path);
        swap::check(&path, existing)?;
        Ok(path)
    });
    let out = out.await?;
    let mut route = Route::begin(replica, options.target, &options.progress).await?;
    loop {
        let build = route.next().await?;
        match restore_once(&build, &out, &options).await {
            Ok(restored) => {
                let damages = route.damages();
                return Ok(Restored {
                    damages,
                    ..restored
                });
            }
            Err(error) => route.avoid(error).await?,
        }
    }
}

async fn restore_once(
    build: &Build<'_>,
    out: &Path,
    options: &RestoreOptions,
) -> Result<Restored, RestoreError> {
    let (path, existing, size) = (out.to_owned(), options.existing(), build.size());
    let begun = blocking(move || {
        let dir = directory(&path);
        durable::make_directories(dir, 0o777)
            .map_err(|error| RestoreError::file("make", dir, error))?;
        let old = swap::check(&path, existing)?;
        let options = match &old {
            Some(old) => RESTORING.like(old),
            None => RESTORING,
        };
        let made = Temporary::create(&path, &options);
        let made = made.map_err(|error| RestoreError::file("write next to", &path, error))?;
        let output = Output::new(made.file(), path, size, Durability::Synced)?;
        Ok((made, output))
    });
    let (temporary, output) = begun.await?;
    failpoint::reached("restore.begun");

    let (restored, output) = build.fetch(Some(output), options.parallel).await?;
    failpoint::reached("restore.written");
    let sync = blocking(move || output.map_or(Ok(()), Output::sync));
    let check = build.check(restored, options.integrity_check, temporary.path());
    let (synced, checked) = tokio::join!(sync, check);
    let restored = checked?;
    synced?;
    failpoint::reached("restore.synced");

    let out = out.to_owned();
    let kept = blocking(move || swap::swap(temporary, &out, existing)).await?;
    Ok(Restored { kept, ..restored })
}
