//! The index of a write-ahead log: the `-shm` file, as it is in memory.
//!
//! It is in the byte order of the machine. What is here is read from a copy;
//! who copies it out of shared memory reads the header's two copies in the
//! order that [`Header::parse`] tells.

/// Bytes of a region of the index: SQLite maps it piece by piece.
pub const REGION_SIZE: usize = 32_768;
/// Bytes before the page numbers in the first region.
const FIRST_START: usize = 136;
/// Page numbers in the first region.
const FIRST_FRAMES: u32 = 4062;
/// Page numbers in every other region.
const FRAMES: u32 = 4096;

/// The header of an index, found valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Header {
    /// Rises with every transaction; wraps.
    pub change: u32,
    /// Frames of the log that are committed.
    pub frames: u32,
    /// Pages of the database after the last commit.
    pub pages: u32,
    /// The checksum of the last frame.
    pub frame_sum: [u32; 2],
    /// The salts of the log, as its header has them but for the byte order:
    /// equal salts are of one generation of the log.
    pub salts: [u32; 2],
}

impl Header {
    /// Bytes of one copy of the header. The second copy follows the first; a
    /// writer writes the second one first, so a reader reads the first one
    /// first.
    pub const SIZE: usize = 48;

    /// Checks one copy against the other; `None` if they differ, are damaged,
    /// or are of no version that is known: a writer may be at work, and a
    /// second look may be luckier.
    #[must_use]
    pub fn parse(first: &[u32; 12], second: &[u32; 12]) -> Option<Self> {
        const VERSION: u32 = 3_007_000;
        let sum = crate::wal::checksum_native(&first[..10]);
        let is_initialized = first[3].to_ne_bytes()[0] == 1;
        let sound = first == second
            && first[0] == VERSION
            && is_initialized
            && sum == (first[10], first[11]);
        sound.then_some(Self {
            change: first[2],
            frames: first[4],
            pages: first[5],
            frame_sum: [first[6], first[7]],
            salts: [first[8], first[9]],
        })
    }
}

/// Where the numbers of the pages of the log's frames are: for each region that
/// holds some of the first `frames` frames, its number, the byte at which the
/// numbers begin (each of four bytes), and how many there are.
///
/// ```
/// use monolite_sqlite_format::wal_index::page_numbers;
///
/// let all: Vec<_> = page_numbers(5000).collect();
/// assert_eq!(all, [(0, 136, 4062), (1, 0, 938)]);
/// ```
pub fn page_numbers(frames: u32) -> impl Iterator<Item = (u32, usize, usize)> {
    let mut left = frames;
    (0_u32..).map_while(move |region| {
        let (start, most) = match region {
            0 => (FIRST_START, FIRST_FRAMES),
            _ => (0, FRAMES),
        };
        let here = left.min(most);
        left -= here;
        (here > 0).then_some((region, start, here as usize))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The file of a live database is what the memory is.
    #[test]
    fn of_a_real_log() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.db");
        let conn = rusqlite::Connection::open(&path).unwrap();
        conn.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; CREATE TABLE a (b)",
        )
        .unwrap();
        let header = || {
            // Read by another name of the file: a descriptor on the file itself
            // would drop SQLite's locks when it is closed.
            let copy = dir.path().join("copy");
            assert!(
                std::process::Command::new("cp")
                    .arg(crate::shm_path(&path))
                    .arg(&copy)
                    .status()
                    .unwrap()
                    .success()
            );
            let bytes = std::fs::read(copy).unwrap();
            let words = |from: usize| -> [u32; 12] {
                std::array::from_fn(|at| {
                    let at = from + 4 * at;
                    u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap())
                })
            };
            let header = Header::parse(&words(0), &words(Header::SIZE)).unwrap();
            let mut numbers = Vec::new();
            for (region, start, count) in page_numbers(header.frames) {
                let from = region as usize * REGION_SIZE + start;
                numbers.extend(
                    bytes[from..from + 4 * count]
                        .as_chunks::<4>()
                        .0
                        .iter()
                        .map(|four| u32::from_ne_bytes(*four)),
                );
            }
            (header, numbers)
        };
        let (one, numbers) = header();
        assert_eq!((one.frames, one.pages), (2, 2));
        assert_eq!(numbers, [1, 2]);
        for _ in 0..5000 {
            conn.execute("INSERT INTO a VALUES (1)", []).unwrap();
        }
        let (other, numbers) = header();
        assert_eq!(other.salts, one.salts);
        let log = std::fs::read(crate::wal_path(&path)).unwrap();
        let frames = log[32..].chunks_exact(4096 + 24);
        let of_log: Vec<u32> = frames
            .map(|frame| u32::from_be_bytes(frame[..4].try_into().unwrap()))
            .collect();
        assert_eq!(other.frames as usize, of_log.len());
        assert_eq!(numbers, of_log);
    }

    #[test]
    fn a_copy_that_is_being_written_is_none() {
        assert_eq!(Header::parse(&[0; 12], &[0; 12]), None);
    }
}
