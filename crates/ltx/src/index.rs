//! Where in a file each page is.

use crate::frame::{FRAME_HEAD, Frames, PAGE_HEAD, frame_bound};
use crate::layout::{put_varint, take_varint, u64_at};
use crate::sequence::Sequence;
use crate::source::Source;
use crate::{Error, Header, PageFault, Result, Trailer};

/// Where one page is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexEntry {
    /// The page.
    pub pgno: u32,
    /// Where its frame begins in the file.
    pub offset: u64,
    /// How long its frame is.
    pub size: u32,
}

impl IndexEntry {
    /// Makes `page` the page that its frame, read from the file alone, holds.
    /// No checksum covers it there: whoever asks must know better whether it is
    /// the right one.
    pub fn decode(&self, frame: &[u8], page_size: u32, page: &mut Vec<u8>) -> Result<()> {
        let wrong = |why| Error::Page {
            pgno: self.pgno,
            offset: self.offset,
            why,
        };
        let mut source = Source::at(self.offset, frame);
        match Frames::new(page_size).next(&mut source, page)? {
            Some(found) if found.pgno == self.pgno => {}
            other => return Err(wrong(PageFault::Other(other.map_or(0, |other| other.pgno)))),
        }
        source.end().map_err(|_| wrong(PageFault::FrameSize))?;
        Ok(())
    }
}

/// The index of a file, from its last bytes: to read single pages of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageIndex {
    entries: Vec<IndexEntry>,
}

/// The length of the index, and the trailer.
const END: usize = 8 + Trailer::SIZE;

impl PageIndex {
    /// Bytes at the end of a file that hold the length of its index.
    pub const LENGTH_AT_END: usize = END;

    /// Reads the index from `end`, the last bytes of a file of `file_size`
    /// bytes; [`Error::IndexBeyond`] says how many are needed if these are too
    /// few. Every entry must lead to where the one before ends, so what it says
    /// cannot leave the file.
    pub fn parse(end: &[u8], file_size: u64, header: &Header) -> Result<Self> {
        let given = end.len() as u64;
        let beyond = |needed| Error::IndexBeyond { needed, given };
        let Some(varints_end) = end.len().checked_sub(END) else {
            return Err(beyond(END as u64));
        };
        let length = u64_at(end, varints_end);
        let before = (Header::SIZE + PAGE_HEAD) as u64;
        // Where in the file the index begins, if it can be that long.
        let start = (file_size.checked_sub(END as u64))
            .and_then(|rest| rest.checked_sub(length))
            .filter(|start| *start >= before && length > 0 && given <= file_size)
            .filter(|start| length <= longest_index(start - before));
        let Some(start) = start else {
            let (offset, why) = (
                file_size.saturating_sub(END as u64),
                "it does not fit in the file",
            );
            return Err(Error::Index { offset, why });
        };
        let varints = usize::try_from(length)
            .ok()
            .and_then(|length| varints_end.checked_sub(length))
            .map(|begin| &end[begin..varints_end])
            .ok_or_else(|| beyond(length + END as u64))?;
        let entries = read_entries(varints, start, header)?;
        Ok(Self { entries })
    }

    /// All pages, in order.
    #[must_use]
    pub fn entries(&self) -> &[IndexEntry] {
        &self.entries
    }

    /// Where a page is, if it is in the file.
    #[must_use]
    pub fn get(&self, pgno: u32) -> Option<&IndexEntry> {
        let at = self.entries.binary_search_by_key(&pgno, |entry| entry.pgno);
        self.entries.get(at.ok()?)
    }
}

fn read_entries(varints: &[u8], start: u64, header: &Header) -> Result<Vec<IndexEntry>> {
    let longest = frame_bound(header.page_size);
    let pages_end = start - PAGE_HEAD as u64;
    let mut sequence = Sequence::new(header);
    // Bounded by what was given: about five times as much.
    let mut entries = Vec::with_capacity(varints.len() / SHORTEST_ENTRY);
    let (mut rest, mut expected) = (varints, Header::SIZE as u64);
    loop {
        let at = start + (varints.len() - rest.len()) as u64;
        let wrong = |why| Error::Index { offset: at, why };
        let next = |rest: &mut &[u8]| {
            let (value, after) = take_varint(rest).ok_or_else(|| wrong("a number is not whole"))?;
            *rest = after;
            Ok::<_, Error>(value)
        };
        let pgno = next(&mut rest)?;
        if pgno == 0 {
            break;
        }
        let pgno = u32::try_from(pgno).map_err(|_| wrong("there is no such page"))?;
        sequence
            .take(pgno)
            .map_err(|_| wrong("this page cannot come after the one before"))?;
        let (offset, size) = (next(&mut rest)?, next(&mut rest)?);
        if offset != expected {
            return Err(wrong("a page does not begin where the one before ends"));
        }
        if size <= FRAME_HEAD as u64 || size > longest {
            return Err(wrong("no page is so long"));
        }
        expected = offset + size;
        let size = u32::try_from(size).unwrap_or(u32::MAX);
        entries.push(IndexEntry { pgno, offset, size });
    }
    let offset = start + (varints.len() - rest.len()) as u64;
    if !rest.is_empty() {
        let why = "it goes on after its end";
        return Err(Error::Index { offset, why });
    }
    if expected != pages_end {
        let why = "it does not lead up to the end of the pages";
        return Err(Error::Index { offset, why });
    }
    sequence.end()?;
    Ok(entries)
}

/// Three varints: page number, offset, size.
const SHORTEST_ENTRY: usize = 3;
/// Of at most 32, 64 and 17 bits.
const LONGEST_ENTRY: u64 = 5 + 10 + 3;

/// The most bytes an index can have if the pages take `pages` bytes.
const fn longest_index(pages: u64) -> u64 {
    let shortest_frame = FRAME_HEAD as u64 + 1;
    (pages / shortest_frame)
        .saturating_mul(LONGEST_ENTRY)
        .saturating_add(1)
}

/// Appends the entry of a page.
pub(crate) fn put_entry(pgno: u32, offset: u64, size: u64, into: &mut Vec<u8>) {
    put_varint(u64::from(pgno), into);
    put_varint(offset, into);
    put_varint(size, into);
}
