//! The bytes of a copy, in order, read ahead by a thread.

use std::io::{self, BufRead, Read};
use std::ops::ControlFlow;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use super::buffer::Buffer;
use super::error::{Error, Result};
use super::source::Source;

/// Buffers between the thread that reads and the one that writes, those in
/// their hands included.
const BUFFERS: usize = 4;

/// Reads a copy from its first byte to its last.
///
/// The read transaction ends once the last page is read, or when this is
/// dropped. Take either the pages or the bytes; those of `Read` come from the
/// same position. An [`Error`] is inside the [`io::Error`] of `Read`.
#[derive(Debug)]
pub struct CopyReader {
    page_size: u32,
    bytes: u64,
    /// Bytes of the buffers before the current one.
    before: u64,
    current: Option<Buffer>,
    /// Of the current one, what `Read` has taken.
    taken: usize,
    /// None once it failed: there is no more to come.
    full: Option<Receiver<Result<Buffer>>>,
    empty: Option<SyncSender<Buffer>>,
    thread: Option<JoinHandle<()>>,
}

/// Some pages in a row.
#[derive(Debug, Clone, Copy)]
pub struct Pages<'a> {
    /// The number of the first, counted from 1.
    pub first: u32,
    /// One after another, each of the database's page size.
    pub bytes: &'a [u8],
}

impl CopyReader {
    pub(super) fn start(source: Source) -> Result<Self> {
        let (to_writer, full) = sync_channel(BUFFERS);
        let (empty, from_writer) = sync_channel(BUFFERS);
        let (page_size, bytes) = (source.page_size(), source.bytes());
        let path = source.path().to_owned();
        let thread = std::thread::Builder::new()
            .name("backup".into())
            .spawn(move || read(source, &from_writer, &to_writer))
            .map_err(|error| Error::file("start a thread to read", &path, error))?;
        for _ in 0..BUFFERS {
            // There is space in the buffer, and a thread that is gone has reported why.
            let _ = empty.send(Buffer::new());
        }
        Ok(Self {
            page_size,
            bytes,
            before: 0,
            current: None,
            taken: 0,
            full: Some(full),
            empty: Some(empty),
            thread: Some(thread),
        })
    }

    /// Bytes of a page.
    pub fn page_size(&self) -> u32 {
        self.page_size
    }

    /// Bytes of the whole copy.
    pub fn total_bytes(&self) -> u64 {
        self.bytes
    }

    /// The next pages, up to 1 MiB, or none after the last.
    ///
    /// # Errors
    /// The database cannot be read. Then what came before is no copy.
    pub fn next_pages(&mut self) -> Result<Option<Pages<'_>>> {
        self.advance()?;
        let first = self.before / u64::from(self.page_size) + 1;
        Ok(self.current.as_ref().map(|buffer| Pages {
            // A database has less than 2^32 pages.
            first: u32::try_from(first).unwrap_or(u32::MAX),
            bytes: buffer.bytes(),
        }))
    }

    /// Moves on to the next buffer, if there is one.
    fn advance(&mut self) -> Result<()> {
        if let Some(mut buffer) = self.current.take() {
            self.before += buffer.bytes().len() as u64;
            self.taken = 0;
            buffer.clear();
            if let Some(empty) = &self.empty {
                // The thread may have read all and gone.
                let _ = empty.send(buffer);
            }
        }
        if self.before == self.bytes {
            return Ok(());
        }
        let next = self.full.as_ref().and_then(|full| full.recv().ok());
        match next {
            Some(Ok(buffer)) => self.current = Some(buffer),
            Some(Err(error)) => {
                self.full = None;
                return Err(error);
            }
            None => return Err(Error::Incomplete),
        }
        Ok(())
    }
}

impl BufRead for CopyReader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let all = |buffer: &Buffer| buffer.bytes().len();
        if self.current.as_ref().is_none_or(|b| self.taken >= all(b)) {
            self.advance().map_err(io::Error::other)?;
        }
        Ok(match &self.current {
            Some(buffer) => &buffer.bytes()[self.taken..],
            None => &[],
        })
    }

    fn consume(&mut self, amount: usize) {
        self.taken += amount;
    }
}

impl Read for CopyReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(into)?;
        self.consume(read);
        Ok(read)
    }
}

impl Drop for CopyReader {
    fn drop(&mut self) {
        // Whatever the thread waits for now fails, and it ends.
        self.full = None;
        self.empty = None;
        if let Some(thread) = self.thread.take() {
            // Joined, so that no lock is held any longer afterwards.
            let _ = thread.join();
        }
    }
}

/// The thread's work.
fn read(source: Source, empty: &Receiver<Buffer>, full: &SyncSender<Result<Buffer>>) {
    let mut current: Option<Buffer> = None;
    let all = source.each_page(|page| {
        if let Some(buffer) = current.take_if(|buffer| buffer.is_full())
            && full.send(Ok(buffer)).is_err()
        {
            return ControlFlow::Break(());
        }
        let Some(mut buffer) = current.take().or_else(|| empty.recv().ok()) else {
            return ControlFlow::Break(());
        };
        buffer.fill(page);
        current = Some(buffer);
        ControlFlow::Continue(())
    });
    let last = match all {
        // Nobody wants the rest.
        Ok(ControlFlow::Break(())) => return,
        Ok(ControlFlow::Continue(())) => source.still_holds(),
        Err(error) => Err(error),
    };
    // The read transaction ends before the last pages are written.
    drop(source);
    match (last, current) {
        // That fails only if nobody wants it any more.
        (Err(error), _) => drop(full.send(Err(error))),
        (Ok(()), Some(buffer)) => drop(full.send(Ok(buffer))),
        (Ok(()), None) => {}
    }
}
