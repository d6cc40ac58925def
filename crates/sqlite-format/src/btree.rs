//! The pages of a b-tree, as far as they name other pages.
//!
//! `number` is the page's own number: the first page of a database begins with
//! its [`Header`].

use crate::{Header, u16_at, u32_at};

/// What a page of a b-tree is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An inner page of an index (or of a table without rowids).
    IndexInner,
    /// An inner page of a table.
    TableInner,
    /// A leaf of an index (or of a table without rowids).
    IndexLeaf,
    /// A leaf of a table.
    TableLeaf,
}

impl Kind {
    /// What this page is; `None` if it belongs to no b-tree.
    #[must_use]
    pub fn of(number: u32, page: &[u8]) -> Option<Self> {
        match page.get(start(number))? {
            0x02 => Some(Self::IndexInner),
            0x05 => Some(Self::TableInner),
            0x0a => Some(Self::IndexLeaf),
            0x0d => Some(Self::TableLeaf),
            _ => None,
        }
    }

    /// Whether pages of this kind have children.
    #[must_use]
    pub fn is_inner(self) -> bool {
        matches!(self, Self::IndexInner | Self::TableInner)
    }
}

/// The pages below this one, in the order of their keys; empty for a leaf,
/// `None` if it belongs to no b-tree.
#[must_use]
pub fn children(number: u32, page: &[u8]) -> Option<Vec<u32>> {
    if !Kind::of(number, page)?.is_inner() {
        return Some(Vec::new());
    }
    let cells = cells(number, page)?.into_iter();
    let mut children: Vec<u32> = cells.map(|at| u32_at(page, at)).collect::<Option<_>>()?;
    children.push(u32_at(page, start(number) + 8)?);
    Some(children)
}

/// The first overflow page of each row on this page that has some. `usable`: as
/// [`Header::usable`].
#[must_use]
pub fn overflows(number: u32, page: &[u8], usable: usize) -> Vec<u32> {
    let Some(kind) = Kind::of(number, page) else {
        return Vec::new();
    };
    // Inner pages of tables have no rows.
    if kind == Kind::TableInner {
        return Vec::new();
    }
    let cells = cells(number, page).unwrap_or_default().into_iter();
    cells
        .filter_map(|cell| overflow(kind, page.get(cell..)?, usable))
        .collect()
}

/// The page that follows an overflow page, or a trunk page of the list of free
/// pages; `Some(0)` for the last one.
#[must_use]
pub fn next_page(page: &[u8]) -> Option<u32> {
    u32_at(page, 0)
}

/// The leaf pages that a trunk page of the list of free pages names. A damaged
/// count is bounded by the page.
pub fn free_leaves(trunk: &[u8]) -> impl Iterator<Item = u32> {
    let count = u32_at(trunk, 4).unwrap_or(0) as usize;
    (0..count.min(trunk.len() / 4)).map_while(|index| u32_at(trunk, 8 + 4 * index))
}

/// Where the page's own header begins.
fn start(number: u32) -> usize {
    if number == 1 { Header::SIZE } else { 0 }
}

/// Where the cells of a page are.
fn cells(number: u32, page: &[u8]) -> Option<Vec<usize>> {
    let header = if Kind::of(number, page)?.is_inner() {
        12
    } else {
        8
    };
    let count = usize::from(u16_at(page, start(number) + 3)?);
    let from = start(number) + header;
    let pointers = page.get(from..from + 2 * count)?;
    let cells = pointers.as_chunks::<2>().0.iter();
    Some(
        cells
            .map(|two| usize::from(u16::from_be_bytes(*two)))
            .collect(),
    )
}

fn overflow(kind: Kind, cell: &[u8], usable: usize) -> Option<u32> {
    let cell = if kind == Kind::IndexInner {
        cell.get(4..)?
    } else {
        cell
    };
    let (bytes, mut used) = varint(cell)?;
    let bytes = usize::try_from(bytes).ok()?;
    let most = match kind {
        Kind::TableLeaf => {
            used += varint(cell.get(used..)?)?.1;
            usable.checked_sub(35)?
        }
        _ => ((usable.checked_sub(12)?) * 64 / 255).checked_sub(23)?,
    };
    if bytes <= most {
        return None;
    }
    let least = ((usable.checked_sub(12)?) * 32 / 255).checked_sub(23)?;
    let here = least + (bytes - least) % (usable - 4);
    let here = if here <= most { here } else { least };
    u32_at(cell, used + here)
}

/// A number of SQLite's format, and how many bytes it took.
fn varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0_u64;
    for (at, byte) in bytes.iter().take(9).enumerate() {
        if at == 8 {
            return Some((value << 8 | u64::from(*byte), 9));
        }
        value = value << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some((value, at + 1));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// Every page of a database is found by walking its trees, their overflow
    /// pages and the free list: nothing is left over and nothing is met twice.
    #[test]
    fn all_pages_of_a_database_are_named_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.db");
        let conn = rusqlite::Connection::open(&path).unwrap();
        conn.execute_batch(
            "PRAGMA page_size = 512;
             CREATE TABLE a (id INTEGER PRIMARY KEY, text);
             CREATE TABLE b (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
             CREATE INDEX a_text ON a (text);
             WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 2000)
               INSERT INTO a SELECT i, hex(zeroblob(i % 700)) || i FROM n;
             INSERT INTO b SELECT text || id, zeroblob(id) FROM a WHERE id % 3 = 0;
             DELETE FROM a WHERE id > 1500",
        )
        .unwrap();
        let mut roots = conn
            .prepare("SELECT rootpage FROM sqlite_schema WHERE rootpage > 0")
            .unwrap();
        let roots = roots.query_map([], |row| row.get::<_, u32>(0)).unwrap();
        let roots: Vec<u32> = roots.map(|root| root.unwrap()).chain([1]).collect();
        let bytes = std::fs::read(&path).unwrap();
        let page = |number: u32| &bytes[(number as usize - 1) * 512..][..512];
        let header = Header::parse(&bytes).unwrap();
        let mut met = HashSet::new();
        let mut todo = roots;
        while let Some(number) = todo.pop() {
            assert!(met.insert(number), "{number} twice");
            todo.extend(children(number, page(number)).unwrap());
            for mut next in overflows(number, page(number), header.usable()) {
                while next != 0 {
                    assert!(met.insert(next), "{next} twice");
                    next = next_page(page(next)).unwrap();
                }
            }
        }
        let mut trunk = header.first_free;
        while trunk != 0 {
            assert!(met.insert(trunk));
            met.extend(free_leaves(page(trunk)));
            trunk = next_page(page(trunk)).unwrap();
        }
        assert_eq!(met.len(), header.pages as usize);
    }

    #[test]
    fn numbers_of_up_to_nine_bytes() {
        assert_eq!(varint(&[0x7f]), Some((127, 1)));
        assert_eq!(varint(&[0x81, 0x00]), Some((128, 2)));
        assert_eq!(varint(&[0xff; 9]), Some((u64::MAX, 9)));
        assert_eq!(varint(&[0x80; 8]), None);
        assert_eq!(varint(&[]), None);
    }
}
