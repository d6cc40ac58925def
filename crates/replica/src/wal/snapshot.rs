//! One state of a database, to be read at leisure.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use monolite_sqlite_pages::Pages;
use rusqlite::Connection;

use super::read_lock::connect;
use crate::error::{Error, Result};

/// A connection that a snapshot can begin on at once.
#[derive(Debug)]
pub(crate) struct Opened {
    conn: Connection,
    path: PathBuf,
}

impl Opened {
    /// Opens the database.
    ///
    /// # Errors
    /// It cannot be opened.
    pub(crate) fn new(path: &Path) -> Result<Self> {
        Ok(Self {
            conn: connect(path)?,
            path: path.into(),
        })
    }

    /// The state of now.
    ///
    /// # Errors
    /// The database cannot be read.
    pub(crate) fn begin(self) -> Result<Snapshot> {
        let Self { conn, path } = self;
        let pages = Pages::begin(conn).map_err(|error| Error::database(&path, error))?;
        Ok(Snapshot { pages, path })
    }
}

/// A read transaction of its own. Writers go on; only the log cannot be reset
/// while it lasts.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pages: Pages<Connection>,
    path: PathBuf,
}

impl Snapshot {
    /// The state of now.
    ///
    /// # Errors
    /// The database cannot be opened or read.
    #[cfg(test)]
    pub(crate) fn begin(path: &Path) -> Result<Self> {
        Opened::new(path)?.begin()
    }

    /// Bytes of a page.
    pub(crate) fn page_size(&self) -> u32 {
        self.pages.page_size()
    }

    /// Pages of the database.
    pub(crate) fn pages(&self) -> u32 {
        self.pages.count()
    }

    /// Calls `each` with all pages in order, until it says `false`.
    ///
    /// # Errors
    /// The database cannot be read.
    pub(crate) fn each(&self, mut each: impl FnMut(u32, &[u8]) -> bool) -> Result<()> {
        let all = self.pages.each(|pgno, page| match each(pgno, page) {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        });
        all.map(drop)
            .map_err(|error| Error::database(&self.path, error))
    }

    /// One page.
    ///
    /// # Errors
    /// The database cannot be read, or has no such page.
    pub(crate) fn page<T>(&self, pgno: u32, take: impl FnOnce(&[u8]) -> T) -> Result<T> {
        if pgno == 0 || pgno > self.pages() {
            return Err(Error::Page {
                path: self.path.clone(),
                pgno,
            });
        }
        let mut page = vec![0; self.page_size() as usize];
        self.pages
            .read(pgno, &mut page)
            .map_err(|error| Error::database(&self.path, error))?;
        Ok(take(&page))
    }
}
