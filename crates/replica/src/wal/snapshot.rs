//! One state of a database, to be read at leisure.

use std::path::{Path, PathBuf};

use rusqlite::OptionalExtension;

use super::pin::Pin;
use crate::error::{Error, Result};

/// A connection that a snapshot can begin on at once.
#[derive(Debug)]
pub(crate) struct Opened {
    pin: Pin,
    path: PathBuf,
}

impl Opened {
    /// Opens the database.
    ///
    /// # Errors
    /// It cannot be opened.
    pub(crate) fn new(path: &Path) -> Result<Self> {
        Ok(Self {
            pin: Pin::new(path)?,
            path: path.into(),
        })
    }

    /// The state of now.
    ///
    /// # Errors
    /// The database cannot be read.
    pub(crate) fn begin(self) -> Result<Snapshot> {
        let Self { pin, path } = self;
        pin.begin()?;
        let number = |what: &str| {
            pin.conn()
                .pragma_query_value(None, what, |row| row.get(0))
                .map_err(|error| Error::database(&path, error))
        };
        let (page_size, pages) = (number("page_size")?, number("page_count")?);
        Ok(Snapshot {
            pin,
            path,
            page_size,
            pages,
        })
    }
}

/// A read transaction of its own. Writers go on; only the log cannot be reset
/// while it lasts.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pin: Pin,
    path: PathBuf,
    page_size: u32,
    pages: u32,
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
        self.page_size
    }

    /// Pages of the database.
    pub(crate) fn pages(&self) -> u32 {
        self.pages
    }

    /// Calls `each` with all pages in order, until it says `false`.
    ///
    /// # Errors
    /// The database cannot be read.
    pub(crate) fn each(&self, mut each: impl FnMut(u32, &[u8]) -> bool) -> Result<()> {
        let at = |error| Error::database(&self.path, error);
        let conn = self.pin.conn();
        let mut all = conn
            .prepare_cached("SELECT pgno, data FROM sqlite_dbpage('main')")
            .map_err(at)?;
        let mut rows = all.query([]).map_err(at)?;
        while let Some(row) = rows.next().map_err(at)? {
            let pgno = row.get(0).map_err(at)?;
            let data = row.get_ref(1).map_err(at)?;
            let data = data.as_blob().map_err(|error| at(error.into()))?;
            if !each(pgno, data) {
                break;
            }
        }
        Ok(())
    }

    /// One page.
    ///
    /// # Errors
    /// The database cannot be read, or has no such page.
    pub(crate) fn page<T>(&self, pgno: u32, take: impl FnOnce(&[u8]) -> T) -> Result<T> {
        let at = |error| Error::database(&self.path, error);
        let mut one = self
            .pin
            .conn()
            .prepare_cached("SELECT data FROM sqlite_dbpage('main') WHERE pgno = ?")
            .map_err(at)?;
        one.query_row([pgno], |row| {
            row.get_ref(0)?
                .as_blob()
                .map(take)
                .map_err(rusqlite::Error::from)
        })
        .optional()
        .map_err(at)?
        .ok_or_else(|| Error::Page {
            path: self.path.clone(),
            pgno,
        })
    }
}
