//! What was committed in a log since a position.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use monolite_sqlite_format::wal::{FRAME_HEADER_SIZE, HEADER_SIZE, Header, Salts, Sum, frame};

/// Bytes read at a time, about.
const CHUNK: usize = 1 << 20;

/// The end of what was read from a log: always after a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    header: Header,
    offset: u64,
    sum: Sum,
}

impl Position {
    /// The beginning of a log.
    pub(crate) fn start(header: Header) -> Self {
        Self {
            header,
            offset: HEADER_SIZE,
            sum: header.sum,
        }
    }

    pub(crate) fn salts(&self) -> Salts {
        self.header.salts
    }

    /// Frames from the beginning of the log to here.
    pub(crate) fn frames(&self) -> u64 {
        (self.offset - HEADER_SIZE) / self.header.frame_size() as u64
    }

    /// Bytes of a frame.
    pub(crate) fn frame_size(&self) -> u64 {
        self.header.frame_size() as u64
    }

    #[cfg(test)]
    pub(super) fn sum(&self) -> Sum {
        self.sum
    }

    /// Bytes from the beginning of the log to here.
    #[cfg(test)]
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }
}

/// What a scan found.
#[derive(Debug)]
pub(crate) struct Committed {
    /// After the last commit.
    pub(crate) end: Position,
    /// Where in the log the last committed content of each changed page is.
    pub(crate) pages: HashMap<u32, u64>,
    /// Pages of the database after the last commit; `None` without a commit.
    pub(crate) size: Option<u32>,
    /// The smallest the database was after any of the commits.
    pub(crate) smallest: u32,
}

/// The header of the log at `path`; `None` if there is no valid one, as before
/// the first transaction and after a checkpoint that truncates.
pub(crate) fn header(file: &File) -> io::Result<Option<Header>> {
    let mut bytes = [0; HEADER_SIZE as usize];
    match file.read_exact_at(&mut bytes, 0) {
        Ok(()) => Ok(Header::parse(&bytes)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

/// Opens a log; `None` if it is not there. A plain descriptor is safe here:
/// SQLite takes its locks on the database and the `-shm` file only.
pub(crate) fn open(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads from `from` to the frame with number `last`, the last one that SQLite
/// says is committed.
///
/// The file alone does not say which: a writer puts the frame that ends a
/// transaction there, syncs it, and only then commits by the log's index. One
/// that died in between leaves frames with a sound checksum that were never
/// committed, and that the next writer overwrites. Beyond that, a frame counts
/// when its salts are the header's and its checksum continues the chain.
pub(crate) fn committed(file: &File, from: Position, last: u64) -> io::Result<Committed> {
    let size = from.header.frame_size();
    let mut found = Committed {
        end: from,
        pages: HashMap::new(),
        size: None,
        smallest: u32::MAX,
    };
    let mut open: Vec<(u32, u64)> = Vec::new();
    let (mut at, mut sum) = (from.offset, from.sum);
    // At least a frame; smaller at first, since mostly there is little.
    let mut chunk = vec![0; size.max(16 * size.min(CHUNK / 16))];
    'log: loop {
        let filled = read_up_to(file, &mut chunk, at)?;
        let frames = chunk[..filled].chunks_exact(size);
        if frames.len() == 0 {
            break;
        }
        for bytes in frames {
            if (at - HEADER_SIZE) / size as u64 >= last {
                break 'log;
            }
            let Some((head, next)) = frame(&from.header, sum, bytes) else {
                break 'log;
            };
            open.push((head.pgno, at + FRAME_HEADER_SIZE as u64));
            sum = next;
            at += size as u64;
            if head.commit != 0 {
                found.pages.extend(open.drain(..));
                found.size = Some(head.commit);
                found.smallest = found.smallest.min(head.commit);
                found.end.offset = at;
                found.end.sum = sum;
            }
        }
        if filled < chunk.len() / size * size {
            break;
        }
        let wanted = CHUNK / size * size;
        if chunk.len() < wanted {
            chunk.resize(wanted, 0);
        }
    }
    // What a transaction wrote beyond the end it left is gone.
    if let Some(size) = found.size {
        found.pages.retain(|pgno, _| *pgno <= size);
    }
    Ok(found)
}

/// Whether sound frames follow `from`: a transaction that is not over, that is
/// being synced, or whose writer died.
pub(crate) fn goes_on(file: &File, from: Position) -> io::Result<bool> {
    let mut bytes = vec![0; from.header.frame_size()];
    let filled = read_up_to(file, &mut bytes, from.offset)?;
    Ok(filled == bytes.len() && frame(&from.header, from.sum, &bytes).is_some())
}

/// The content of the page at `offset`, as found by [`committed`].
pub(crate) fn page(file: &File, offset: u64, into: &mut [u8]) -> io::Result<()> {
    file.read_exact_at(into, offset)
}

fn read_up_to(file: &File, into: &mut [u8], at: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < into.len() {
        match file.read_at(&mut into[filled..], at + filled as u64) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
