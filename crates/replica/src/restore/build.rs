//! Putting a database together, in a file or nowhere.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use monolite_ltx::{Checksum, Header, Txid};

use super::check::{Integrity, IntegrityCheck};
use super::error::RestoreError;
use super::fetch::{blocking, fetch};
use super::output::Output;
use super::pages::Pages;
use crate::history::Plan;
use crate::map::PageMap;
use crate::progress::Progress;
use crate::storage::Replica;
use monolite_platform::failpoint;

/// No page takes fewer bytes in a file, however well it compresses: its number
/// and flags, its length, and what the compression adds to it.
const PAGE_FRAME_MIN: u64 = 11;

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
    /// Files of the replica that are damaged, and that others were used instead of:
    /// one message each.
    pub damages: Vec<String>,
    /// Where the database is that was replaced, if it was to be kept.
    pub kept: Option<PathBuf>,
}

/// One state of a replica that is being put together.
pub(super) struct Build<'a> {
    replica: &'a Replica,
    plan: Plan,
    newest: Header,
    progress: &'a Arc<dyn Progress>,
}

impl<'a> Build<'a> {
    /// From the files of a plan.
    pub(super) async fn of(
        replica: &'a Replica,
        plan: Plan,
        progress: &'a Arc<dyn Progress>,
    ) -> Result<Self, RestoreError> {
        let Some(newest) = plan.files.last() else {
            return Err(RestoreError::Ended);
        };
        let name = replica.name_of(newest);
        let newest = replica.header(newest).await?;
        // Each page was sent once at least, but the lock page: no memory is
        // taken, and no file made, for more than can be there.
        let bytes = plan.bytes();
        if u64::from(newest.commit) > bytes / PAGE_FRAME_MIN + 1 {
            return Err(RestoreError::Oversized {
                name,
                pages: newest.commit,
                bytes,
            });
        }
        failpoint::reached("restore.planned");
        Ok(Self {
            replica,
            plan,
            newest,
            progress,
        })
    }

    /// The size of the database.
    pub(super) fn size(&self) -> u64 {
        u64::from(self.newest.commit) * u64::from(self.newest.page_size)
    }

    /// Fetches everything, and proves what can be proved by checksums.
    pub(super) async fn fetch(
        &self,
        output: Option<Output>,
        parallel: usize,
    ) -> Result<(Restored, Option<Output>), RestoreError> {
        let Plan { files, txid } = &self.plan;
        let Header {
            page_size, commit, ..
        } = self.newest;
        self.progress.begin("downloading", Some(self.plan.bytes()));
        let pages = Arc::new(Pages::new(page_size, commit, output));
        let after = fetch(self.replica, files, &pages, parallel, self.progress).await?;
        let (Some(last), Some(pages)) = (after.last().copied(), Arc::into_inner(pages)) else {
            return Err(RestoreError::Ended);
        };
        let commits: Vec<u32> = after.iter().map(|after| after.commit).collect();
        let replica = || self.replica.name();
        let map = pages.finish(&commits, *txid).map_err(|pgno| {
            let (replica, txid) = (replica(), *txid);
            RestoreError::MissingPage {
                replica,
                pgno,
                txid,
            }
        })?;
        let computed = map.checksum();
        if let Some(expected) = last.checksum.filter(|expected| *expected != computed) {
            return Err(RestoreError::Checksum {
                replica: replica(),
                txid: *txid,
                expected,
                computed,
            });
        }
        let restored = Restored {
            txid: *txid,
            timestamp_ms: last.timestamp_ms,
            pages: commit,
            page_size,
            bytes: self.plan.bytes(),
            files: files.len(),
            checksum: last.checksum,
            integrity: Integrity::Unchecked,
            map,
            damages: Vec::new(),
            kept: None,
        };
        Ok((restored, pages.into_output()))
    }

    /// Asks SQLite about the file that it was fetched into.
    pub(super) async fn check(
        &self,
        mut restored: Restored,
        check: IntegrityCheck,
        path: &Path,
    ) -> Result<Restored, RestoreError> {
        let proven = restored.checksum.is_some();
        if restored.pages == 0 || !check.is_done(proven) {
            return Ok(restored);
        }
        self.progress.begin("checking", None);
        let (replica, txid) = (self.replica.name(), restored.txid);
        let path = path.to_owned();
        restored.integrity = blocking(move || {
            check
                .run(&path, proven)
                .map_err(|findings| RestoreError::Corrupt {
                    replica,
                    txid,
                    findings,
                })
        })
        .await?;
        Ok(restored)
    }
}
