//! Which trees of a database hold pages that changed.
//!
//! From a tree's root its inner pages name all others, so that its leaves need
//! not be read to know them. What hangs on leaves, the pages of long rows, is
//! not named there; so every changed page must be found in some tree or among
//! the free ones, the long rows of changed leaves included. If one is found
//! nowhere, it may be the middle of a long row of any table, and then every
//! tree counts as changed.

use std::collections::HashSet;

use rusqlite::{Connection, OptionalExtension, Statement};

use crate::pages::{Changed, Pages, lock_page};

/// The trees, by their roots.
#[derive(Debug)]
pub(super) enum Touched {
    /// No others than these.
    Roots(HashSet<u32>),
    /// It cannot be told.
    Any,
}

impl Touched {
    pub(super) fn has(&self, root: u32) -> bool {
        match self {
            Self::Roots(roots) => roots.contains(&root),
            Self::Any => true,
        }
    }
}

/// Looks at the trees of `main` that begin at `roots`; the one of the schema
/// itself besides.
pub(super) fn touched(
    conn: &Connection,
    changed: &Changed,
    roots: impl IntoIterator<Item = u32>,
) -> rusqlite::Result<Touched> {
    let page = conn.prepare("SELECT data FROM sqlite_dbpage('main') WHERE pgno = ?1")?;
    let mut walk = Walk {
        page,
        changed,
        usable: changed.page_size,
        found: Pages::default(),
        leaves: Vec::new(),
    };
    let first = walk.read(1)?;
    let Some(first) = first.filter(|first| first.len() > 100) else {
        return Ok(Touched::Any);
    };
    walk.usable -= usize::from(first[20]);
    walk.found.insert(lock_page(changed.page_size));
    if number(&first, 52) != Some(0) {
        walk.pointer_map();
    }
    let mut touched = HashSet::new();
    let mut whole = walk.free(&first)?;
    for root in std::iter::once(1).chain(roots) {
        match walk.tree(root)? {
            Some(true) => drop(touched.insert(root)),
            Some(false) => {}
            None => whole = false,
        }
    }
    if whole && !changed.pages.is_within(&walk.found) {
        whole = walk.long_rows()?;
    }
    Ok(match whole && changed.pages.is_within(&walk.found) {
        true => Touched::Roots(touched),
        false => Touched::Any,
    })
}

struct Walk<'c> {
    page: Statement<'c>,
    changed: &'c Changed,
    /// Bytes of a page that SQLite uses.
    usable: usize,
    /// Pages whose place is known.
    found: Pages,
    /// Pages that changed and may have long rows.
    leaves: Vec<u32>,
}

impl Walk<'_> {
    fn read(&mut self, page: u32) -> rusqlite::Result<Option<Vec<u8>>> {
        let read = self.page.query_row([page], |row| row.get(0));
        read.optional()
    }

    /// Whether the tree has changed pages; `None` if it is no tree.
    fn tree(&mut self, root: u32) -> rusqlite::Result<Option<bool>> {
        let mut touched = false;
        let mut inner = vec![root];
        // A damaged file may go round in circles.
        let mut left = self.changed.count;
        while let Some(number) = inner.pop() {
            let Some(page) = self.read(number)? else {
                return Ok(None);
            };
            left = match left.checked_sub(1) {
                Some(left) => left,
                None => return Ok(None),
            };
            touched |= self.met(number);
            let Some(children) = children(number, &page) else {
                return Ok(None);
            };
            let Some(first) = children.first().copied() else {
                // A leaf.
                continue;
            };
            let Some(below) = self.read(first)? else {
                return Ok(None);
            };
            // All leaves of a tree are on one level.
            match kind(first, &below) {
                Some(0x02 | 0x05) => inner.extend(children),
                Some(_) => {
                    for child in children {
                        touched |= self.met(child);
                    }
                }
                None => return Ok(None),
            }
        }
        Ok(Some(touched))
    }

    fn met(&mut self, page: u32) -> bool {
        self.found.insert(page);
        let changed = self.changed.pages.contains(page);
        if changed {
            self.leaves.push(page);
        }
        changed
    }

    /// The free pages, as the header tells; false if the list is not whole.
    fn free(&mut self, first: &[u8]) -> rusqlite::Result<bool> {
        let mut next = number(first, 32).unwrap_or(0);
        let mut left = self.changed.count;
        while next != 0 {
            let Some(trunk) = self.read(next)? else {
                return Ok(false);
            };
            self.found.insert(next);
            let count = number(&trunk, 4).unwrap_or(0) as usize;
            for at in 0..count.min(trunk.len() / 4) {
                self.found.insert(number(&trunk, 8 + 4 * at).unwrap_or(0));
            }
            next = number(&trunk, 0).unwrap_or(0);
            left = match left.checked_sub(1) {
                Some(left) => left,
                None => return Ok(false),
            };
        }
        Ok(true)
    }

    /// The pages of the pointer map, where there is one.
    fn pointer_map(&mut self) {
        let every = u32::try_from(self.usable / 5 + 1).unwrap_or(u32::MAX);
        let lock = lock_page(self.changed.page_size);
        let mut at = 2_u32;
        while at <= self.changed.count {
            self.found.insert(if at == lock { at + 1 } else { at });
            at = at.saturating_add(every);
        }
    }

    /// Follows the long rows of changed pages; false if one leads nowhere.
    fn long_rows(&mut self) -> rusqlite::Result<bool> {
        for leaf in std::mem::take(&mut self.leaves) {
            let Some(page) = self.read(leaf)? else {
                return Ok(false);
            };
            for begin in overflows(leaf, &page, self.usable) {
                let mut next = begin;
                let mut left = self.changed.count;
                while next != 0 {
                    self.found.insert(next);
                    let Some(page) = self.read(next)? else {
                        return Ok(false);
                    };
                    next = number(&page, 0).unwrap_or(0);
                    left = match left.checked_sub(1) {
                        Some(left) => left,
                        None => return Ok(false),
                    };
                }
            }
        }
        Ok(true)
    }
}

/// Where the page's own header begins.
fn begin(page: u32) -> usize {
    if page == 1 { 100 } else { 0 }
}

fn kind(number: u32, page: &[u8]) -> Option<u8> {
    let kind = *page.get(begin(number))?;
    [0x02, 0x05, 0x0a, 0x0d].contains(&kind).then_some(kind)
}

fn number(page: &[u8], at: usize) -> Option<u32> {
    let bytes = page.get(at..at + 4)?;
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}

/// Where the cells of a page are.
fn cells(number: u32, page: &[u8]) -> Option<Vec<usize>> {
    let begin = begin(number);
    let header = match kind(number, page)? {
        0x02 | 0x05 => 12,
        _ => 8,
    };
    let count = page.get(begin + 3..begin + 5)?;
    let count = usize::from(u16::from_be_bytes(count.try_into().ok()?));
    let from = begin + header;
    let pointers = page.get(from..from + 2 * count)?;
    let pointers = pointers.chunks_exact(2);
    Some(
        pointers
            .map(|two| usize::from(u16::from_be_bytes([two[0], two[1]])))
            .collect(),
    )
}

/// The pages below an inner one; empty for a leaf, `None` for neither.
fn children(at: u32, page: &[u8]) -> Option<Vec<u32>> {
    match kind(at, page)? {
        0x02 | 0x05 => {
            let cells = cells(at, page)?.into_iter();
            let mut children: Vec<u32> = cells
                .map(|cell| number(page, cell))
                .collect::<Option<_>>()?;
            children.push(number(page, begin(at) + 8)?);
            Some(children)
        }
        _ => Some(Vec::new()),
    }
}

/// The first pages of the long rows that begin on this page.
fn overflows(at: u32, page: &[u8], usable: usize) -> Vec<u32> {
    let Some(kind) = kind(at, page) else {
        return Vec::new();
    };
    // Inner pages of tables have no rows.
    if kind == 0x05 {
        return Vec::new();
    }
    let cells = cells(at, page).unwrap_or_default().into_iter();
    cells
        .filter_map(|cell| overflow(kind, page.get(cell..)?, usable))
        .collect()
}

fn overflow(kind: u8, cell: &[u8], usable: usize) -> Option<u32> {
    let cell = if kind == 0x02 { cell.get(4..)? } else { cell };
    let (bytes, mut used) = varint(cell)?;
    let bytes = usize::try_from(bytes).ok()?;
    let most = match kind {
        0x0d => {
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
    number(cell, used + here)
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
