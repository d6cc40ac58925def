//! Proving that a replica can be restored, before it has to be.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use monolite_platform::durable::{Options, Scratch};

use super::Restored;
use super::build::Build;
use super::check::IntegrityCheck;
use super::error::RestoreError;
use super::fetch::blocking;
use super::output::{Durability, Output};
use super::route::Route;
use crate::history::Target;
use crate::progress::Progress;
use crate::storage::Replica;

/// How a replica is verified.
#[derive(Debug, Clone)]
pub struct VerifyOptions {
    /// Which state. Default: the newest.
    pub target: Target,
    /// How many files are fetched at a time. Default: 8.
    pub parallel: usize,
    /// What SQLite is asked. For this the database is written to a temporary
    /// file; without, to nowhere. Default: everything.
    pub integrity_check: IntegrityCheck,
    /// The folder of that file. Default: the system's for temporary files.
    pub scratch: PathBuf,
    /// Receives the progress. Default: none is reported.
    pub progress: Arc<dyn Progress>,
}

impl Default for VerifyOptions {
    fn default() -> Self {
        Self {
            target: Target::Latest,
            parallel: 8,
            integrity_check: IntegrityCheck::Full,
            scratch: std::env::temp_dir(),
            progress: Arc::new(()),
        }
    }
}

/// Restores a state into nowhere, or into a file that is removed again, and
/// proves all that [`restore`](super::restore()) proves.
///
/// # Errors
/// The state cannot be restored, or cannot be restored right; or there was no
/// way to tell.
pub async fn verify(replica: &Replica, options: VerifyOptions) -> Result<Restored, RestoreError> {
    let mut route = Route::begin(replica, options.target, &options.progress).await?;
    loop {
        let build = route.next().await?;
        match verify_once(&build, &options).await {
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

async fn verify_once(build: &Build<'_>, options: &VerifyOptions) -> Result<Restored, RestoreError> {
    let check = options.integrity_check;
    if !check.is_done(true) {
        let (restored, _) = build.fetch(None, options.parallel).await?;
        if !check.is_done(restored.checksum.is_some()) {
            return Ok(restored);
        }
    }
    let (temporary, output) = temporary(&options.scratch, build.size()).await?;
    let (restored, _) = build.fetch(Some(output), options.parallel).await?;
    build.check(restored, check, temporary.path()).await
}

/// The file that a state is restored into to be checked.
const VERIFYING: Options = Options::new("verifying");

async fn temporary(scratch: &Path, size: u64) -> Result<(Scratch, Output), RestoreError> {
    let scratch = scratch.to_owned();
    blocking(move || {
        let made = Scratch::create(&scratch, &VERIFYING);
        let made = made.map_err(|error| RestoreError::file("write in", &scratch, error))?;
        let output = Output::new(made.file(), scratch, size, Durability::Fleeting)?;
        Ok((made, output))
    })
    .await
}
