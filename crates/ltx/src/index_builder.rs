//! The index of a file that is being written.

use std::io::Write;

use crate::checksum::Crc;
use crate::frame::FRAME_HEAD;
use crate::index::put_entry;
use crate::layout::{put_varint, take_varint};
use crate::sink::Sink;
use crate::{Header, Result};

/// The pages, kept as small as can be (about three bytes each, a third of
/// what the index will have): steps between page numbers, and block lengths.
pub(crate) struct IndexBuilder {
    pages: Vec<u8>,
    last: u32,
}

impl IndexBuilder {
    pub(crate) const fn new() -> Self {
        Self {
            pages: Vec::new(),
            last: 0,
        }
    }

    /// Takes the next page in.
    pub(crate) fn take(&mut self, pgno: u32, block: usize) {
        put_varint(u64::from(pgno - self.last), &mut self.pages);
        put_varint(block as u64, &mut self.pages);
        self.last = pgno;
    }

    /// Writes the index and its length.
    pub(crate) fn write<W: Write>(&self, sink: &mut Sink<W>, file: &mut Crc) -> Result<()> {
        let begin = sink.offset();
        let (mut pgno, mut offset) = (0, Header::SIZE as u64);
        let (mut rest, mut chunk) = (self.pages.as_slice(), Vec::with_capacity(CHUNK));
        while let Some((step, after)) = take_varint(rest) {
            let Some((block, after)) = take_varint(after) else {
                break;
            };
            rest = after;
            pgno += u32::try_from(step).unwrap_or(0);
            let size = block + FRAME_HEAD as u64;
            put_entry(pgno, offset, size, &mut chunk);
            offset += size;
            if chunk.len() > CHUNK - LONGEST_ENTRY {
                put(&mut chunk, sink, file)?;
            }
        }
        chunk.push(0);
        put(&mut chunk, sink, file)?;
        chunk.extend_from_slice(&(sink.offset() - begin).to_be_bytes());
        put(&mut chunk, sink, file)
    }
}

const CHUNK: usize = 8 * 1024;
/// Three varints.
const LONGEST_ENTRY: usize = 30;

fn put<W: Write>(chunk: &mut Vec<u8>, sink: &mut Sink<W>, file: &mut Crc) -> Result<()> {
    file.update(chunk);
    sink.write(chunk, "the page index")?;
    chunk.clear();
    Ok(())
}
