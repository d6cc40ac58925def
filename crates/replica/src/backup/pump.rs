//! A copy to any writer.

use std::io::Write;
use std::path::Path;

use super::compression::{Compression, Encoder};
use super::copy::Copy;
use super::error::{Error, Result};
use crate::Progress;
use monolite_platform::cancel::Cancel;

/// A copy that was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backup {
    /// Bytes of a page.
    pub page_size: u32,
    /// Pages of the database.
    pub pages: u32,
    /// Bytes that were written: fewer than the database has, if compressed.
    pub written: u64,
}

impl Backup {
    /// Bytes of the database.
    pub fn bytes(&self) -> u64 {
        u64::from(self.pages) * u64::from(self.page_size)
    }
}

/// Writes a copy of the database at `db` to `out`, and flushes it.
///
/// Only an answer without error says that the copy is whole. It is read as
/// fast as `out` takes it: one that is slow holds back the writers of a
/// database in rollback mode, and lets the WAL of another grow.
///
/// # Errors
/// There is no database, it cannot be read, or `out` refuses.
pub fn to_writer(
    db: &Path,
    out: impl Write,
    compression: Compression,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<Backup> {
    let copy = Copy::open(db)?;
    let (page_size, pages) = (copy.page_size(), copy.pages());
    let out = Counted { out, written: 0 };
    let mut out = pump(copy, out, compression, progress, cancel, Error::Writer)?;
    out.flush().map_err(Error::Writer)?;
    Ok(Backup {
        page_size,
        pages,
        written: out.written,
    })
}

/// Writes all of `copy`, compressed; `refused` names the writer in errors.
pub(super) fn pump<W: Write>(
    copy: Copy,
    out: W,
    compression: Compression,
    progress: &dyn Progress,
    cancel: &Cancel,
    refused: impl Fn(std::io::Error) -> Error,
) -> Result<W> {
    let bytes = copy.bytes();
    progress.begin("copying", Some(bytes));
    let mut out = Encoder::new(out, compression, bytes).map_err(&refused)?;
    match pour(copy, &mut out, progress, cancel, &refused) {
        Ok(()) => out.finish().map_err(&refused),
        Err(error) => {
            out.abandon();
            Err(error)
        }
    }
}

fn pour(
    copy: Copy,
    out: &mut impl Write,
    progress: &dyn Progress,
    cancel: &Cancel,
    refused: impl Fn(std::io::Error) -> Error,
) -> Result<()> {
    let page_size = copy.page_size();
    let mut reader = copy.into_reader()?;
    while let Some(pages) = reader.next_pages()? {
        cancel.check()?;
        out.write_all(pages.bytes).map_err(&refused)?;
        progress.copied(page_size, pages);
        progress.advance(pages.bytes.len() as u64);
    }
    Ok(())
}

struct Counted<W> {
    out: W,
    written: u64,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let taken = self.out.write(bytes)?;
        self.written += taken as u64;
        Ok(taken)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}
