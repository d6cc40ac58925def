//! Writing a file, page by page.

use std::fmt;
use std::io::Write;

use lz4_flex::block::{CompressTable, compress_into_with_table, get_maximum_output_size};

use crate::checksum::Crc;
use crate::frame::{self, FRAME_HEAD, PAGE_HEAD};
use crate::index_builder::IndexBuilder;
use crate::rolling::Rolling;
use crate::sequence::Sequence;
use crate::sink::Sink;
use crate::trailer::check_post;
use crate::{Checksum, DatabaseChecksums, Error, Header, PageFault, Result, Trailer};

/// Writes a file that [`Decoder`](crate::Decoder) and the Go implementation
/// read; it refuses to write another.
///
/// Each page is one write of at most a page and a little: wrap a writer in
/// [`BufWriter`](std::io::BufWriter) if pages are small. In memory are a page,
/// and about three bytes for every page written.
pub struct Encoder<W: Write> {
    sink: Sink<W>,
    header: Header,
    crc: Crc,
    sequence: Sequence,
    rolling: Rolling,
    index: IndexBuilder,
    table: CompressTable,
    frame: Vec<u8>,
    failed: bool,
}

impl<W: Write> Encoder<W> {
    /// Checks the header and writes it.
    pub fn new(writer: W, header: Header) -> Result<Self> {
        header.check()?;
        let standard = matches!(header.checksums, DatabaseChecksums::Standard { .. });
        if header.commit == 0 && !standard {
            return Err(Error::Refused {
                what: "write an LTX file of a database without pages",
                why: "the Go implementation could merge it with no other unless the checksums are the standard ones",
            });
        }
        let mut encoder = Self {
            sink: Sink::new(writer),
            header,
            crc: Crc::new(),
            sequence: Sequence::new(&header),
            rolling: Rolling::new(&header),
            index: IndexBuilder::new(),
            table: CompressTable::small(),
            frame: vec![0; FRAME_HEAD + get_maximum_output_size(header.page_size as usize)],
            failed: false,
        };
        encoder.put(&header.to_bytes(), "the header")?;
        Ok(encoder)
    }

    /// The header.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// Compresses a page and writes it. Page numbers must rise; a snapshot must
    /// get every page. A page that is refused changes nothing.
    pub fn page(&mut self, pgno: u32, page: &[u8]) -> Result<()> {
        self.check(pgno, page)?;
        let block = &mut self.frame[FRAME_HEAD..];
        let length = compress_into_with_table(page, block, &mut self.table)
            .map_err(|error| self.wrong(pgno, PageFault::Lz4(error.to_string())))?;
        self.put_page(pgno, page, length)
    }

    /// Writes a page whose LZ4 block is there already. That the block is that
    /// of the page is the caller's word: if it is not, the file will not pass
    /// its own checksum.
    pub fn page_compressed(&mut self, pgno: u32, page: &[u8], block: &[u8]) -> Result<()> {
        self.check(pgno, page)?;
        let bound = frame::block_bound(self.header.page_size);
        let size = u32::try_from(block.len()).unwrap_or(u32::MAX);
        if size > bound {
            return Err(self.wrong(pgno, PageFault::TooLong { size, bound }));
        }
        if size == 0 {
            return Err(self.wrong(pgno, PageFault::Lz4("it is empty".to_owned())));
        }
        self.frame[FRAME_HEAD..][..block.len()].copy_from_slice(block);
        self.put_page(pgno, page, block.len())
    }

    /// Writes the index and the trailer and flushes. `post` is the checksum of
    /// the database after the last transaction, needed with
    /// [`DatabaseChecksums::Standard`] and only there. Returns the writer, the
    /// trailer, and how many bytes were written.
    pub fn finish(mut self, post: Option<Checksum>) -> Result<(W, Trailer, u64)> {
        self.check_usable()?;
        self.sequence.end()?;
        check_post(&self.header, post)?;
        self.rolling.end(&self.header, post)?;

        self.put(&[0; PAGE_HEAD], "the end of the pages")?;
        self.index.write(&mut self.sink, &mut self.crc)?;
        self.put(&Trailer::post_bytes(post), "the trailer")?;
        let file = self.crc.checksum();
        self.sink.write(&file.get().to_be_bytes(), "the trailer")?;
        let bytes = self.sink.offset();
        Ok((self.sink.end()?, Trailer { post, file }, bytes))
    }

    fn check(&mut self, pgno: u32, page: &[u8]) -> Result<()> {
        self.check_usable()?;
        let (actual, page_size) = (page.len(), self.header.page_size);
        if actual != page_size as usize {
            return Err(self.wrong(pgno, PageFault::Length { actual, page_size }));
        }
        self.sequence
            .check(pgno)
            .map_err(|why| self.wrong(pgno, why))
    }

    fn put_page(&mut self, pgno: u32, page: &[u8], length: usize) -> Result<()> {
        let size = u32::try_from(length).unwrap_or(u32::MAX);
        let head = frame::head(pgno, size);
        self.frame[..FRAME_HEAD].copy_from_slice(&head);
        self.failed = true;
        self.sink
            .write(&self.frame[..FRAME_HEAD + length], "a page")?;
        self.failed = false;
        self.sequence.accept(pgno);
        self.crc.update(&head);
        self.crc.update(page);
        self.rolling.take(pgno, page);
        self.index.take(pgno, length);
        Ok(())
    }

    fn put(&mut self, bytes: &[u8], part: &'static str) -> Result<()> {
        self.crc.update(bytes);
        self.sink.write(bytes, part)
    }

    fn check_usable(&self) -> Result<()> {
        if self.failed {
            return Err(Error::Refused {
                what: "write on in an LTX file",
                why: "an error came before",
            });
        }
        Ok(())
    }

    fn wrong(&self, pgno: u32, why: PageFault) -> Error {
        let offset = self.sink.offset();
        Error::Page { pgno, offset, why }
    }
}

impl<W: Write> fmt::Debug for Encoder<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder")
            .field("header", &self.header)
            .field("offset", &self.sink.offset())
            .finish_non_exhaustive()
    }
}
