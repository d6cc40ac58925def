//! What a replica holds when a follower begins, and whether this volume wrote it,
//! so that its next file may follow.

use std::io::{BufReader, Read};
use std::path::Path;

use monolite_ltx::{Checksum, DatabaseChecksums, Decoder, Header, Txid};
use tokio::io::AsyncSeekExt;

use super::litestream;
use super::sent_record::{Point, SentRecord};
use crate::error::{Error, Result};
use crate::history::{Catalog, plan};
use crate::map::PageMap;
use crate::storage::{FileInfo, Replica, StorageError};

/// Files up to this size are read in memory, larger ones through a file.
const IN_MEMORY: u64 = 16 << 20;

/// What was found.
pub(super) enum Found {
    /// No state to go on from; `last` is the last transaction that any file
    /// names, 0 without files.
    Nothing { last: Txid },
    /// A state that this volume wrote, or had, and the timestamp of its file.
    Ours(PageMap, i64),
    /// A state that somebody else wrote, and the header of its file.
    Foreign(PageMap, Header),
}

/// What an earlier process recorded on the volume.
pub(super) struct LocalRecords {
    /// The map that was saved last.
    pub(super) map: Option<PageMap>,
    /// What was stored, and what was about to be.
    pub(super) sent: Option<SentRecord>,
    /// The state of the replica that the database was restored to.
    pub(super) restored: Option<Txid>,
    /// The volume's own number.
    pub(super) node_id: u64,
}

/// Looks at the replica of `database`. `scratch` is a file that may be written and
/// removed.
pub(super) async fn find(
    replica: &Replica,
    catalog: &Catalog,
    local: LocalRecords,
    take_over: bool,
    database: &Path,
    scratch: &Path,
) -> Result<Found> {
    let files = catalog.files();
    let last = files.iter().map(|file| file.max).max().unwrap_or_default();
    let sent = local.sent.as_ref().map(SentRecord::txids);
    let had = local.map.as_ref().map(PageMap::txid);
    let known = || sent.iter().flatten().copied().chain(had);
    for txid in known().chain(local.restored) {
        if last < txid && replica.has(txid).await? {
            // Some providers' lists are stale. Our own state would look like
            // another volume's, or the replica like an empty one.
            let name = replica.name();
            return Err(Error::Unlisted { name, txid });
        }
    }
    // What was stored last is gone, if it is after what is there. Its numbers are not
    // used again: it may come back, as from the versions that a bucket keeps.
    let lost = known().max().filter(|known| *known > last);
    if files.is_empty() {
        let last = lost.unwrap_or(last);
        return Ok(Found::Nothing { last });
    }
    let Some(header) = newest_header(replica, files, last).await? else {
        let is_known = known().any(|known| known >= last) || local.restored == Some(last);
        return unrestorable(replica, is_known || take_over, lost.unwrap_or(last));
    };
    if let Some(lost) = lost
        && header.node_id == local.node_id
    {
        return Ok(Found::Nothing { last: lost });
    }
    let ours = match (point(&header), &local.sent) {
        (Some(point), Some(sent)) => sent.includes(point),
        _ => false,
    };
    let ours = ours
        || local.restored == Some(last)
        || (point(&header).is_none() && litestream::sent(replica, files, last, database).await?);
    if let Some(mut map) = local.map {
        if map.txid() == last && is(&map, &header) {
            return Ok(Found::Ours(map, header.timestamp_ms));
        }
        // The process died after a file was stored and before the map was saved.
        if ours
            && map.txid() < last
            && let Ok(since) = plan(files, Some(map.txid()), None)
            && apply(replica, &since.files, &mut map, scratch)
                .await
                .is_ok()
            && map.txid() == last
            && is(&map, &header)
        {
            return Ok(Found::Ours(map, header.timestamp_ms));
        }
    }
    let mut map = PageMap::empty(header.page_size);
    let restored = match plan(files, None, None) {
        Ok(plan) if plan.files.last().is_some_and(|file| file.max == last) => {
            match apply(replica, &plan.files, &mut map, scratch).await {
                Ok(()) => !says_otherwise(&map, &header),
                // What is damaged stays so; what cannot be read now may be later.
                Err(Error::Ltx { .. }) => false,
                Err(Error::Storage(error)) if error.is_damage() => false,
                Err(error) => return Err(error),
            }
        }
        // A gap, or no snapshot.
        _ => false,
    };
    match (restored, ours) {
        (true, true) => Ok(Found::Ours(map, header.timestamp_ms)),
        (true, false) => Ok(Found::Foreign(map, header)),
        (false, ours) => unrestorable(replica, ours || take_over, last),
    }
}

/// No state to go on from; a new snapshot is.
fn unrestorable(replica: &Replica, may_begin: bool, last: Txid) -> Result<Found> {
    match may_begin {
        true => Ok(Found::Nothing { last }),
        false => Err(Error::Unrestorable {
            name: replica.name(),
        }),
    }
}

/// The header of a file that leads to the newest state: of several, of one that says
/// which state that is, as those that Litestream merges do not. `None`: all of them
/// are damaged.
async fn newest_header(
    replica: &Replica,
    files: &[FileInfo],
    newest: Txid,
) -> Result<Option<Header>> {
    let mut found = None;
    for file in files.iter().filter(|file| file.max == newest).rev() {
        match replica.header(file).await {
            Ok(header) if point(&header).is_some() => return Ok(Some(header)),
            Ok(header) => found = found.or(Some(header)),
            Err(error) if error.is_damage() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(found)
}

/// The state that a file leads to; `None` in one without checksums.
pub(super) fn point(header: &Header) -> Option<Point> {
    match header.checksums {
        DatabaseChecksums::Reserved { post, .. } => Some((header.max, post)),
        _ => None,
    }
}

/// Whether the map is known to be the state that the file leads to.
fn is(map: &PageMap, header: &Header) -> bool {
    matches!(header.checksums, DatabaseChecksums::Reserved { post, .. } if post == map.checksum())
        && map.page_size() == header.page_size
        && map.len() == header.commit
}

fn says_otherwise(map: &PageMap, header: &Header) -> bool {
    matches!(header.checksums, DatabaseChecksums::Reserved { post, .. } if post != map.checksum())
        || map.len() != header.commit
}

/// Brings `map` to what `files` lead to, without keeping their pages.
pub(super) async fn apply(
    replica: &Replica,
    files: &[FileInfo],
    map: &mut PageMap,
    scratch: &Path,
) -> Result<()> {
    for file in files {
        let name = replica.name_of(file);
        let source: Box<dyn Read + Send> = if file.size <= IN_MEMORY {
            Box::new(std::io::Cursor::new(replica.get_bytes(file).await?))
        } else {
            Box::new(fetch(replica, file, scratch).await?)
        };
        // Lent to the thread, and taken back.
        let mut lent = std::mem::replace(map, PageMap::empty(0));
        let work = move || {
            let decoded = decode(source, &mut lent);
            (lent, decoded.map_err(|source| Error::Ltx { name, source }))
        };
        let applied = tokio::task::spawn_blocking(work).await;
        let (lent, decoded) =
            applied.map_err(|error| Error::file(scratch, std::io::Error::other(error)))?;
        *map = lent;
        decoded?;
    }
    Ok(())
}

/// A large file's content, through a local one that has no name any more.
async fn fetch(
    replica: &Replica,
    file: &FileInfo,
    scratch: &Path,
) -> Result<impl Read + Send + use<>> {
    let at = |error| Error::file(scratch, error);
    let mut body = replica.get(file).await?;
    let mut options = tokio::fs::OpenOptions::new();
    options.read(true).write(true).create(true).truncate(true);
    let mut local = options.open(scratch).await.map_err(at)?;
    tokio::fs::remove_file(scratch).await.map_err(at)?;
    tokio::io::copy(&mut body, &mut local)
        .await
        .map_err(|error| match StorageError::from_io(error) {
            Ok(error) => error.into(),
            Err(error) => at(error),
        })?;
    local.rewind().await.map_err(at)?;
    Ok(BufReader::with_capacity(1 << 20, local.into_std().await))
}

fn decode(source: impl Read, map: &mut PageMap) -> Result<(), monolite_ltx::Error> {
    let mut decoder = Decoder::new(source)?;
    let header = *decoder.header();
    let mut sums = Vec::new();
    let mut page = Vec::new();
    while let Some(pgno) = decoder.next_page(&mut page)? {
        sums.push((pgno, Checksum::of_page(pgno, &page)));
    }
    decoder.finish()?;
    // Every page that came with growth is in the file: no size is believed that
    // nobody sent pages for.
    let pages = u64::from(map.len()) + sums.len() as u64 + 1;
    if u64::from(header.commit) > pages {
        return Err(monolite_ltx::Error::Refused {
            what: "believe the size of the database",
            why: "pages are missing",
        });
    }
    if header.is_snapshot() || map.page_size() != header.page_size {
        *map = PageMap::empty(header.page_size);
    }
    map.apply(&sums, header.commit, header.max);
    Ok(())
}
