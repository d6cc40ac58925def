//! Changes and whole databases as LTX files.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use monolite_ltx::{Checksum, DatabaseChecksums, Encoder, Header, Txid, WalSpan, lock_page};

use super::blocking::{PacedFile, UNWRITTEN_MAX};
use crate::error::{Error, Result};
use crate::map::PageMap;
use crate::wal::{Changes, Snapshot};

/// The position that files of level 0 give in the database's log: its beginning, of a
/// log that no database has. Litestream, when it goes on after the newest of them,
/// finds another log there, and sends all pages with its first file, as it does for
/// a log that was begun again; without a position it would stop.
const NO_LOG: WalSpan = WalSpan {
    offset: 32,
    size: 0,
    salt1: 0,
    salt2: 0,
};

/// Which pages have which checksum now.
pub(super) type Sums = Vec<(u32, Checksum)>;

/// Who writes a file, and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Writer {
    pub(super) node_id: u64,
    pub(super) timestamp_ms: i64,
}

/// An LTX file in memory, and what it does to the map.
pub(super) struct Encoded {
    pub(super) header: Header,
    pub(super) body: Vec<u8>,
    pub(super) sums: Sums,
}

/// The changes since the map's state as its next transaction: the pages that differ
/// from it. `None` if none does, as after a VACUUM of a file without gaps.
pub(super) fn changes(changes: &Changes, map: &PageMap, writer: Writer) -> Result<Option<Encoded>> {
    let (page_size, size) = (changes.page_size(), changes.size());
    let empty = vec![0; page_size as usize];
    let lock = lock_page(page_size);
    // The format wants every page that came with growth. One that no frame has
    // was never written: SQLite reads it as empty.
    let grown = changes.smallest().min(map.len()) + 1..=size;
    let missing: Vec<u32> = grown.filter(|p| !changes.has(*p) && *p != lock).collect();
    let pages = changes.sorted();
    let mut all: Vec<(u32, &[u8])> = pages.iter().map(|(p, page)| (*p, page.data())).collect();
    all.extend(missing.iter().map(|p| (*p, empty.as_slice())));
    all.retain(|(pgno, _)| *pgno != lock);
    all.sort_unstable_by_key(|(pgno, _)| *pgno);
    let mut sums = Sums::with_capacity(all.len());
    // What is beyond the map has no checksum there.
    all.retain(|(pgno, data)| {
        let sum = Checksum::of_page(*pgno, data);
        let differs = map.get(*pgno) != Some(sum);
        if differs {
            sums.push((*pgno, sum));
        }
        differs
    });
    if all.is_empty() && size == map.len() {
        return Ok(None);
    }
    encode(&all, sums, map, size, writer).map(Some)
}

/// The map's state, which is the snapshot's, once more as the next transaction: its
/// first page alone.
pub(super) fn unchanged(snapshot: &Snapshot, map: &PageMap, writer: Writer) -> Result<Encoded> {
    let first = snapshot.page(1, <[u8]>::to_vec)?;
    let sums = vec![(1, Checksum::of_page(1, &first))];
    encode(&[(1, &first)], sums, map, map.len(), writer)
}

fn encode(
    pages: &[(u32, &[u8])],
    sums: Sums,
    map: &PageMap,
    size: u32,
    writer: Writer,
) -> Result<Encoded> {
    let page_size = map.page_size();
    let header = next(map, &sums, page_size, size, writer);
    let bytes = pages.len() * page_size as usize / 2 + 1024;
    let mut encoder = Encoder::new(Vec::with_capacity(bytes), header).map_err(of(&header))?;
    for (pgno, data) in pages {
        encoder.page(*pgno, data).map_err(of(&header))?;
    }
    let (body, ..) = encoder.finish(None).map_err(of(&header))?;
    Ok(Encoded { header, body, sums })
}

/// The pages of a snapshot whose checksum is not the map's.
pub(super) fn compare(snapshot: &Snapshot, map: &PageMap) -> Result<Sums> {
    let lock = lock_page(snapshot.page_size());
    let mut differ = Vec::new();
    snapshot.each(|pgno, data| {
        let sum = Checksum::of_page(pgno, data);
        if pgno != lock && map.get(pgno) != Some(sum) {
            differ.push((pgno, sum));
        }
        true
    })?;
    Ok(differ)
}

/// The pages named in `sums`, from the snapshot they were found in, as the
/// map's next transaction, to `path`.
pub(super) fn difference(
    snapshot: &Snapshot,
    map: &PageMap,
    sums: &Sums,
    writer: Writer,
    path: &Path,
) -> Result<Header> {
    let header = next(map, sums, snapshot.page_size(), snapshot.pages(), writer);
    write(path, header, usize::MAX, |encoder| {
        for (pgno, _) in sums {
            snapshot
                .page(*pgno, |data| encoder.page(*pgno, data))?
                .map_err(of(&header))?;
        }
        Ok(())
    })
}

/// All pages of a snapshot, which is the map's state, to `path`.
pub(super) fn whole(
    snapshot: &Snapshot,
    map: &PageMap,
    writer: Writer,
    path: &Path,
) -> Result<Header> {
    let header = Header {
        page_size: snapshot.page_size(),
        commit: snapshot.pages(),
        min: Txid::FIRST,
        max: map.txid(),
        timestamp_ms: writer.timestamp_ms,
        checksums: DatabaseChecksums::Reserved {
            pre: None,
            post: map.checksum(),
        },
        wal: None,
        node_id: writer.node_id,
    };
    let lock = header.lock_page();
    write(path, header, UNWRITTEN_MAX, |encoder| {
        let mut result = Ok(());
        snapshot.each(|pgno, data| {
            if pgno != lock {
                result = encoder.page(pgno, data).map_err(of(&header));
            }
            result.is_ok()
        })?;
        result
    })
}

/// The header of the file that leads from the map's state to the next one.
pub(super) fn next(
    map: &PageMap,
    sums: &Sums,
    page_size: u32,
    size: u32,
    writer: Writer,
) -> Header {
    let txid = Txid(map.txid().0 + 1);
    Header {
        page_size,
        commit: size,
        min: txid,
        max: txid,
        timestamp_ms: writer.timestamp_ms,
        checksums: DatabaseChecksums::Reserved {
            pre: (txid != Txid::FIRST).then(|| map.checksum()),
            post: map.checksum_after(sums, size),
        },
        wal: Some(NO_LOG),
        node_id: writer.node_id,
    }
}

fn write(
    path: &Path,
    header: Header,
    unwritten: usize,
    pages: impl FnOnce(&mut Encoder<BufWriter<PacedFile>>) -> Result<()>,
) -> Result<Header> {
    let file = File::create(path).map_err(|error| Error::file(path, error))?;
    let file = BufWriter::with_capacity(1 << 20, PacedFile::new(file, unwritten));
    let mut encoder = Encoder::new(file, header).map_err(of(&header))?;
    pages(&mut encoder)?;
    let (mut file, ..) = encoder.finish(None).map_err(of(&header))?;
    file.flush().map_err(|error| Error::file(path, error))?;
    Ok(header)
}

fn of(header: &Header) -> impl Fn(monolite_ltx::Error) -> Error + use<> {
    let name = format!("{}-{}", header.min, header.max);
    move |source| Error::Ltx {
        name: name.clone(),
        source,
    }
}
