//! Which pages of a database differ from those of its snapshot.
//!
//! Both files are read once from end to end: a table none of whose pages changed need not be read
//! row by row. A snapshot whose pages' checksums are known need not be read at all.

mod checksums;
mod snapshot_reader;

use std::fs::File;
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::path::Path;

use monolite_sqlite_format::{Header, lock_page};
use rusqlite::Connection;

pub use self::checksums::Checksums;
use self::snapshot_reader::SnapshotReader;
use crate::error::{Error, Result};
use crate::progress::DatabaseProgress;

/// Pages read between two reports of progress.
const PAGES_PER_REPORT: u32 = 256;

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
    /// Pages of the database.
    pub(super) count: u32,
    /// Nothing differs at all but the counters in the first page's header.
    pub(super) is_same: bool,
}

/// The live database, in its read transaction.
pub(super) type Database<'c> = monolite_sqlite_pages::Pages<&'c Connection>;

/// Compares the database with the snapshot, which is not read if its `checksums` are known. `None`
/// if their pages are of different sizes.
pub(super) fn changed(
    database: &Database<'_>,
    before: &Path,
    checksums: Option<&Checksums>,
    progress: &DatabaseProgress<'_>,
) -> Result<Option<Changed>> {
    let conn = database.conn();
    let at = |error| Error::sqlite("compare the pages of", conn, error);
    let (page_size, count) = (database.page_size() as usize, database.count());
    let file = |error| Error::file("read the snapshot", before, error);
    let snapshot = File::open(before).map_err(file)?;
    let bytes = snapshot.metadata().map_err(file)?.len();
    if page_size_of(before).map_err(file)? != Some(page_size) {
        return Ok(None);
    }
    progress.step("comparing", Some(u64::from(count) * page_size as u64));
    let checksums = checksums.filter(|checksums| checksums.are_of(page_size, bytes));
    let look = Look {
        database,
        page_size,
        progress,
    };
    let differences = match checksums {
        Some(checksums) => look.at_the_database(checksums, &snapshot),
        None => look.at_all(snapshot),
    };
    let Differences { pages, is_more } = differences.map_err(|error| match error {
        Failed::Database(error) => at(error),
        Failed::Snapshot(error) => file(error),
    })?;
    let is_same = !is_more && bytes == u64::from(count) * page_size as u64;
    Ok(Some(Changed {
        pages,
        count,
        is_same,
    }))
}

/// Which of the two cannot be read.
enum Failed {
    Database(rusqlite::Error),
    Snapshot(io::Error),
}

impl From<rusqlite::Error> for Failed {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error)
    }
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::Snapshot(error)
    }
}

#[derive(Default)]
struct Differences {
    pages: Pages,
    /// More than the counters of the first page.
    is_more: bool,
}

impl Differences {
    fn look(&mut self, number: u32, page: &[u8], their: Option<&[u8]>) {
        if number != lock_page(u32::try_from(page.len()).unwrap_or(0)) && their != Some(page) {
            self.pages.insert(number);
            self.is_more |=
                number > 1 || !their.is_some_and(|their| Header::is_same_but_counters(page, their));
        }
    }
}

struct Look<'l> {
    database: &'l Database<'l>,
    page_size: usize,
    progress: &'l DatabaseProgress<'l>,
}

impl Look<'_> {
    fn at_all(&self, snapshot: File) -> Result<Differences, Failed> {
        let mut snapshot = SnapshotReader::new(snapshot, self.page_size)?;
        let mut found = Differences::default();
        self.each_page(|number, page| {
            found.look(number, page, snapshot.next()?);
            Ok(())
        })?;
        Ok(found)
    }

    fn at_the_database(
        &self,
        checksums: &Checksums,
        snapshot: &File,
    ) -> Result<Differences, Failed> {
        let mut found = Differences::default();
        self.each_page(|number, page| {
            match checksums.is(number, page) {
                Some(true) => {}
                // Its header says more than whether it is another.
                _ if number == 1 => {
                    let mut their = vec![0; self.page_size];
                    snapshot.read_exact_at(&mut their, 0)?;
                    found.look(number, page, Some(&their));
                }
                _ => found.look(number, page, None),
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// The pages of the database, from the first to the last.
    fn each_page(
        &self,
        mut look: impl FnMut(u32, &[u8]) -> Result<(), Failed>,
    ) -> Result<(), Failed> {
        let end = self.database.each(|number, page| {
            self.report(number);
            match look(number, page) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => ControlFlow::Break(error),
            }
        })?;
        end.break_value().map_or(Ok(()), Err)
    }

    /// Every so often.
    fn report(&self, number: u32) {
        if number.is_multiple_of(PAGES_PER_REPORT) {
            self.progress
                .advance(u64::from(PAGES_PER_REPORT) * self.page_size as u64);
        }
    }
}

/// `None`: it is no database.
fn page_size_of(path: &Path) -> io::Result<Option<usize>> {
    let mut header = [0; Header::SIZE];
    File::open(path)?.read_exact(&mut header)?;
    Ok(Header::parse(&header).map(|header| header.page_size as usize))
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
