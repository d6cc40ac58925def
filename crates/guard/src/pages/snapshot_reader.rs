//! The pages of a snapshot, one after the other, read ahead.

use std::fs::File;
use std::io::{Read, Result};
use std::sync::mpsc::{Receiver, sync_channel};

/// Bytes read from the snapshot at once.
const CHUNK_BYTES: usize = 1 << 20;
/// Chunks that are read ahead of the comparison.
const CHUNKS_AHEAD: usize = 4;

type Chunk = Result<Vec<u8>>;

/// Reads a file in a thread of its own, whole pages at a time.
fn read_ahead(mut file: File, page_size: usize) -> Result<Receiver<Chunk>> {
    let (sender, chunks) = sync_channel(CHUNKS_AHEAD);
    let size = CHUNK_BYTES.max(page_size) / page_size * page_size;
    std::thread::Builder::new()
        .name("guard-snapshot".into())
        .spawn(move || {
            loop {
                let mut chunk = Vec::with_capacity(size);
                let read = (&mut file).take(size as u64).read_to_end(&mut chunk);
                let is_last = !matches!(read, Ok(read) if read == size);
                // The reader was dropped: that is the end, too.
                if sender.send(read.map(|_| chunk)).is_err() || is_last {
                    return;
                }
            }
        })?;
    Ok(chunks)
}

/// The pages of a snapshot, one after the other.
pub(super) struct SnapshotReader {
    chunks: Receiver<Chunk>,
    chunk: Vec<u8>,
    at: usize,
    page_size: usize,
}

impl SnapshotReader {
    pub(super) fn new(file: File, page_size: usize) -> Result<Self> {
        Ok(Self {
            chunks: read_ahead(file, page_size)?,
            chunk: Vec::new(),
            at: 0,
            page_size,
        })
    }

    /// The next page; `None` after the last.
    pub(super) fn next(&mut self) -> Result<Option<&[u8]>> {
        if self.at >= self.chunk.len() {
            self.chunk = match self.chunks.recv() {
                Ok(chunk) => chunk?,
                Err(_) => return Ok(None),
            };
            self.at = 0;
        }
        let from = self.at;
        self.at += self.page_size;
        Ok(self.chunk.get(from..self.at))
    }
}
