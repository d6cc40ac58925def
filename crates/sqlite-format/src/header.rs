//! The first 100 bytes of a database.

use crate::{is_page_size, u16_at, u32_at};

/// The header of a database file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Header {
    /// Bytes of a page.
    pub page_size: u32,
    /// Whether the database is in WAL mode. (The file may lag behind: the page
    /// that says so may still be in the log.)
    pub is_wal: bool,
    /// Bytes at the end of each page that SQLite leaves to extensions.
    pub reserved: u8,
    /// Pages of the database; 0 if an old version of SQLite wrote it last, and
    /// then the file's size tells.
    pub pages: u32,
    /// The first page of the list of free pages; 0: there are none.
    pub first_free: u32,
    /// Whether the database has pointer map pages (`auto_vacuum`).
    pub has_pointer_map: bool,
}

impl Header {
    /// What every database begins with.
    pub const MAGIC: &[u8; 16] = b"SQLite format 3\0";
    /// Bytes of a header.
    pub const SIZE: usize = 100;

    /// Reads the beginning of a database's first page; `None` if it is no
    /// database.
    #[must_use]
    pub fn parse(page: &[u8]) -> Option<Self> {
        if page.len() < Self::SIZE || !page.starts_with(Self::MAGIC) {
            return None;
        }
        let page_size = match u16_at(page, 16)? {
            1 => 65_536,
            bytes => u32::from(bytes),
        };
        // Only if who wrote the size also counted this change is it believed.
        let counted = u32_at(page, 24)? == u32_at(page, 92)?;
        is_page_size(page_size).then_some(Self {
            page_size,
            is_wal: page[19] == 2,
            reserved: page[20],
            pages: if counted { u32_at(page, 28)? } else { 0 },
            first_free: u32_at(page, 32)?,
            has_pointer_map: u32_at(page, 52)? != 0,
        })
    }

    /// Bytes of a page that SQLite uses.
    #[must_use]
    pub fn usable(&self) -> usize {
        (self.page_size as usize).saturating_sub(usize::from(self.reserved))
    }

    /// Whether two first pages differ in no more than what every commit counts
    /// up (the change counter, the schema's, who wrote last) and in the journal
    /// mode.
    #[must_use]
    pub fn is_same_but_counters(one: &[u8], other: &[u8]) -> bool {
        // 18: write and read version. 24: change counter. 40: schema cookie.
        // 92: what version wrote last, and at which change.
        const KEPT: [std::ops::Range<usize>; 4] = [0..18, 20..24, 28..40, 44..92];
        one.len() == other.len()
            && one.len() >= Self::SIZE
            && KEPT
                .into_iter()
                .all(|kept| one[kept.clone()] == other[kept])
            && one[Self::SIZE..] == other[Self::SIZE..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_real_database() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.db");
        let conn = rusqlite::Connection::open(&path).unwrap();
        conn.execute_batch(
            "PRAGMA page_size = 65536; PRAGMA auto_vacuum = FULL; PRAGMA journal_mode = WAL;
             CREATE TABLE a (b); PRAGMA wal_checkpoint(TRUNCATE)",
        )
        .unwrap();
        drop(conn);
        let bytes = std::fs::read(&path).unwrap();
        let header = Header::parse(&bytes).unwrap();
        assert_eq!(header.page_size, 65_536);
        assert_eq!(u64::from(header.pages) * 65_536, bytes.len() as u64);
        assert!(header.is_wal && header.has_pointer_map);
        assert_eq!(header.usable(), 65_536);
        assert_eq!(header.first_free, 0);
    }

    #[test]
    fn anything_else_is_none() {
        let mut page = vec![0; 512];
        assert_eq!(Header::parse(&page), None);
        page[..16].copy_from_slice(b"SQLite format 3\0");
        page[16..18].copy_from_slice(&1000_u16.to_be_bytes());
        assert_eq!(Header::parse(&page), None, "no page size");
        page[16..18].copy_from_slice(&512_u16.to_be_bytes());
        assert!(Header::parse(&page).is_some());
        assert_eq!(Header::parse(&page[..99]), None, "cut short");
    }

    #[test]
    fn counters_alone_make_no_difference() {
        let one = vec![7; 512];
        for at in 0..512 {
            let mut other = one.clone();
            other[at] += 1;
            let counts = (18..20).contains(&at)
                || (24..28).contains(&at)
                || (40..44).contains(&at)
                || (92..100).contains(&at);
            assert_eq!(Header::is_same_but_counters(&one, &other), counts, "{at}");
        }
        assert!(!Header::is_same_but_counters(&one, &one[..99]));
    }
}
