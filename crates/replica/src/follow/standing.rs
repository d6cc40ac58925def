//! How a database on a volume stands to what a replica holds of it: whether the
//! replica went on without this volume, and whether anything here was never stored.
//!
//! Found out before the app starts and while the lease is held. A database is only
//! ever replaced unasked if the volume's own records show that it once was the state
//! of this very replica; and it counts as stored only if its pages, all of them, are
//! those of a state that a file of the replica still leads to.

use std::path::Path;

use monolite_ltx::{Checksum, Txid, lock_page};

use super::resume::point;
use super::sent_record::SentRecord;
use super::state_files::StateFiles;
use crate::error::{Error, Result};
use crate::map::PageMap;
use crate::storage::{Destination, FileInfo};
use crate::wal::Opened;

/// How a database stands to one replica of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Standing {
    /// The replica's newest state is one that this volume wrote or was restored to, or
    /// it has none: what is here goes on from it.
    Current,
    /// Another machine wrote the replica after this volume. Everything here is stored
    /// in an earlier state of the replica.
    Behind {
        /// The replica's newest transaction.
        newest: Txid,
        /// The transaction whose state the database is.
        here: Txid,
    },
    /// Another machine wrote the replica after this volume, and what is here is no
    /// state of the replica: it has commits that were never stored, or nobody knows.
    Diverged {
        /// The replica's newest transaction.
        newest: Txid,
        /// The last transaction that this volume is known to have stored, or been
        /// restored to.
        stored: Txid,
    },
    /// The replica's newest state was written by another volume, and nothing shows that
    /// this volume ever had a state of this replica.
    Unrelated,
}

/// Finds out how the database at `path` stands to the replica `database` in
/// `destination`. `state` is the state directory of the volume's
/// [`Follower`](super::Follower). Reads all pages of the database only if another
/// machine wrote the replica.
///
/// # Errors
/// The replica or the database cannot be read.
pub async fn standing(
    state: &Path,
    destination: &Destination,
    database: &str,
    path: &Path,
) -> Result<Standing> {
    judge(state, destination, database, checksum(path)).await
}

/// As [`standing`], of a database whose checksum is found out by `here` if it is needed.
pub(super) async fn judge(
    state: &Path,
    destination: &Destination,
    database: &str,
    here: impl Future<Output = Result<Checksum>>,
) -> Result<Standing> {
    let replica = destination.replica(database);
    let files = replica.list_all().await?;
    let Some(newest) = files.iter().max_by_key(|file| (file.max, file.level)) else {
        return Ok(Standing::Current);
    };
    let records = Records::read(StateFiles::new(state, destination.name(), database)).await?;
    let header = replica.header(newest).await?;
    let last = newest.max;
    let Some(written) = point(&header) else {
        // Of another program: the follower compares pages.
        return Ok(Standing::Unrelated);
    };
    let is_ours = records
        .sent
        .as_ref()
        .is_some_and(|sent| sent.includes(written));
    let is_had = records.map == Some(written);
    if is_ours || is_had || records.restored.is_some_and(|(txid, _)| txid == last) {
        return Ok(Standing::Current);
    }
    let Some(stored) = records.stored() else {
        return Ok(Standing::Unrelated);
    };
    // Since then another machine wrote, or the replica was emptied and begun again.
    let here = here.await?;
    for (txid, sum) in records.points() {
        if sum != here || txid > last {
            continue;
        }
        for file in files_to(&files, txid) {
            if point(&replica.header(file).await?) == Some((txid, sum)) {
                return Ok(Standing::Behind {
                    newest: last,
                    here: txid,
                });
            }
        }
    }
    Ok(Standing::Diverged {
        newest: last,
        stored,
    })
}

fn files_to(files: &[FileInfo], txid: Txid) -> impl Iterator<Item = &FileInfo> {
    files.iter().filter(move |file| file.max == txid)
}

/// What the volume knows of its states.
struct Records {
    sent: Option<SentRecord>,
    restored: Option<(Txid, Checksum)>,
    map: Option<(Txid, Checksum)>,
}

impl Records {
    async fn read(files: StateFiles) -> Result<Self> {
        let dir = files.dir().to_owned();
        let work = move || {
            let read = |path: &Path| SentRecord::read(path).map_err(|e| Error::file(path, e));
            let map = files.map();
            let map = PageMap::load(&map).map_err(|error| Error::file(&map, error))?;
            Ok(Self {
                sent: read(&files.sent())?,
                restored: read(&files.restored())?.map(|restored| restored.from()),
                map: map.map(|map| (map.txid(), map.checksum())),
            })
        };
        let read = tokio::task::spawn_blocking(work).await;
        read.unwrap_or_else(|error| Err(Error::file(&dir, std::io::Error::other(error))))
    }

    /// All states that the volume may have, the latest records first.
    fn points(&self) -> Vec<(Txid, Checksum)> {
        let sent = self.sent.iter().flat_map(SentRecord::points);
        sent.chain(self.map).chain(self.restored).collect()
    }

    /// The last transaction that is known to be a state of this volume.
    fn stored(&self) -> Option<Txid> {
        let sent = self.sent.as_ref().map(SentRecord::stored);
        let others = [self.map, self.restored].into_iter().flatten();
        let all = sent.into_iter().chain(others.map(|(txid, _)| txid));
        all.filter(|txid| txid.0 > 0).max()
    }
}

/// The checksum of all pages of the database, with what is in its log.
async fn checksum(path: &Path) -> Result<Checksum> {
    let path = path.to_owned();
    let at = path.clone();
    let work = move || {
        let snapshot = Opened::new(&path)?.begin()?;
        let lock = lock_page(snapshot.page_size());
        let mut sum = Checksum::EMPTY;
        snapshot.each(|pgno, page| {
            if pgno != lock {
                sum = sum.toggle(Checksum::of_page(pgno, page));
            }
            true
        })?;
        Ok(sum)
    };
    let read = tokio::task::spawn_blocking(work).await;
    read.unwrap_or_else(|error| Err(Error::file(&at, std::io::Error::other(error))))
}
