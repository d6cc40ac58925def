//! Which pages of a database are others than in the snapshot of it.
//!
//! Reading both files once from end to end is the fastest look at all of them
//! there is: a table none of whose pages changed need not be read row by row.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::mpsc::{Receiver, sync_channel};

use rusqlite::Connection;

use super::error::{Error, Result};
use super::news::Tell;

/// Bytes read from the snapshot at once.
const CHUNK: usize = 1 << 20;
/// Chunks read ahead.
const AHEAD: usize = 4;

/// A set of page numbers.
#[derive(Debug, Clone, Default)]
pub(super) struct Pages(Vec<u64>);

impl Pages {
    pub(super) fn insert(&mut self, page: u32) {
        let at = page as usize / 64;
        if self.0.len() <= at {
            self.0.resize(at + 1, 0);
        }
        self.0[at] |= 1 << (page % 64);
    }

    pub(super) fn contains(&self, page: u32) -> bool {
        let word = self.0.get(page as usize / 64);
        word.is_some_and(|word| word >> (page % 64) & 1 == 1)
    }

    /// Whether all of it is in `other`.
    pub(super) fn is_within(&self, other: &Self) -> bool {
        let theirs = other.0.iter().copied().chain(std::iter::repeat(0));
        self.0
            .iter()
            .zip(theirs)
            .all(|(own, theirs)| own & !theirs == 0)
    }
}

/// What differs.
#[derive(Debug)]
pub(super) struct Changed {
    /// Pages of the database that the snapshot has not, or has otherwise.
    pub(super) pages: Pages,
    /// The database's.
    pub(super) page_size: usize,
    pub(super) count: u32,
    /// Nothing differs at all but the counters in the first page's header.
    pub(super) is_same: bool,
}

/// Compares `main` of `conn`, in its read transaction, with the snapshot.
/// `None` if their pages are of different sizes: then nothing can be told.
pub(super) fn changed(
    conn: &Connection,
    before: &Path,
    tell: &Tell<'_>,
) -> Result<Option<Changed>> {
    let at = |error| Error::sqlite("compare the pages of", conn, error);
    let number = |name: &str| conn.pragma_query_value(None, name, |row| row.get(0));
    let page_size: u32 = number("page_size").map_err(at)?;
    let count: u32 = number("page_count").map_err(at)?;
    let page_size = page_size as usize;
    let file = |error| Error::file("read the snapshot", before, error);
    let snapshot = File::open(before).map_err(file)?;
    let bytes_before = snapshot.metadata().map_err(file)?.len();
    if page_size_of(before).map_err(file)? != page_size {
        return Ok(None);
    }
    tell.step("comparing", Some(u64::from(count) * page_size as u64));
    let chunks = read_ahead(snapshot, page_size)?;
    let mut theirs = Theirs::new(chunks, page_size);
    let mut pages = Pages::default();
    let mut others = false;
    let lock_page = lock_page(page_size);
    let mut all = conn
        .prepare("SELECT data FROM sqlite_dbpage('main')")
        .map_err(at)?;
    let mut rows = all.query([]).map_err(at)?;
    let mut number = 0;
    let mut told = 0;
    while let Some(row) = rows.next().map_err(at)? {
        number += 1;
        let page = row.get_ref(0).map_err(at)?;
        let page = page.as_blob().unwrap_or_default();
        let their = theirs.next().map_err(file)?;
        if number != lock_page && their != Some(page) {
            pages.insert(number);
            others |= number > 1 || !their.is_some_and(|their| is_same_first(page, their));
        }
        told += page.len();
        if told >= CHUNK {
            tell.advance(told as u64);
            told = 0;
        }
    }
    let is_same = !others && bytes_before == u64::from(number) * page_size as u64;
    Ok(Some(Changed {
        pages,
        page_size,
        count: number,
        is_same,
    }))
}

/// The page that SQLite locks and never writes.
pub(super) fn lock_page(page_size: usize) -> u32 {
    let page = (1_usize << 30) / page_size + 1;
    u32::try_from(page).unwrap_or(u32::MAX)
}

/// Whether two first pages differ in no more than what every commit counts up:
/// the change counter, the schema's, and who wrote last.
fn is_same_first(one: &[u8], other: &[u8]) -> bool {
    let parts = |page: &[u8]| -> Option<Vec<u8>> {
        let mut parts = page.get(..24)?.to_vec();
        // The read and write versions tell only how it is written.
        parts[18] = 0;
        parts[19] = 0;
        parts.extend(page.get(28..40)?);
        parts.extend(page.get(44..92)?);
        parts.extend(page.get(100..)?);
        Some(parts)
    };
    parts(one).is_some() && parts(one) == parts(other)
}

fn page_size_of(path: &Path) -> std::io::Result<usize> {
    let mut header = [0; 18];
    File::open(path)?.read_exact(&mut header)?;
    let size = usize::from(u16::from_be_bytes([header[16], header[17]]));
    Ok(if size == 1 { 1 << 16 } else { size })
}

type Chunk = std::io::Result<Vec<u8>>;

/// Reads a file in a thread of its own, whole pages at a time.
fn read_ahead(mut file: File, page_size: usize) -> Result<Receiver<Chunk>> {
    let (sender, chunks) = sync_channel(AHEAD);
    let size = CHUNK.max(page_size) / page_size * page_size;
    let spawned = std::thread::Builder::new()
        .name("migrate-snapshot".into())
        .spawn(move || {
            loop {
                let mut chunk = Vec::with_capacity(size);
                let read = (&mut file).take(size as u64).read_to_end(&mut chunk);
                let is_last = !matches!(read, Ok(read) if read == size);
                // Nobody listens any more: that is the end, too.
                if sender.send(read.map(|_| chunk)).is_err() || is_last {
                    return;
                }
            }
        });
    spawned
        .map_err(|error| Error::file("start a thread to read", Path::new("a snapshot"), error))?;
    Ok(chunks)
}

struct Theirs {
    chunks: Receiver<Chunk>,
    chunk: Vec<u8>,
    at: usize,
    page_size: usize,
}

impl Theirs {
    fn new(chunks: Receiver<Chunk>, page_size: usize) -> Self {
        Self {
            chunks,
            chunk: Vec::new(),
            at: 0,
            page_size,
        }
    }

    /// The next page; `None` after the last.
    fn next(&mut self) -> std::io::Result<Option<&[u8]>> {
        if self.at >= self.chunk.len() {
            self.chunk = match self.chunks.recv() {
                Ok(chunk) => chunk?,
                Err(_) => return Ok(None),
            };
            self.at = 0;
        }
        let from = self.at;
        self.at += self.page_size;
        Ok(self.chunk.get(from..self.at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_of_pages() {
        let (mut one, mut more) = (Pages::default(), Pages::default());
        for page in [1, 64, 1000] {
            one.insert(page);
            more.insert(page);
        }
        more.insert(63);
        assert!(one.contains(64) && !one.contains(63) && !one.contains(99_999));
        assert!(one.is_within(&more) && !more.is_within(&one));
        assert!(Pages::default().is_within(&one));
        assert!(!one.is_within(&Pages::default()));
    }
}
