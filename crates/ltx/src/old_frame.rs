//! The LZ4 frame around a page in files of the Go implementation before v0.5.2.
//!
//! Only what that wrote is read: one block in a frame of always the same head.

use crate::PageFault;
use crate::layout::array;

/// Magic number, flags (independent blocks, a checksum of the content), blocks
/// of at most 64 KiB, checksum of these.
const HEAD: [u8; 7] = [0x04, 0x22, 0x4d, 0x18, 0x64, 0x40, 0xa7];
/// Set in the length of a block that is not compressed.
const STORED: u32 = 1 << 31;

/// Bytes before the block: the head and the block's length.
pub(crate) const BEFORE: usize = HEAD.len() + 4;
/// Bytes after it: a length of 0 for the end, and the checksum of the content.
/// The latter is left to the file's checksum, which covers the same.
pub(crate) const AFTER: usize = 8;
/// All of them.
pub(crate) const AROUND: u64 = (BEFORE + AFTER) as u64;

/// The block's length, and whether it is the page as such.
pub(crate) fn length(before: &[u8; BEFORE]) -> Result<(u32, bool), PageFault> {
    if !before.starts_with(&HEAD) {
        return Err(PageFault::OldFormat);
    }
    let length = u32::from_le_bytes(array(before, HEAD.len()));
    Ok((length & !STORED, length & STORED != 0))
}

/// Whether the frame ends here.
pub(crate) fn check_end(after: &[u8; AFTER]) -> Result<(), PageFault> {
    if after[..4] == [0; 4] {
        Ok(())
    } else {
        Err(PageFault::OldFormat)
    }
}
