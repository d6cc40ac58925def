//! What a replica holds when we begin, and whether that is ours to go on from.

use std::io::{BufReader, Read};
use std::path::Path;

use monolite_ltx::{Checksum, DatabaseChecksums, Decoder, Header, Txid};
use tokio::io::AsyncSeekExt;

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
    /// A state that this volume wrote, or had.
    Ours(PageMap),
    /// A state that somebody else wrote.
    Foreign(PageMap),
}

/// What an earlier life left here.
pub(super) struct Before {
    /// The map it saved last.
    pub(super) map: Option<PageMap>,
    /// The last transaction it set out to send.
    pub(super) intent: Option<Txid>,
    /// The replica's state that what is here was restored from, or leads on from.
    pub(super) restored: Option<Txid>,
}

/// Looks at the replica. `scratch` is a file that may be written and removed.
pub(super) async fn find(
    replica: &Replica,
    catalog: &Catalog,
    before: Before,
    node_id: u64,
    scratch: &Path,
) -> Result<Found> {
    let files = catalog.files();
    let last = files.iter().map(|file| file.max).max().unwrap_or(Txid(0));
    let whole = match plan(files, None, None) {
        Ok(plan) if plan.files.last().is_some_and(|file| file.max == last) => plan.files,
        // A gap, or no snapshot: nothing that could be restored to the end.
        _ => return Ok(Found::Nothing { last }),
    };
    let Some(newest) = whole.last() else {
        return Ok(Found::Nothing { last });
    };
    let header = replica.header(newest).await?;
    // A copy of this volume has its number as well, but not its intents.
    let ours =
        header.node_id == node_id && before.intent >= Some(last) || before.restored == Some(last);
    if let Some(mut map) = before.map {
        if map.txid() == last && is(&map, &header) {
            return Ok(Found::Ours(map));
        }
        // We died after a file was stored and before the map was saved.
        if ours
            && map.txid() < last
            && let Ok(since) = plan(files, Some(map.txid()), None)
            && apply(replica, &since.files, &mut map, scratch)
                .await
                .is_ok()
            && map.txid() == last
            && is(&map, &header)
        {
            return Ok(Found::Ours(map));
        }
    }
    let mut map = PageMap::empty(header.page_size);
    match apply(replica, &whole, &mut map, scratch).await {
        Ok(()) if !says_otherwise(&map, &header) => Ok(match ours {
            true => Found::Ours(map),
            false => Found::Foreign(map),
        }),
        // What cannot be restored is no state to go on from; a new snapshot is.
        Ok(()) if ours => Ok(Found::Nothing { last }),
        Err(Error::Ltx { .. }) if ours => Ok(Found::Nothing { last }),
        Ok(()) => Err(Error::Checksum {
            name: replica.name_of(newest),
        }),
        Err(error) => Err(error),
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
async fn apply(
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
    if header.is_snapshot() || map.page_size() != header.page_size {
        *map = PageMap::empty(header.page_size);
    }
    map.apply(&sums, header.commit, header.max);
    Ok(())
}
