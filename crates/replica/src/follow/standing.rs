//! How a database on a volume stands to what a replica holds of it: whether the
//! replica went on without this volume, and whether anything here was never stored.
//!
//! Found out before the app starts and while the lease is held. A database is only
//! ever replaced unasked if the volume's own records show that it once was the state
//! of this very replica; and it counts as stored only if its pages, each of them, are
//! those of a state that files of the replica still lead to. The checksum of a whole
//! database is the exclusive or of its pages' checksums, and CRCs are linear: the same
//! change at the same offset of two pages leaves it as it was. It shows that a state
//! differs, and not that it is the same.

use std::path::Path;

use monolite_ltx::{Checksum, Txid, lock_page};

use super::resume::{apply, point};
use super::sent_record::SentRecord;
use super::state_files::StateFiles;
use crate::error::{Error, Result};
use crate::history::plan;
use crate::map::PageMap;
use crate::storage::{Destination, FileInfo, Replica};
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
    judge(state, destination, database, pages(path)).await
}

/// As [`standing`], of a database whose pages' checksums are found out by `here` if they
/// are needed.
pub(super) async fn judge(
    state: &Path,
    destination: &Destination,
    database: &str,
    here: impl Future<Output = Result<PageMap>>,
) -> Result<Standing> {
    let replica = destination.replica(database);
    let files = replica.list_all().await?;
    let Some(newest) = files.iter().max_by_key(|file| (file.max, file.level)) else {
        return Ok(Standing::Current);
    };
    let state_files = StateFiles::new(state, destination.name(), database);
    let mut records = Records::read(state_files.clone()).await?;
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
    let is_had = records.map.as_ref().map(of_map) == Some(written);
    if is_ours || is_had || records.restored.is_some_and(|(txid, _)| txid == last) {
        return Ok(Standing::Current);
    }
    let Some(stored) = records.stored() else {
        return Ok(Standing::Unrelated);
    };
    // Since then another machine wrote, or the replica was emptied and begun again.
    let here = here.await?;
    for (txid, sum) in records.points() {
        if sum != here.checksum() || txid > last {
            continue;
        }
        let scratch = state_files.download();
        let known = records.map.take();
        if is_stored(&replica, &files, known, txid, &here, &scratch).await? {
            return Ok(Standing::Behind {
                newest: last,
                here: txid,
            });
        }
    }
    Ok(Standing::Diverged {
        newest: last,
        stored,
    })
}

/// Whether `here` is, page by page, the state that files of the replica lead to. `known`
/// is a state of this volume from which it may be found out with less to read.
async fn is_stored(
    replica: &Replica,
    files: &[FileInfo],
    known: Option<PageMap>,
    txid: Txid,
    here: &PageMap,
    scratch: &Path,
) -> Result<bool> {
    let is_here = |map: &PageMap| {
        let same = |pgno| map.get(pgno) == here.get(pgno);
        map.page_size() == here.page_size() && map.len() == here.len() && (1..=map.len()).all(same)
    };
    let nearest = files.iter().find(|file| file.max == txid);
    let header = match nearest {
        Some(file) => replica.header(file).await?,
        None => return Ok(false),
    };
    let is_it = |map: &PageMap| point(&header) == Some(of_map(map));
    if let Some(map) = known.filter(|map| map.txid() == txid && is_it(map)) {
        return Ok(is_here(&map));
    }
    let Ok(plan) = plan(files, None, Some(txid)) else {
        return Ok(false);
    };
    let mut map = PageMap::empty(header.page_size);
    match apply(replica, &plan.files, &mut map, scratch).await {
        Ok(()) => Ok(is_it(&map) && is_here(&map)),
        // A file that is damaged leads nowhere.
        Err(Error::Ltx { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

fn of_map(map: &PageMap) -> (Txid, Checksum) {
    (map.txid(), map.checksum())
}

/// What the volume knows of its states.
struct Records {
    sent: Option<SentRecord>,
    restored: Option<(Txid, Checksum)>,
    map: Option<PageMap>,
}

impl Records {
    async fn read(files: StateFiles) -> Result<Self> {
        let dir = files.map();
        let work = move || {
            let read = |path: &Path| SentRecord::read(path).map_err(|e| Error::file(path, e));
            let map = files.map();
            let map = PageMap::load(&map).map_err(|error| Error::file(&map, error))?;
            Ok(Self {
                sent: read(&files.sent())?,
                restored: read(&files.restored())?.map(|restored| restored.from()),
                map,
            })
        };
        let read = tokio::task::spawn_blocking(work).await;
        read.unwrap_or_else(|error| Err(Error::file(&dir, std::io::Error::other(error))))
    }

    /// All states that the volume may have, the latest records first.
    fn points(&self) -> Vec<(Txid, Checksum)> {
        let sent = self.sent.iter().flat_map(SentRecord::points);
        sent.chain(self.map.as_ref().map(of_map))
            .chain(self.restored)
            .collect()
    }

    /// The last transaction that is known to be a state of this volume.
    fn stored(&self) -> Option<Txid> {
        let sent = self.sent.as_ref().map(SentRecord::stored);
        let map = self.map.as_ref().map(of_map);
        let others = [map, self.restored].into_iter().flatten();
        let all = sent.into_iter().chain(others.map(|(txid, _)| txid));
        all.filter(|txid| txid.0 > 0).max()
    }
}

/// The checksums of all pages of the database, with what is in its log.
async fn pages(path: &Path) -> Result<PageMap> {
    let path = path.to_owned();
    let at = path.clone();
    let work = move || {
        let snapshot = Opened::new(&path)?.begin()?;
        let lock = lock_page(snapshot.page_size());
        let mut map = PageMap::empty(snapshot.page_size());
        map.resize(snapshot.pages());
        snapshot.each(|pgno, page| {
            if pgno != lock {
                map.set(pgno, Checksum::of_page(pgno, page));
            }
            true
        })?;
        Ok(map)
    };
    let read = tokio::task::spawn_blocking(work).await;
    read.unwrap_or_else(|error| Err(Error::file(&at, std::io::Error::other(error))))
}
