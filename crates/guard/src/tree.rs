//! Which trees of a database hold pages that changed.
//!
//! From a tree's root its inner pages name all others, so that its leaves need
//! not be read to know them. What hangs on leaves, the pages of long rows, is
//! not named there; so every changed page must be found in some tree or among
//! the free ones, the long rows of changed leaves included. If one is found
//! nowhere, it may be the middle of a long row of any table, and then every
//! tree counts as changed.

use std::collections::HashSet;

use monolite_sqlite_format::{Header, btree, lock_page};

use crate::pages::{Changed, Database, Pages};

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

/// Looks at the trees of the database that begin at `roots`; the one of the
/// schema itself besides.
pub(super) fn touched(
    database: &Database<'_>,
    changed: &Changed,
    roots: impl IntoIterator<Item = u32>,
) -> rusqlite::Result<Touched> {
    let mut walk = Walk {
        database,
        page: vec![0; database.page_size() as usize],
        changed,
        found: Pages::default(),
        leaves: Vec::new(),
    };
    let header = walk.read(1)?.and_then(Header::parse);
    let Some(header) = header else {
        return Ok(Touched::Any);
    };
    walk.found.insert(lock_page(header.page_size));
    if header.has_pointer_map {
        walk.pointer_map(&header);
    }
    let mut touched = HashSet::new();
    let mut whole = walk.free(&header)?;
    for root in std::iter::once(1).chain(roots) {
        match walk.tree(root)? {
            Some(true) => drop(touched.insert(root)),
            Some(false) => {}
            None => whole = false,
        }
    }
    if whole && !changed.pages.is_within(&walk.found) {
        whole = walk.long_rows(&header)?;
    }
    Ok(match whole && changed.pages.is_within(&walk.found) {
        true => Touched::Roots(touched),
        false => Touched::Any,
    })
}

struct Walk<'w> {
    database: &'w Database<'w>,
    /// The page read last.
    page: Vec<u8>,
    changed: &'w Changed,
    /// Pages whose place is known.
    found: Pages,
    /// Pages that changed and may have long rows.
    leaves: Vec<u32>,
}

impl Walk<'_> {
    /// `None`: a damaged file names a page that it has not.
    fn read(&mut self, page: u32) -> rusqlite::Result<Option<&[u8]>> {
        if page == 0 || page > self.database.count() {
            return Ok(None);
        }
        self.database.read(page, &mut self.page)?;
        Ok(Some(&self.page))
    }

    /// Whether the tree has changed pages; `None` if it is no tree.
    fn tree(&mut self, root: u32) -> rusqlite::Result<Option<bool>> {
        let mut touched = false;
        let mut inner = vec![root];
        // A damaged file may go round in circles.
        let mut left = self.changed.count;
        while let Some(number) = inner.pop() {
            let children = self
                .read(number)?
                .and_then(|page| btree::children(number, page));
            left = match left.checked_sub(1) {
                Some(left) => left,
                None => return Ok(None),
            };
            touched |= self.met(number);
            let Some(children) = children else {
                return Ok(None);
            };
            let Some(first) = children.first().copied() else {
                // A leaf.
                continue;
            };
            let below = self
                .read(first)?
                .and_then(|page| btree::Kind::of(first, page));
            // All leaves of a tree are on one level.
            match below {
                Some(kind) if kind.is_inner() => inner.extend(children),
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
    fn free(&mut self, header: &Header) -> rusqlite::Result<bool> {
        let mut next = header.first_free;
        let mut left = self.changed.count;
        while next != 0 {
            let Some(trunk) = self.read(next)? else {
                return Ok(false);
            };
            let leaves: Vec<u32> = btree::free_leaves(trunk).collect();
            let after = btree::next_page(trunk).unwrap_or(0);
            self.found.insert(next);
            leaves.into_iter().for_each(|leaf| self.found.insert(leaf));
            next = after;
            left = match left.checked_sub(1) {
                Some(left) => left,
                None => return Ok(false),
            };
        }
        Ok(true)
    }

    /// The pages of the pointer map, where there is one.
    fn pointer_map(&mut self, header: &Header) {
        let every = u32::try_from(header.usable() / 5 + 1).unwrap_or(u32::MAX);
        let lock = lock_page(header.page_size);
        let mut at = 2_u32;
        while at <= self.changed.count {
            self.found.insert(if at == lock { at + 1 } else { at });
            at = at.saturating_add(every);
        }
    }

    /// Follows the long rows of changed pages; false if one leads nowhere.
    fn long_rows(&mut self, header: &Header) -> rusqlite::Result<bool> {
        for leaf in std::mem::take(&mut self.leaves) {
            let Some(page) = self.read(leaf)? else {
                return Ok(false);
            };
            for begin in btree::overflows(leaf, page, header.usable()) {
                let mut next = begin;
                let mut left = self.changed.count;
                while next != 0 {
                    self.found.insert(next);
                    let Some(page) = self.read(next)? else {
                        return Ok(false);
                    };
                    next = btree::next_page(page).unwrap_or(0);
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
