//! The write-ahead log: its header, its frames and their checksums
//! (<https://www.sqlite.org/fileformat2.html#walformat>).

use crate::is_page_size;

/// Bytes of the log's header.
pub const HEADER_SIZE: u64 = 32;
/// Bytes of a frame's header; its page follows.
pub const FRAME_HEADER_SIZE: usize = 24;

/// With its lowest bit set, checksums read words as big-endian.
const MAGIC: u32 = 0x377f_0682;
const VERSION: u32 = 3_007_000;

/// The cumulative checksum of a log: two words that run from the header
/// through all frames.
pub type Sum = (u32, u32);

/// What tells one generation of a log from the next: `.0` rises by one at each
/// reset, `.1` is random.
pub type Salts = (u32, u32);

/// The header of a log, found valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Whether checksums read words as big-endian.
    pub big_endian: bool,
    /// Bytes of a page.
    pub page_size: u32,
    /// How often the writer of this header had reset the log; 0: not once, and
    /// then both salts are random.
    pub resets: u32,
    /// The salts that all frames of this generation have.
    pub salts: Salts,
    /// The checksum of the header, which the first frame continues.
    pub sum: Sum,
}

impl Header {
    /// `None`: not a log's header, or one that is being written.
    #[must_use]
    pub fn parse(bytes: &[u8; 32]) -> Option<Self> {
        let words = words(bytes);
        let magic = words[0];
        if magic & !1 != MAGIC || words[1] != VERSION {
            return None;
        }
        let big_endian = magic & 1 == 1;
        let page_size = words[2];
        let sum = (words[6], words[7]);
        let sound = is_page_size(page_size) && checksum(big_endian, (0, 0), &bytes[..24]) == sum;
        sound.then_some(Self {
            big_endian,
            page_size,
            resets: words[3],
            salts: (words[4], words[5]),
            sum,
        })
    }

    /// Bytes of a frame: its header and its page.
    #[must_use]
    pub fn frame_size(&self) -> usize {
        FRAME_HEADER_SIZE + self.page_size as usize
    }
}

/// The header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// The number of the page that follows.
    pub pgno: u32,
    /// Pages of the database after the transaction that this frame ends; 0 in a
    /// frame that ends none.
    pub commit: u32,
}

/// The frame in `bytes` and the sum after it, if it continues a log of
/// `header` whose sum so far is `sum`.
#[must_use]
pub fn frame(header: &Header, sum: Sum, bytes: &[u8]) -> Option<(FrameHeader, Sum)> {
    let (head, page) = bytes.split_first_chunk::<FRAME_HEADER_SIZE>()?;
    let words = words(head);
    if (words[2], words[3]) != header.salts || words[0] == 0 {
        return None;
    }
    let sum = checksum(header.big_endian, sum, &head[..8]);
    let sum = checksum(header.big_endian, sum, page);
    (sum == (words[4], words[5])).then_some((
        FrameHeader {
            pgno: words[0],
            commit: words[1],
        },
        sum,
    ))
}

/// The checksum that belongs into a frame which continues a log of `header`
/// whose sum so far is `sum`: what a writer computes. `None`: the frame is
/// shorter than its header.
#[must_use]
pub fn frame_sum(header: &Header, sum: Sum, frame: &[u8]) -> Option<Sum> {
    let (head, page) = frame.split_first_chunk::<FRAME_HEADER_SIZE>()?;
    let sum = checksum(header.big_endian, sum, &head[..8]);
    Some(checksum(header.big_endian, sum, page))
}

fn words(bytes: &[u8]) -> [u32; 8] {
    let mut words = [0; 8];
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<4>().0) {
        *word = u32::from_be_bytes(*bytes);
    }
    words
}

/// The checksum of words in the machine's own order, an even number of them.
pub(crate) fn checksum_native(words: &[u32]) -> Sum {
    words
        .as_chunks::<2>()
        .0
        .iter()
        .fold((0, 0), |(a, b), [x, y]| {
            let a = a.wrapping_add(*x).wrapping_add(b);
            (a, b.wrapping_add(*y).wrapping_add(a))
        })
}

/// Goes on with a checksum over `bytes`, a multiple of eight long.
fn checksum(big_endian: bool, sum: Sum, bytes: &[u8]) -> Sum {
    if big_endian {
        checksum_of(sum, bytes, u32::from_be_bytes)
    } else {
        checksum_of(sum, bytes, u32::from_le_bytes)
    }
}

#[inline(always)]
fn checksum_of((mut a, mut b): Sum, bytes: &[u8], word: impl Fn([u8; 4]) -> u32) -> Sum {
    for [w, x, y, z, i, j, k, l] in bytes.as_chunks::<8>().0 {
        a = a.wrapping_add(word([*w, *x, *y, *z])).wrapping_add(b);
        b = b.wrapping_add(word([*i, *j, *k, *l])).wrapping_add(a);
    }
    (a, b)
}
