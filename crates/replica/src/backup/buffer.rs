//! Memory that may be written past the page cache.

/// What O_DIRECT asks of memory, offset and length: the largest block of the
/// disks in use.
pub(super) const ALIGNMENT: usize = 4096;

/// A fixed number of bytes that begin at a multiple of [`ALIGNMENT`], and how
/// many of them are in use.
#[derive(Debug)]
pub(super) struct Buffer {
    memory: Vec<u8>,
    start: usize,
    len: usize,
}

impl Buffer {
    /// Large enough for the disk to be busy, and a multiple of every page size.
    pub(super) const CAPACITY: usize = 1 << 20;

    pub(super) fn new() -> Self {
        let memory = vec![0; Self::CAPACITY + ALIGNMENT];
        let past = memory.as_ptr().addr() % ALIGNMENT;
        Self {
            start: (ALIGNMENT - past) % ALIGNMENT,
            memory,
            len: 0,
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.len]
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn is_full(&self) -> bool {
        self.len == Self::CAPACITY
    }

    pub(super) fn clear(&mut self) {
        self.len = 0;
    }

    /// Takes as many bytes as fit, and returns how many that were.
    pub(super) fn fill(&mut self, bytes: &[u8]) -> usize {
        let taken = bytes.len().min(Self::CAPACITY - self.len);
        let at = self.start + self.len;
        self.memory[at..at + taken].copy_from_slice(&bytes[..taken]);
        self.len += taken;
        taken
    }

    /// Appends zeros up to the next multiple of [`ALIGNMENT`].
    pub(super) fn pad(&mut self) {
        let padded = self.len.next_multiple_of(ALIGNMENT);
        let at = self.start;
        self.memory[at + self.len..at + padded].fill(0);
        self.len = padded;
    }
}
