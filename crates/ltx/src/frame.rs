//! One page in a file: its number, flags, the length of its block, its block.

use std::io::Read;

use lz4_flex::block::decompress_into;

use crate::layout::{u16_at, u32_at};
use crate::source::Source;
use crate::{Error, PageFault, Result, old_frame};

/// Bytes before the block: `pgno u32, flags u16, length u32`.
pub(crate) const FRAME_HEAD: usize = 10;
/// Of those, the ones that the zero frame after the last page has, too.
pub(crate) const PAGE_HEAD: usize = 6;
/// What the frames are called where they are read.
const PLACE: &str = "the pages";
/// The length of the block is given, and the block is a raw one.
const SIZED: u16 = 1;

/// The most bytes that a page of this size takes as an LZ4 block: as literals.
pub(crate) const fn block_bound(page_size: u32) -> u32 {
    page_size + page_size / 255 + 16
}

/// The most bytes of a frame.
pub(crate) const fn frame_bound(page_size: u32) -> u64 {
    block_bound(page_size) as u64 + PAGE_HEAD as u64 + old_frame::AROUND
}

/// What is before the block of a page.
pub(crate) const fn head(pgno: u32, length: u32) -> [u8; FRAME_HEAD] {
    let ([a, b, c, d], [e, f]) = (pgno.to_be_bytes(), SIZED.to_be_bytes());
    let [g, h, i, j] = length.to_be_bytes();
    [a, b, c, d, e, f, g, h, i, j]
}

/// What was read of a frame besides its page and its block.
pub(crate) struct Frame {
    pub(crate) pgno: u32,
    head: [u8; FRAME_HEAD],
    hashed: usize,
    /// The whole frame.
    pub(crate) size: u64,
}

impl Frame {
    /// What the file's checksum covers before the page.
    pub(crate) fn head(&self) -> &[u8] {
        &self.head[..self.hashed]
    }
}

/// Reads frames, one after the other, into the same memory.
pub(crate) struct Frames {
    page_size: u32,
    block: Vec<u8>,
    length: usize,
}

impl Frames {
    pub(crate) fn new(page_size: u32) -> Self {
        Self {
            page_size,
            block: vec![0; block_bound(page_size) as usize],
            length: 0,
        }
    }

    /// The LZ4 block of the page that was read last.
    pub(crate) fn block(&self) -> &[u8] {
        &self.block[..self.length]
    }

    /// Makes `page` the next page; `None` at the end of the pages.
    pub(crate) fn next<R: Read>(
        &mut self,
        source: &mut Source<R>,
        page: &mut Vec<u8>,
    ) -> Result<Option<Frame>> {
        let offset = source.offset();
        let mut head = [0; FRAME_HEAD];
        source.fill(&mut head[..PAGE_HEAD], PLACE)?;
        if head[..PAGE_HEAD] == [0; PAGE_HEAD] {
            return Ok(None);
        }
        let pgno = u32_at(&head, 0);
        let wrong = |why| Error::Page { pgno, offset, why };
        page.resize(self.page_size as usize, 0);
        let hashed = match u16_at(&head, 4) {
            SIZED => {
                source.fill(&mut head[PAGE_HEAD..], PLACE)?;
                self.length = self.bounded(u32_at(&head, PAGE_HEAD)).map_err(wrong)?;
                source.fill(&mut self.block[..self.length], PLACE)?;
                decompress(self.block(), page).map_err(wrong)?;
                FRAME_HEAD
            }
            0 => {
                self.next_old(source, page, wrong)?;
                PAGE_HEAD
            }
            // Version 2 had no flags: here an LZ4 frame began.
            0x0422 => return Err(wrong(PageFault::OldFormat)),
            flags => return Err(wrong(PageFault::Flags(flags))),
        };
        Ok(Some(Frame {
            pgno,
            head,
            hashed,
            size: source.offset() - offset,
        }))
    }

    /// An LZ4 frame around the block; see there.
    fn next_old<R: Read>(
        &mut self,
        source: &mut Source<R>,
        page: &mut [u8],
        wrong: impl Fn(PageFault) -> Error,
    ) -> Result<()> {
        let mut before = [0; old_frame::BEFORE];
        source.fill(&mut before, PLACE)?;
        let (length, stored) = old_frame::length(&before).map_err(&wrong)?;
        self.length = self.bounded(length).map_err(&wrong)?;
        if stored {
            let (actual, page_size) = (self.length, self.page_size);
            if actual != page.len() {
                return Err(wrong(PageFault::Length { actual, page_size }));
            }
            source.fill(page, PLACE)?;
            // Whoever copies blocks is to get one also here.
            self.block = lz4_flex::block::compress(page);
            self.length = self.block.len();
            self.block.resize(block_bound(page_size) as usize, 0);
        } else {
            source.fill(&mut self.block[..self.length], PLACE)?;
            decompress(self.block(), page).map_err(&wrong)?;
        }
        let mut after = [0; old_frame::AFTER];
        source.fill(&mut after, PLACE)?;
        old_frame::check_end(&after).map_err(wrong)
    }

    /// The length of a block, if a page can have that.
    const fn bounded(&self, size: u32) -> Result<usize, PageFault> {
        let bound = block_bound(self.page_size);
        if size > bound {
            return Err(PageFault::TooLong { size, bound });
        }
        Ok(size as usize)
    }
}

/// Makes `page`, which has the right size, the page that `block` holds.
fn decompress(block: &[u8], page: &mut [u8]) -> Result<(), PageFault> {
    let actual = decompress_into(block, page).map_err(|error| PageFault::Lz4(error.to_string()))?;
    if actual == page.len() {
        return Ok(());
    }
    let page_size = u32::try_from(page.len()).unwrap_or(u32::MAX);
    Err(PageFault::Length { actual, page_size })
}
