//! What goes on in the background: merging and deleting old files, and sending a
//! snapshot. Either may take as long as a hundred syncs.

use std::time::Duration;

use bytes::Bytes;
use monolite_ltx::Txid;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::error::{Error, Result};
use crate::history::{Catalog, Policy};
use crate::storage::{FileInfo, Replica, StorageError};

/// The pause before a snapshot that could not be stored is made again.
const RETRY_PAUSE: Duration = Duration::from_secs(3600);

/// The catalog of a replica's files and the work in the background, which ends
/// with this value. While files are merged, the catalog is with that task.
pub(super) struct Background {
    /// `None` while files are merged.
    catalog: Option<Catalog>,
    /// Files stored meanwhile, and the times of their states.
    added: Vec<(FileInfo, i64)>,
    /// One at most.
    maintenance: JoinSet<(Catalog, Result<()>)>,
    /// One at most.
    upload: JoinSet<Result<FileInfo, StorageError>>,
    /// When a snapshot was made last.
    made: Option<Instant>,
    maintenance_error: Option<String>,
    snapshot_error: Option<String>,
}

impl Background {
    pub(super) fn new(catalog: Catalog) -> Self {
        Self {
            catalog: Some(catalog),
            added: Vec::new(),
            maintenance: JoinSet::new(),
            upload: JoinSet::new(),
            made: None,
            maintenance_error: None,
            snapshot_error: None,
        }
    }

    /// Takes in a file that was stored.
    pub(super) fn add(&mut self, file: FileInfo, time_ms: i64, body: Option<Bytes>) {
        match (&mut self.catalog, body) {
            (Some(catalog), Some(body)) => catalog.add_with(file, time_ms, body),
            (Some(catalog), None) => catalog.add(file, time_ms),
            // Its content is fetched to be merged: only the catalog bounds what
            // is kept of those.
            (None, _) => self.added.push((file, time_ms)),
        }
    }

    /// Whether a snapshot is to be made: the last is older than `every`, and of
    /// another state than `txid`.
    pub(super) fn wants_snapshot(&self, now_ms: i64, every: Duration, txid: Txid) -> bool {
        let Some(catalog) = &self.catalog else {
            return false;
        };
        let every_ms = i64::try_from(every.as_millis()).unwrap_or(i64::MAX);
        let due = |made: Instant| made.elapsed() >= every.min(RETRY_PAUSE);
        self.upload.is_empty()
            && self.made.is_none_or(due)
            && catalog.snapshot_age_ms(now_ms) >= every_ms
            && catalog
                .newest_snapshot()
                .is_none_or(|file| file.max != txid)
    }

    /// One was made, or could not be.
    pub(super) fn snapshot_made(&mut self, result: Result<(), String>) {
        self.made = Some(Instant::now());
        self.snapshot_error = result
            .err()
            .map(|error| format!("a snapshot could not be made: {error}"));
    }

    /// Begins to send a snapshot.
    pub(super) fn send_snapshot(
        &mut self,
        upload: impl Future<Output = Result<FileInfo, StorageError>> + Send + 'static,
    ) {
        self.upload.spawn(upload);
    }

    /// Whether no files are being merged or deleted.
    pub(super) fn is_idle(&self) -> bool {
        self.catalog.is_some()
    }

    /// Begins to merge and delete.
    pub(super) fn maintain(&mut self, replica: &Replica, policy: &Policy, now_ms: i64) {
        let Some(mut catalog) = self.catalog.take() else {
            return;
        };
        let (replica, policy) = (replica.clone(), *policy);
        self.maintenance.spawn(async move {
            let result = catalog.maintain(&replica, &policy, now_ms).await;
            (catalog, result.map(|_| ()))
        });
    }

    /// Takes the results of what has ended. Returns whether all of it succeeded.
    ///
    /// # Errors
    /// What is known of the files is lost: they are to be listed again.
    pub(super) fn collect(&mut self) -> Result<bool> {
        let mut well = true;
        match self.upload.try_join_next() {
            Some(Ok(Ok(file))) => {
                self.snapshot_error = None;
                let time_ms = file.stored_ms;
                self.add(file, time_ms, None);
            }
            Some(Ok(Err(error))) => {
                well = false;
                self.snapshot_error = Some(format!("a snapshot was not stored: {error}"));
            }
            Some(Err(error)) => {
                well = false;
                self.snapshot_error = Some(format!("a snapshot was not stored: {error}"));
            }
            None => {}
        }
        match self.maintenance.try_join_next() {
            Some(Ok((mut catalog, result))) => {
                for (file, time_ms) in self.added.drain(..) {
                    catalog.add(file, time_ms);
                }
                self.catalog = Some(catalog);
                well &= result.is_ok();
                self.maintenance_error = result
                    .err()
                    .map(|error| format!("old files were not merged or deleted: {error}"));
            }
            Some(Err(error)) => {
                return Err(Error::Background {
                    what: error.to_string(),
                });
            }
            None => {}
        }
        Ok(well)
    }

    /// Waits until all of it has ended.
    ///
    /// # Errors
    /// As [`collect`](Self::collect).
    pub(super) async fn finish(&mut self) -> Result<()> {
        while !(self.upload.is_empty() && self.maintenance.is_empty()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
            self.collect()?;
        }
        Ok(())
    }

    /// What failed, for people.
    pub(super) fn advice(&self) -> Option<String> {
        let all: Vec<&str> = [&self.snapshot_error, &self.maintenance_error]
            .into_iter()
            .flatten()
            .map(String::as_str)
            .collect();
        (!all.is_empty()).then(|| all.join("; "))
    }
}
