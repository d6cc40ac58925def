//! Reading a file, page by page.

use std::fmt;
use std::io::Read;

use crate::checksum::Crc;
use crate::frame::{Frames, PAGE_HEAD};
use crate::index_check::IndexCheck;
use crate::rolling::Rolling;
use crate::sequence::Sequence;
use crate::source::Source;
use crate::{Error, Header, Result, Trailer};

/// Reads a file of any origin and trusts nothing in it.
///
/// What it needs in memory is bounded by the page size, not by what the file
/// says. Until [`finish`](Self::finish) has returned, the pages are not known
/// to be what was written: do not let them count before.
pub struct Decoder<R: Read> {
    source: Source<R>,
    header: Header,
    crc: Crc,
    sequence: Sequence,
    rolling: Rolling,
    index: IndexCheck,
    frames: Frames,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Fresh,
    Pages,
    AfterPages,
    Failed,
}

impl<R: Read> Decoder<R> {
    /// Reads and checks the header. The reader is buffered in here.
    pub fn new(reader: R) -> Result<Self> {
        let mut source = Source::new(reader);
        let mut bytes = [0; Header::SIZE];
        source.fill(&mut bytes, "the header")?;
        let header = Header::parse(&bytes)?;
        let mut crc = Crc::new();
        crc.update(&bytes);
        Ok(Self {
            source,
            header,
            crc,
            sequence: Sequence::new(&header),
            rolling: Rolling::new(&header),
            index: IndexCheck::new(),
            frames: Frames::new(header.page_size),
            state: State::Fresh,
        })
    }

    /// The header.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// Makes `page` the next page and returns its number, which is above the
    /// one before and at most the header's `commit`; `None` after the last.
    pub fn next_page(&mut self, page: &mut Vec<u8>) -> Result<Option<u32>> {
        match self.state {
            State::AfterPages => return Ok(None),
            State::Failed => return Err(GIVEN_UP),
            State::Fresh | State::Pages => {}
        }
        self.state = State::Failed;
        let pgno = self.read_page(page)?;
        self.state = match pgno {
            Some(_) => State::Pages,
            None => State::AfterPages,
        };
        Ok(pgno)
    }

    /// The LZ4 block of the page that was read last, as the file has it, for
    /// [`Encoder::page_compressed`](crate::Encoder::page_compressed).
    #[must_use]
    pub fn block(&self) -> &[u8] {
        self.frames.block()
    }

    /// Reads what is left, and checks it all: the index, the file's checksum,
    /// in a snapshot the database's, and that nothing comes after.
    pub fn finish(mut self) -> Result<(R, Trailer)> {
        let mut page = Vec::new();
        while self.next_page(&mut page)?.is_some() {}
        self.index.read(&mut self.source, &mut self.crc)?;

        let mut bytes = [0; Trailer::SIZE];
        self.source.fill(&mut bytes, "the trailer")?;
        let trailer = Trailer::parse(&bytes, &self.header)?;
        self.crc.update(&bytes[..8]);
        let (stored, computed) = (trailer.file, self.crc.checksum());
        if stored != computed {
            return Err(Error::FileChecksum { stored, computed });
        }
        self.rolling.end(&self.header, trailer.post)?;
        Ok((self.source.end()?, trailer))
    }

    /// Whether no page was read yet.
    pub(crate) fn is_fresh(&self) -> bool {
        self.state == State::Fresh
    }

    fn read_page(&mut self, page: &mut Vec<u8>) -> Result<Option<u32>> {
        let offset = self.source.offset();
        let Some(frame) = self.frames.next(&mut self.source, page)? else {
            self.crc.update(&[0; PAGE_HEAD]);
            self.sequence.end()?;
            return Ok(None);
        };
        let pgno = frame.pgno;
        (self.sequence.take(pgno)).map_err(|why| Error::Page { pgno, offset, why })?;
        self.crc.update(frame.head());
        self.crc.update(page);
        self.rolling.take(pgno, page);
        self.index.take(pgno, offset, frame.size);
        Ok(Some(pgno))
    }
}

impl<R: Read> fmt::Debug for Decoder<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder")
            .field("header", &self.header)
            .field("offset", &self.source.offset())
            .finish_non_exhaustive()
    }
}

const GIVEN_UP: Error = Error::Refused {
    what: "read on in an LTX file",
    why: "an error came before",
};
