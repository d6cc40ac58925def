//! The index of a file that is being read: is it that of its pages?

use std::io::Read;

use crate::checksum::Crc;
use crate::index::put_entry;
use crate::layout::u64_at;
use crate::source::Source;
use crate::{Error, Result};

/// What the index must be, as its length and checksum: the bytes are determined
/// by the pages, so that nothing else needs to be kept.
pub(crate) struct IndexCheck {
    expected: Crc,
    length: u64,
    entry: Vec<u8>,
}

impl IndexCheck {
    pub(crate) fn new() -> Self {
        Self {
            expected: Crc::new(),
            length: 0,
            entry: Vec::new(),
        }
    }

    /// Expects the entry of a page.
    pub(crate) fn take(&mut self, pgno: u32, offset: u64, size: u64) {
        self.entry.clear();
        put_entry(pgno, offset, size, &mut self.entry);
        self.expected.update(&self.entry);
        self.length += self.entry.len() as u64;
    }

    /// Reads the index and its length, and compares.
    pub(crate) fn read<R: Read>(&mut self, source: &mut Source<R>, file: &mut Crc) -> Result<()> {
        let offset = source.offset();
        self.expected.update(&[0]);
        self.length += 1;

        let mut found = Crc::new();
        let (mut left, mut chunk) = (self.length, [0; 4096]);
        while left > 0 {
            let now = usize::try_from(left).map_or(chunk.len(), |left| left.min(chunk.len()));
            let chunk = &mut chunk[..now];
            source.fill(chunk, PLACE)?;
            found.update(chunk);
            file.update(chunk);
            left -= now as u64;
        }
        if found.checksum() != self.expected.checksum() {
            let why = "it is not the index of the pages before it";
            return Err(Error::Index { offset, why });
        }

        let offset = source.offset();
        let mut length = [0; 8];
        source.fill(&mut length, PLACE)?;
        file.update(&length);
        if u64_at(&length, 0) != self.length {
            let why = "its length is not the one given here";
            return Err(Error::Index { offset, why });
        }
        Ok(())
    }
}

const PLACE: &str = "the page index";
