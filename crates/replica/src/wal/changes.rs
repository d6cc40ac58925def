//! The pages that were changed, in memory, within a budget.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Memory for pages on their way, shared by all databases of a process.
///
/// What does not fit is not kept: it is read from the database again, later.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    left: Arc<AtomicUsize>,
}

impl Budget {
    pub(crate) fn new(bytes: usize) -> Self {
        Self {
            left: Arc::new(AtomicUsize::new(bytes)),
        }
    }

    fn take(&self, bytes: usize) -> bool {
        let less = |left: usize| left.checked_sub(bytes);
        self.left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less)
            .is_ok()
    }

    fn give(&self, bytes: usize) {
        self.left.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// A page's content, counted while anybody has it.
#[derive(Debug)]
pub(crate) struct Page {
    data: Box<[u8]>,
    budget: Budget,
}

impl Page {
    pub(crate) fn data(&self) -> &[u8] {
        &self.data
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.budget.give(self.data.len());
    }
}

/// All changes from one commit to a later one.
#[derive(Clone, Debug)]
pub(crate) struct Changes {
    budget: Budget,
    page_size: u32,
    size: Option<u32>,
    /// The smallest the database was in between: pages beyond it may have been
    /// dropped, and come back empty.
    smallest: u32,
    pages: HashMap<u32, Arc<Page>>,
    overflowed: bool,
}

impl Changes {
    pub(crate) fn none(budget: &Budget) -> Self {
        Self {
            budget: budget.clone(),
            page_size: 0,
            size: None,
            smallest: u32::MAX,
            pages: HashMap::new(),
            overflowed: false,
        }
    }

    pub(crate) fn is_none(&self) -> bool {
        self.size.is_none() && !self.overflowed
    }

    /// Whether pages are missing, for want of memory.
    pub(crate) fn overflowed(&self) -> bool {
        self.overflowed
    }

    /// Pages of the database after the changes.
    pub(crate) fn size(&self) -> u32 {
        self.size.unwrap_or_default()
    }

    pub(crate) fn smallest(&self) -> u32 {
        self.smallest
    }

    pub(crate) fn page_size(&self) -> u32 {
        self.page_size
    }

    /// The changed pages by number, ascending.
    pub(crate) fn sorted(&self) -> Vec<(u32, Arc<Page>)> {
        let mut pages: Vec<_> = self.pages.iter().map(|(p, d)| (*p, d.clone())).collect();
        pages.sort_unstable_by_key(|(pgno, _)| *pgno);
        pages
    }

    /// Bytes of the pages.
    pub(crate) fn bytes(&self) -> usize {
        self.pages.len() * self.page_size as usize
    }

    pub(crate) fn has(&self, pgno: u32) -> bool {
        self.pages.contains_key(&pgno)
    }

    /// Something is missing from here on, whatever else is there.
    pub(crate) fn lose(&mut self) {
        self.overflow();
    }

    /// Takes everything out.
    pub(crate) fn take(&mut self) -> Self {
        let none = Self::none(&self.budget);
        std::mem::replace(self, none)
    }

    /// Pages follow that were changed up to a state of `size` pages.
    pub(super) fn begin(&mut self, page_size: u32, size: u32, smallest: u32) {
        self.page_size = page_size;
        self.resize(size, smallest);
    }

    pub(super) fn page(&mut self, pgno: u32, data: &[u8]) {
        if self.overflowed {
            return;
        }
        // The old content first: a page written again needs no more memory.
        self.pages.remove(&pgno);
        if !self.budget.take(data.len()) {
            self.overflow();
            return;
        }
        let page = Page {
            data: data.into(),
            budget: self.budget.clone(),
        };
        self.pages.insert(pgno, Arc::new(page));
    }

    /// Adds what came after.
    pub(crate) fn add(&mut self, later: &Self) {
        if later.overflowed {
            self.overflow();
        }
        let Some(size) = later.size else {
            return;
        };
        self.page_size = later.page_size;
        self.resize(size, later.smallest);
        if !self.overflowed {
            let pages = later.pages.iter().map(|(p, data)| (*p, data.clone()));
            self.pages.extend(pages);
        }
    }

    fn resize(&mut self, size: u32, smallest: u32) {
        self.size = Some(size);
        self.smallest = self.smallest.min(smallest);
        self.pages.retain(|pgno, _| *pgno <= smallest);
    }

    fn overflow(&mut self) {
        self.overflowed = true;
        self.pages = HashMap::new();
    }
}
