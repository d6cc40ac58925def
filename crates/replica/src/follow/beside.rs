//! What goes on beside the syncs: merging and deleting old files, and sending a
//! snapshot. Either may take as long as a hundred syncs.

use std::time::Duration;

use bytes::Bytes;
use monolite_ltx::Txid;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::error::{Error, Result};
use crate::history::{Catalog, Policy};
use crate::storage::{FileInfo, Replica, StorageError};

/// A snapshot that could not be stored is not made again before.
const RETRY: Duration = Duration::from_secs(3600);

/// What is known of a replica's files, which is away while they are tended, and
/// the work that goes on. All of it ends with this.
pub(super) struct Beside {
    /// `None` while it is away.
    catalog: Option<Catalog>,
    /// Stored meanwhile, and the times of their states.
    late: Vec<(FileInfo, i64)>,
    /// One at most.
    tending: JoinSet<(Catalog, Result<()>)>,
    /// One at most.
    upload: JoinSet<Result<FileInfo, StorageError>>,
    /// When a snapshot was made last.
    made: Option<Instant>,
    untended: Option<String>,
    unsent: Option<String>,
}

impl Beside {
    pub(super) fn new(catalog: Catalog) -> Self {
        Self {
            catalog: Some(catalog),
            late: Vec::new(),
            tending: JoinSet::new(),
            upload: JoinSet::new(),
            made: None,
            untended: None,
            unsent: None,
        }
    }

    /// Takes in a file that was stored.
    pub(super) fn add(&mut self, file: FileInfo, time_ms: i64, body: Option<Bytes>) {
        match (&mut self.catalog, body) {
            (Some(catalog), Some(body)) => catalog.add_with(file, time_ms, body),
            (Some(catalog), None) => catalog.add(file, time_ms),
            // Its content is fetched to be merged: only the catalog bounds what
            // is kept of those.
            (None, _) => self.late.push((file, time_ms)),
        }
    }

    /// Whether a snapshot is to be made: the last is older than `every`, and of
    /// another state than `txid`.
    pub(super) fn wants_snapshot(&self, now_ms: i64, every: Duration, txid: Txid) -> bool {
        let Some(catalog) = &self.catalog else {
            return false;
        };
        let every_ms = i64::try_from(every.as_millis()).unwrap_or(i64::MAX);
        let rested = |made: Instant| made.elapsed() >= every.min(RETRY);
        self.upload.is_empty()
            && self.made.is_none_or(rested)
            && catalog.snapshot_age_ms(now_ms) >= every_ms
            && catalog
                .newest_snapshot()
                .is_none_or(|file| file.max != txid)
    }

    /// One was made, or could not be.
    pub(super) fn made(&mut self, result: Result<(), String>) {
        self.made = Some(Instant::now());
        self.unsent = result
            .err()
            .map(|error| format!("a snapshot could not be made: {error}"));
    }

    /// Begins to send a snapshot.
    pub(super) fn send(
        &mut self,
        upload: impl Future<Output = Result<FileInfo, StorageError>> + Send + 'static,
    ) {
        self.upload.spawn(upload);
    }

    /// Whether old files can be tended now: they are not being.
    pub(super) fn is_here(&self) -> bool {
        self.catalog.is_some()
    }

    /// Begins to merge and delete.
    pub(super) fn tend(&mut self, replica: &Replica, policy: &Policy, now_ms: i64) {
        let Some(mut catalog) = self.catalog.take() else {
            return;
        };
        let (replica, policy) = (replica.clone(), *policy);
        self.tending.spawn(async move {
            let tended = catalog.tend(&replica, &policy, now_ms).await;
            (catalog, tended.map(|_| ()))
        });
    }

    /// Takes in what has ended. Says whether all of it went well.
    ///
    /// # Errors
    /// What is known of the files is lost: they are to be listed again.
    pub(super) fn look(&mut self) -> Result<bool> {
        let mut well = true;
        match self.upload.try_join_next() {
            Some(Ok(Ok(file))) => {
                self.unsent = None;
                let time_ms = file.stored_ms;
                self.add(file, time_ms, None);
            }
            Some(Ok(Err(error))) => {
                well = false;
                self.unsent = Some(format!("a snapshot was not stored: {error}"));
            }
            Some(Err(_)) | None => {}
        }
        match self.tending.try_join_next() {
            Some(Ok((mut catalog, tended))) => {
                for (file, time_ms) in self.late.drain(..) {
                    catalog.add(file, time_ms);
                }
                self.catalog = Some(catalog);
                well &= tended.is_ok();
                self.untended = tended
                    .err()
                    .map(|error| format!("old files were not merged or deleted: {error}"));
            }
            Some(Err(error)) => {
                return Err(Error::Broke {
                    what: error.to_string(),
                });
            }
            None => {}
        }
        Ok(well)
    }

    /// What goes on ends first.
    ///
    /// # Errors
    /// As [`look`](Self::look).
    pub(super) async fn end(&mut self) -> Result<()> {
        // Looked at one by one: `look` takes what has ended.
        while !(self.upload.is_empty() && self.tending.is_empty()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
            self.look()?;
        }
        Ok(())
    }

    /// What people should know of it.
    pub(super) fn advice(&self) -> Option<String> {
        let all: Vec<&str> = [&self.unsent, &self.untended]
            .into_iter()
            .flatten()
            .map(String::as_str)
            .collect();
        (!all.is_empty()).then(|| all.join("; "))
    }
}
