//! SQLite's write-ahead log, as another process wrote it: any bytes, and logs that
//! are right but for one byte.

#![no_main]

use libfuzzer_sys::fuzz_target;
use monolite_sqlite_format::wal::{FRAME_HEADER_SIZE, HEADER_SIZE, Header, frame, frame_sum};

const HEADER: usize = HEADER_SIZE as usize;
const PAGE: usize = 512;
const FRAME: usize = FRAME_HEADER_SIZE + PAGE;
/// Bytes of the input that describe one frame.
const DESCRIPTION: usize = 9;

fuzz_target!(|bytes: &[u8]| {
    let found = sound_frames(bytes);
    assert!(found <= bytes.len() / FRAME);

    let Some((mut log, frames)) = log_of(bytes) else {
        return;
    };
    assert_eq!(sound_frames(&log), frames, "all that a writer wrote");
    if frames == 0 {
        return;
    }
    // One byte of one frame is another one: what is before it is sound, and
    // nothing after.
    let at = HEADER + usize::from(bytes[0]) * 257 % (frames * FRAME);
    log[at] ^= 1 | bytes[1];
    assert_eq!(sound_frames(&log), (at - HEADER) / FRAME);
    // Cut anywhere, it ends with the last whole frame.
    let cut = HEADER + usize::from(bytes[1]) * 263 % (frames * FRAME);
    log[at] ^= 1 | bytes[1];
    assert_eq!(sound_frames(&log[..cut]), (cut - HEADER) / FRAME);
});

/// How many frames continue the log from its header.
fn sound_frames(log: &[u8]) -> usize {
    let Some((head, frames)) = log.split_first_chunk::<HEADER>() else {
        return 0;
    };
    let Some(header) = Header::parse(head) else {
        return 0;
    };
    let mut sum = header.sum;
    let mut found = 0;
    for bytes in frames.chunks_exact(header.frame_size()) {
        let Some((head, next)) = frame(&header, sum, bytes) else {
            break;
        };
        assert_ne!(head.pgno, 0);
        (sum, found) = (next, found + 1);
    }
    found
}

/// The log of a writer that wrote what the bytes describe, and its frames.
fn log_of(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (head, rest) = bytes.split_first_chunk::<13>()?;
    let big_endian = head[0] & 1 == 1;
    let mut log = Vec::new();
    log.extend((0x377f_0682_u32 | u32::from(big_endian)).to_be_bytes());
    log.extend(3_007_000_u32.to_be_bytes());
    log.extend((PAGE as u32).to_be_bytes());
    // The number of resets, and both salts.
    log.extend(&head[1..13]);
    let word = |at: usize| u32::from_be_bytes([log[at], log[at + 1], log[at + 2], log[at + 3]]);
    let mut header = Header {
        big_endian,
        page_size: PAGE as u32,
        resets: word(12),
        salts: (word(16), word(20)),
        sum: (0, 0),
    };
    // A frame's checksum leaves out the 16 bytes of its header that hold salts
    // and checksum; so this is the one of the 24 bytes above.
    let as_frame = [&log[..8], [0; 16].as_slice(), &log[8..24]].concat();
    header.sum = frame_sum(&header, (0, 0), &as_frame)?;
    log.extend(header.sum.0.to_be_bytes());
    log.extend(header.sum.1.to_be_bytes());
    let (mut sum, mut frames) = (header.sum, 0);
    for described in rest.chunks_exact(DESCRIPTION) {
        let mut bytes = vec![described[8]; FRAME];
        bytes[..8].copy_from_slice(&described[..8]);
        bytes[3] |= 1; // No page has the number 0.
        bytes[8..16].copy_from_slice(&log[16..24]);
        sum = frame_sum(&header, sum, &bytes)?;
        bytes[16..20].copy_from_slice(&sum.0.to_be_bytes());
        bytes[20..24].copy_from_slice(&sum.1.to_be_bytes());
        log.extend(bytes);
        frames += 1;
    }
    Some((log, frames))
}
