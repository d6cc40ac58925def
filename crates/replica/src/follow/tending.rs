//! Merging and deleting, beside the syncs: a merge of an hour's files may take
//! as long as a hundred syncs.

use bytes::Bytes;
use tokio::task::JoinSet;

use crate::error::Result;
use crate::history::{Catalog, Policy, Tended};
use crate::storage::{FileInfo, Replica};

/// Contents of files that are kept while the catalog, which has a bound for
/// them, is away. The others are fetched to be merged.
const LATE_BODIES: usize = 64;

/// What is known of a replica's files, which is away while they are tended.
pub(super) struct Tending {
    /// `None` while it is away.
    catalog: Option<Catalog>,
    /// Stored meanwhile.
    late: Vec<Late>,
    /// One at most; it ends with this.
    away: JoinSet<(Catalog, Result<Tended>)>,
}

struct Late {
    file: FileInfo,
    time_ms: i64,
    body: Option<Bytes>,
}

impl Tending {
    pub(super) fn new(catalog: Catalog) -> Self {
        Self {
            catalog: Some(catalog),
            late: Vec::new(),
            away: JoinSet::new(),
        }
    }

    /// Takes in a file that was stored.
    pub(super) fn add(&mut self, file: FileInfo, time_ms: i64, body: Option<Bytes>) {
        match (&mut self.catalog, body) {
            (Some(catalog), Some(body)) => catalog.add_with(file, time_ms, body),
            (Some(catalog), None) => catalog.add(file, time_ms),
            (None, body) => self.late.push(Late {
                file,
                time_ms,
                body: body.filter(|_| self.late.len() < LATE_BODIES),
            }),
        }
    }

    /// As [`Catalog::snapshot_age_ms`]; `None` while files are tended.
    pub(super) fn snapshot_age_ms(&self, now_ms: i64) -> Option<i64> {
        let catalog = self.catalog.as_ref()?;
        Some(catalog.snapshot_age_ms(now_ms))
    }

    /// Begins to tend them, unless that goes on.
    pub(super) fn tend(&mut self, replica: &Replica, policy: &Policy, now_ms: i64) {
        let Some(mut catalog) = self.catalog.take() else {
            return;
        };
        let (replica, policy) = (replica.clone(), *policy);
        self.away.spawn(async move {
            let tended = catalog.tend(&replica, &policy, now_ms).await;
            (catalog, tended)
        });
    }

    /// Takes back what is known, if the files are tended to; what came of it.
    pub(super) fn look(&mut self) -> Option<Result<Tended>> {
        match self.away.try_join_next()? {
            Ok((mut catalog, tended)) => {
                for Late {
                    file,
                    time_ms,
                    body,
                } in self.late.drain(..)
                {
                    match body {
                        Some(body) => catalog.add_with(file, time_ms, body),
                        None => catalog.add(file, time_ms),
                    }
                }
                self.catalog = Some(catalog);
                Some(tended)
            }
            // The runtime is going down.
            Err(_) => None,
        }
    }

    /// Waits until the files are tended to.
    pub(super) async fn end(&mut self) {
        while self.away.join_next().await.is_some() {}
    }
}
