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
mod output;
mod pages;
mod place;
mod swap;
mod target;
mod temporary;
mod verify;

use std::path::Path;
use std::sync::Arc;

use monolite_ltx::{Checksum, Txid};

pub use self::check::{Integrity, IntegrityCheck};
pub use self::error::RestoreError;
pub use self::swap::replace_database;
pub use self::verify::{VerifyOptions, verify};

use self::build::Build;
use self::fetch::blocking;
use self::output::{Durability, Output};
use self::place::folder;
use self::temporary::Temporary;
use crate::history::Target;
use crate::map::PageMap;
use crate::progress::Progress;
use crate::steps;
use crate::storage::Replica;

/// How a database is restored.
#[derive(Debug, Clone)]
pub struct RestoreOptions {
    /// Which state. Default: the newest.
    pub target: Target,
    /// Whether a file that is there may be replaced. Default: no.
    pub overwrite: bool,
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
            parallel: 8,
            integrity_check: IntegrityCheck::default(),
            progress: Arc::new(()),
        }
    }
}

/// What was restored.
#[derive(Debug, Clone)]
pub struct Restored {
    /// The state.
    pub txid: Txid,
    /// When it was there, in milliseconds since 1970.
    pub timestamp_ms: i64,
    /// How many pages the database has.
    pub pages: u32,
    /// Bytes of a page.
    pub page_size: u32,
    /// How many bytes were fetched.
    pub bytes: u64,
    /// Of how many files.
    pub files: usize,
    /// The checksum of the whole database that was replicated with the state,
    /// and that what was restored has; `None`: nothing was replicated to compare
    /// with, as by Litestream. All files had their own checksums either way.
    pub checksum: Option<Checksum>,
    /// The result of SQLite's check.
    pub integrity: Integrity,
    /// The checksums of all pages, as replication goes on with.
    pub map: PageMap,
}

/// Restores a database to the file `out`, whole or not at all.
///
/// The folder is made if it is not there. A `-wal`, `-shm` or `-journal` of the
/// old database goes with it. If the replica changes so that
/// a file is gone, it is planned again, once.
///
/// # Errors
/// Nothing was changed, and nothing is left behind.
pub async fn restore(
    replica: &Replica,
    out: &Path,
    options: RestoreOptions,
) -> Result<Restored, RestoreError> {
    let (path, overwrite) = (out.to_owned(), options.overwrite);
    let out = blocking(move || {
        // SQLite follows a link, too, and keeps the WAL next to the link's target.
        let path = std::fs::canonicalize(&path).unwrap_or(path);
        swap::check(&path, overwrite)?;
        Ok(path)
    });
    let out = out.await?;
    let first = restore_once(replica, &out, &options).await;
    match first {
        Err(error) if error.is_gone() => restore_once(replica, &out, &options).await,
        other => other,
    }
}

async fn restore_once(
    replica: &Replica,
    out: &Path,
    options: &RestoreOptions,
) -> Result<Restored, RestoreError> {
    let build = Build::plan(replica, options.target, &options.progress).await?;
    let (path, overwrite, size) = (out.to_owned(), options.overwrite, build.size());
    let begun = blocking(move || {
        place::make(folder(&path))?;
        let old = swap::check(&path, overwrite)?;
        let made = Temporary::next_to(&path, old.as_ref());
        let made = made.map_err(|error| RestoreError::file("write next to", &path, error))?;
        let output = Output::new(made.file(), path, size, Durability::Synced)?;
        Ok((made, output))
    });
    let (temporary, output) = begun.await?;
    steps::reached("restore.begun");

    let (restored, output) = build.fetch(Some(output), options.parallel).await?;
    steps::reached("restore.written");
    let sync = blocking(move || output.map_or(Ok(()), Output::sync));
    let check = build.check(restored, options.integrity_check, temporary.path());
    let (synced, checked) = tokio::join!(sync, check);
    let restored = checked?;
    synced?;
    steps::reached("restore.synced");

    let out = out.to_owned();
    blocking(move || swap::swap(temporary, &out, overwrite)).await?;
    Ok(restored)
}
