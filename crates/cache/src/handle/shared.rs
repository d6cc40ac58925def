//! The files of the moment, and what becomes of them.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::Mutex;

use super::files::{self, Files};
use crate::{CacheOptions, Error, Moment, Result};

/// So many gets, or a sixteenth as many writes, between two looks at the name.
pub(crate) const LOOK_EVERY: u64 = 256;
/// What the janitor's thread has as well.
pub(crate) struct Shared {
    pub(crate) path: PathBuf,
    pub(crate) options: CacheOptions,
    pub(crate) boot: String,
    /// `None` once closed.
    pub(crate) current: RwLock<Option<Arc<Files>>>,
    pub(crate) recovering: Mutex<()>,
    pub(crate) rebuilds: AtomicU64,
    pub(crate) ops: AtomicU64,
}

impl Shared {
    pub(crate) fn files(&self) -> Result<Arc<Files>> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current.clone().ok_or(Error::Closed)
    }

    pub(crate) fn wall_ms(&self) -> i64 {
        self.options.clock.wall_ms()
    }

    pub(crate) fn lease_ms(&self) -> i64 {
        i64::try_from(self.options.lease.as_millis()).unwrap_or(i64::MAX)
    }

    pub(crate) fn moment(&self) -> Moment<'_> {
        Moment {
            wall_ms: self.options.clock.wall_ms(),
            steady_ms: self.options.clock.steady_ms(),
            boot: &self.boot,
        }
    }

    /// The files to work on; not those that another process has replaced.
    pub(crate) async fn current(self: &Arc<Self>, weight: u64) -> Result<Arc<Files>> {
        let files = self.files()?;
        let before = self.ops.fetch_add(weight, Ordering::Relaxed);
        if before / LOOK_EVERY != (before + weight) / LOOK_EVERY
            && files.identity.is_some()
            && files::identity(&self.path) != files.identity
        {
            self.recover(&files, None).await?;
            return self.files();
        }
        Ok(files)
    }

    /// Opens the files anew; those that were found damaged are taken away.
    pub(crate) async fn recover(
        self: &Arc<Self>,
        bad: &Arc<Files>,
        reason: Option<String>,
    ) -> Result<()> {
        let _only = self.recovering.lock().await;
        if !Arc::ptr_eq(bad, &self.files()?) {
            return Ok(()); // Somebody was faster.
        }
        let (done, answer) = tokio::sync::oneshot::channel();
        let shared = Arc::clone(self);
        let suspect = bad.identity.zip(reason);
        // It blocks: not on the runtime.
        std::thread::Builder::new()
            .name("monolite-cache-rebuild".into())
            .spawn(move || {
                let opened = files::open(&shared.path, &shared.options, suspect);
                let _ = done.send(opened);
            })
            .map_err(|source| Error::Io {
                what: "start a thread to make anew",
                path: self.path.clone(),
                source,
            })?;
        let opened = answer.await.unwrap_or(Err(Error::Closed))?;
        self.rebuilds.fetch_add(1, Ordering::Relaxed);
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if current.is_some() {
            *current = Some(Arc::new(opened));
        }
        Ok(())
    }

    /// What a read says, with a damaged file taken for an empty one.
    pub(crate) async fn mended<T>(
        self: &Arc<Self>,
        files: &Arc<Files>,
        result: Result<T>,
        empty: T,
    ) -> Result<T> {
        match result {
            Err(error) if error.is_corruption() => {
                self.recover(files, Some(error.to_string())).await?;
                Ok(empty)
            }
            other => other,
        }
    }
}
