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
    /// Files were merged and deleted since [`take_finished`](Self::take_finished).
    finished: bool,
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
            finished: false,
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

    /// Compares what is known of the files with what the replica lists now. While
    /// files are merged it does nothing.
    ///
    /// # Errors
    /// The replica cannot be listed.
    pub(super) async fn audit(&mut self, replica: &Replica) -> Result<()> {
        match &mut self.catalog {
            Some(catalog) => catalog.audit(replica).await,
            None => Ok(()),
        }
    }

    /// Why the files do not lead to the state `txid`. Not known while files are
    /// merged, or while a snapshot is sent, which may close a gap.
    pub(super) fn gap(&self, txid: Txid) -> Option<String> {
        let catalog = self.catalog.as_ref().filter(|_| self.upload.is_empty());
        catalog.and_then(|catalog| catalog.gap(txid))
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
                self.finished = true;
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

    /// Whether files were merged and deleted since the last call.
    pub(super) fn take_finished(&mut self) -> bool {
        std::mem::take(&mut self.finished)
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
        let errors = [&self.snapshot_error, &self.maintenance_error];
        let mut all: Vec<String> = errors.into_iter().flatten().cloned().collect();
        if let Some(catalog) = &self.catalog {
            let damages = catalog.damages().count();
            if let Some(first) = catalog.damages().next() {
                all.push(format!(
                    "damaged files of the replica: {damages}, the first is {first}"
                ));
            }
        }
        (!all.is_empty()).then(|| all.join("; "))
    }
}
