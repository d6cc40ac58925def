//! Writing, with the offset known for errors.

use std::io::Write;

use crate::{Error, Result};

/// A writer that knows how far it is.
pub(crate) struct Sink<W: Write> {
    writer: W,
    offset: u64,
}

impl<W: Write> Sink<W> {
    pub(crate) const fn new(writer: W) -> Self {
        Self { writer, offset: 0 }
    }

    /// How many bytes were written.
    pub(crate) const fn offset(&self) -> u64 {
        self.offset
    }

    pub(crate) fn write(&mut self, bytes: &[u8], part: &'static str) -> Result<()> {
        let done = self.writer.write_all(bytes);
        self.named(done, part)?;
        self.offset += bytes.len() as u64;
        Ok(())
    }

    /// Flushes, and gives the writer back.
    pub(crate) fn end(mut self) -> Result<W> {
        let done = self.writer.flush();
        self.named(done, "the end")?;
        Ok(self.writer)
    }

    fn named(&self, done: std::io::Result<()>, part: &'static str) -> Result<()> {
        let offset = self.offset;
        done.map_err(|source| Error::Write {
            part,
            offset,
            source,
        })
    }
}
