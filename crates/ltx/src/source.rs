//! Reading, with the offset known for errors.

use std::io::{self, BufReader, Read};

use crate::{Error, Result};

/// So much of what is not a page's block is read ahead; larger reads go by it.
const AHEAD: usize = 16 * 1024;

/// A reader that knows how far it is.
pub(crate) struct Source<R: Read> {
    reader: BufReader<R>,
    offset: u64,
}

impl<R: Read> Source<R> {
    pub(crate) fn new(reader: R) -> Self {
        Self {
            reader: BufReader::with_capacity(AHEAD, reader),
            offset: 0,
        }
    }

    /// A part of a file that begins at `offset`, in memory.
    pub(crate) fn at(offset: u64, part: R) -> Self {
        Self {
            reader: BufReader::with_capacity(0, part),
            offset,
        }
    }

    /// How far into the file it is.
    pub(crate) const fn offset(&self) -> u64 {
        self.offset
    }

    /// Fills `buffer`, or says what the file ends within.
    pub(crate) fn fill(&mut self, buffer: &mut [u8], part: &'static str) -> Result<()> {
        let mut done = 0;
        while done < buffer.len() {
            let read = self.read(&mut buffer[done..], part)?;
            if read == 0 {
                let offset = self.offset;
                return Err(Error::Truncated { part, offset });
            }
            done += read;
        }
        Ok(())
    }

    /// Checks that nothing is left, and gives the reader back.
    pub(crate) fn end(mut self) -> Result<R> {
        let offset = self.offset;
        match self.read(&mut [0], "the end")? {
            0 => Ok(self.reader.into_inner()),
            _ => Err(Error::TrailingBytes { offset }),
        }
    }

    fn read(&mut self, buffer: &mut [u8], part: &'static str) -> Result<usize> {
        loop {
            match self.reader.read(buffer) {
                Ok(read) => {
                    self.offset += read as u64;
                    return Ok(read);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => {
                    let offset = self.offset;
                    return Err(Error::Read {
                        part,
                        offset,
                        source,
                    });
                }
            }
        }
    }
}
