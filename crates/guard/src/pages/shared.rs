//! The pages that a database and its snapshot have in common on the disk.
//!
//! What a read transaction sees of a page is in the file or in the log. The
//! log's frames up to the transaction's mark stay where they are while it
//! lasts, so whatever page any frame of the log is of, of this time around or
//! of an earlier one, is looked at in any case. Every other page is what the
//! file has: no checkpoint writes it meanwhile, and in the other journal modes
//! nobody writes the file while it is read.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rusqlite::Connection;

use super::Pages;
use crate::files::beside;

/// As [`SameBlocks`](crate::SameBlocks).
pub(crate) type Same = dyn Fn(&Path, &Path) -> Vec<Range<u64>> + Send + Sync;

/// Of a log, as its format has them.
const LOG_HEADER: u64 = 32;
const FRAME_HEADER: u64 = 24;

/// Pages that need no look.
pub(super) struct Shared {
    pages: Pages,
}

impl Shared {
    /// Those of `main` of `conn`, in its read transaction, and of the snapshot;
    /// `None` if there are none, or if it cannot be told.
    pub(super) fn find(
        conn: &Connection,
        before: &Path,
        page_size: usize,
        same: &Same,
    ) -> Option<Self> {
        let live = Path::new(conn.path()?);
        let ranges = same(live, before);
        let mut pages = Pages::default();
        let bytes = page_size as u64;
        for range in ranges {
            let whole = range.start.div_ceil(bytes)..range.end / bytes;
            for index in whole {
                pages.insert(u32::try_from(index + 1).ok()?);
            }
        }
        // Its header says how to read the rest.
        pages.remove(1);
        logged(&beside(live, "-wal"), bytes, |page| pages.remove(page)).ok()?;
        (!pages.is_empty()).then_some(Self { pages })
    }

    pub(super) fn contains(&self, page: u32) -> bool {
        self.pages.contains(page)
    }
}

/// The page of every frame in a log. SQLite holds no lock on a log, so that it
/// may be opened and closed here.
fn logged(log: &Path, page_size: u64, mut page: impl FnMut(u32)) -> io::Result<()> {
    let log = match File::open(log) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    let bytes = log.metadata()?.len();
    let mut at = LOG_HEADER;
    while at + FRAME_HEADER <= bytes {
        let mut number = [0; 4];
        log.read_exact_at(&mut number, at)?;
        page(u32::from_be_bytes(number));
        at += FRAME_HEADER + page_size;
    }
    Ok(())
}
