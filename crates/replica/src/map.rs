//! What a replica's newest state holds: a checksum for each page.
//!
//! With it an interruption costs no upload of the whole database: pages are
//! compared with their checksums, and only those that differ are sent. The
//! whole-database checksum of LTX is kept along, so that each file can say what
//! state it starts from and what it leads to.
//!
//! On disk, big-endian: `MLMAP1\n\0`, page size u32, page count u32, TXID u64,
//! database checksum u64, a u64 for each page (0: never written, as the lock
//! page), and the file checksum u64 over all of that. Written to a temporary file and
//! renamed; one that is damaged or of another database is refused, and made again
//! from the replica.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use monolite_ltx::{Checksum, Txid, lock_page};
use monolite_platform::durable;

const MAGIC: [u8; 8] = *b"MLMAP1\n\0";
const HEAD: usize = 8 + 4 + 4 + 8 + 8;
/// What the 32-bit page numbers of SQLite allow.
const MAX_PAGES: u32 = u32::MAX - 1;

/// The checksum of each page of a database at one TXID.
#[derive(Clone, PartialEq, Eq)]
pub struct PageMap {
    page_size: u32,
    txid: Txid,
    sum: Checksum,
    pages: Vec<u64>,
}

impl fmt::Debug for PageMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            page_size,
            txid,
            sum,
            pages,
        } = self;
        let pages = pages.len();
        write!(f, "PageMap({pages} pages of {page_size}, {txid}, {sum})")
    }
}

impl PageMap {
    /// The map of a database without pages, before its first transaction.
    #[must_use]
    pub fn empty(page_size: u32) -> Self {
        Self {
            page_size,
            txid: Txid(0),
            sum: Checksum::EMPTY,
            pages: Vec::new(),
        }
    }

    /// Bytes of a page.
    #[must_use]
    pub fn page_size(&self) -> u32 {
        self.page_size
    }

    /// How many pages the database has.
    #[must_use]
    pub fn len(&self) -> u32 {
        u32::try_from(self.pages.len()).unwrap_or(MAX_PAGES)
    }

    /// Whether the database has no page.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pages.is_empty()
    }

    /// The transaction whose state this is.
    #[must_use]
    pub fn txid(&self) -> Txid {
        self.txid
    }

    /// Says whose state this is from now on.
    pub fn set_txid(&mut self, txid: Txid) {
        self.txid = txid;
    }

    /// The checksum of the whole database.
    #[must_use]
    pub fn checksum(&self) -> Checksum {
        self.sum
    }

    /// The checksum of page `pgno`, if there is that page.
    #[must_use]
    pub fn get(&self, pgno: u32) -> Option<Checksum> {
        let index = usize::try_from(pgno.checked_sub(1)?).ok()?;
        Checksum::from_bits(*self.pages.get(index)?)
    }

    /// Sets the checksum of page `pgno` (from 1), growing the database to it.
    pub fn set(&mut self, pgno: u32, checksum: Checksum) {
        let Some(index) = pgno.checked_sub(1).and_then(|i| usize::try_from(i).ok()) else {
            return;
        };
        if self.pages.len() <= index {
            self.pages.resize(index + 1, 0);
        }
        if let Some(old) = Checksum::from_bits(self.pages[index]) {
            self.sum = self.sum.toggle(old);
        }
        self.sum = self.sum.toggle(checksum);
        self.pages[index] = checksum.get();
    }

    /// Makes the database `pages` long: what lies beyond is forgotten.
    pub fn resize(&mut self, pages: u32) {
        let wanted = usize::try_from(pages).unwrap_or(usize::MAX);
        for old in self.pages.iter().skip(wanted) {
            if let Some(old) = Checksum::from_bits(*old) {
                self.sum = self.sum.toggle(old);
            }
        }
        self.pages.resize(wanted, 0);
    }

    /// What the checksum of the database will be after `changes`, at `pages`
    /// pages; nothing is changed yet. Each page at most once.
    #[must_use]
    pub fn checksum_after(&self, changes: &[(u32, Checksum)], pages: u32) -> Checksum {
        let mut sum = self.sum;
        for pgno in pages.saturating_add(1)..=self.len() {
            if let Some(old) = self.get(pgno) {
                sum = sum.toggle(old);
            }
        }
        for (pgno, new) in changes {
            if *pgno > pages {
                continue;
            }
            if let Some(old) = self.get(*pgno) {
                sum = sum.toggle(old);
            }
            sum = sum.toggle(*new);
        }
        sum
    }

    /// Applies what [`checksum_after`](Self::checksum_after) looked ahead at.
    pub fn apply(&mut self, changes: &[(u32, Checksum)], pages: u32, txid: Txid) {
        self.resize(pages);
        for (pgno, new) in changes.iter().filter(|(pgno, _)| *pgno <= pages) {
            self.set(*pgno, *new);
        }
        self.txid = txid;
    }

    /// Whether every page has a checksum but the lock page.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        let lock = lock_page(self.page_size);
        (1..=self.len()).all(|pgno| pgno == lock || self.get(pgno).is_some())
    }

    /// Writes the map to `path`, whole or not at all.
    ///
    /// # Errors
    /// The directory or the disk refuses.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(HEAD + self.pages.len() * 8 + 8);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&self.page_size.to_be_bytes());
        bytes.extend_from_slice(&self.len().to_be_bytes());
        bytes.extend_from_slice(&self.txid.0.to_be_bytes());
        bytes.extend_from_slice(&self.sum.get().to_be_bytes());
        for page in &self.pages {
            bytes.extend_from_slice(&page.to_be_bytes());
        }
        let check = Checksum::of_page(0, &bytes);
        bytes.extend_from_slice(&check.get().to_be_bytes());
        durable::write(path, &bytes)
    }

    /// Reads a map back; `None` if there is none, or none that can be trusted.
    ///
    /// # Errors
    /// The file is there but cannot be read.
    pub fn load(path: &Path) -> io::Result<Option<Self>> {
        let mut bytes = Vec::new();
        match File::open(path) {
            Ok(mut file) => file.read_to_end(&mut bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(Self::parse(&bytes))
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let (body, check) = bytes.split_last_chunk::<8>()?;
        if Checksum::of_page(0, body).get() != u64::from_be_bytes(*check) {
            return None;
        }
        let (head, pages) = body.split_at_checked(HEAD)?;
        let word = |at: usize| Some(u32::from_be_bytes(head.get(at..at + 4)?.try_into().ok()?));
        let long = |at: usize| Some(u64::from_be_bytes(head.get(at..at + 8)?.try_into().ok()?));
        if head.get(..8)? != MAGIC.as_slice()
            || pages.len() != 8 * usize::try_from(word(12)?).ok()?
        {
            return None;
        }
        let pages: Vec<u64> = pages
            .as_chunks::<8>()
            .0
            .iter()
            .map(|page| u64::from_be_bytes(*page))
            .collect();
        let sum = pages
            .iter()
            .filter_map(|page| Checksum::from_bits(*page))
            .fold(Checksum::EMPTY, Checksum::toggle);
        let map = Self {
            page_size: word(8)?,
            txid: Txid(long(16)?),
            sum,
            pages,
        };
        (sum.get() == long(24)?).then_some(map)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn sum(n: u8) -> Checksum {
        Checksum::of_page(u32::from(n), &[n; 16])
    }

    #[test]
    fn the_checksum_does_not_depend_on_the_way() {
        let mut one = PageMap::empty(4096);
        let mut other = PageMap::empty(4096);
        for n in 1..9 {
            one.set(u32::from(n), sum(n));
            other.set(u32::from(9 - n), sum(200));
        }
        for n in 1..9 {
            other.set(u32::from(n), sum(n));
        }
        assert_eq!(one, other);
        let changes = [(2, sum(77)), (5, sum(78)), (7, sum(79))];
        let ahead = one.checksum_after(&changes, 6);
        one.apply(&changes, 6, Txid(4));
        assert_eq!(one.checksum(), ahead);
        assert_eq!(one.len(), 6);
        one.resize(0);
        assert_eq!(one.checksum(), Checksum::EMPTY);
    }

    #[test]
    fn a_map_is_read_back_or_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.map");
        assert_eq!(PageMap::load(&path).unwrap(), None);
        let mut map = PageMap::empty(512);
        map.apply(&[(1, sum(1)), (3, sum(3))], 3, Txid(9));
        map.save(&path).unwrap();
        assert_eq!(PageMap::load(&path).unwrap().as_ref(), Some(&map));
        let whole = std::fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            assert_eq!(PageMap::parse(&bytes), None, "byte {at}");
            assert_eq!(PageMap::parse(&whole[..at]), None, "cut at {at}");
        }
    }
}
