//! Which bytes of two files are the same blocks of the disk, so that nobody
//! need read them to know that they are equal.
//!
//! The kernel lists where the bytes of a file are (`FIEMAP`, see the kernel's
//! `Documentation/filesystems/fiemap.rst`). Where two files of one filesystem
//! name the same place for the same offset, a write to either would have been
//! given another place. Only XFS and btrfs are believed, and only extents that
//! are marked as shared and as nothing else: compressed, inline, delayed or
//! unwritten ones may name a place that does not hold those bytes alone.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::fstatfs;
use rustix::ioctl::{Updater, ioctl, opcode};

use super::reflink::{id, with_own_table};

/// Extents of a file beyond which it is better read.
const EXTENTS: usize = 1 << 20;
/// Extents asked for at once.
const AT_ONCE: usize = 256;

const XFS: u64 = 0x5846_5342;
const BTRFS: u64 = 0x9123_683e;

/// What is dirty is written first: only then has it a place.
const SYNC: u32 = 0x1;
const LAST: u32 = 0x1;
const MERGED: u32 = 0x1000;
const SHARED: u32 = 0x2000;

/// The ranges in which the files at `one` and `other` are the same blocks,
/// ascending and apart; none where that cannot be told.
///
/// True for as long as nobody writes to either. `one` may be a database that
/// this process has open: no lock on it is lost.
///
/// # Errors
/// One of them cannot be opened, or this process may not have a table of
/// descriptors of its own.
pub fn same_blocks(one: &Path, other: &Path) -> io::Result<Vec<Range<u64>>> {
    with_own_table("backup-extents", || {
        let (one, other) = (File::open(one)?, File::open(other)?);
        let (ours, theirs) = (one.metadata()?, other.metadata()?);
        if ours.dev() != theirs.dev() || id(&ours) == id(&theirs) {
            return Ok(Vec::new());
        }
        let mut found = Vec::with_capacity(2);
        for file in [&one, &other] {
            let kind = u64::try_from(fstatfs(file)?.f_type).unwrap_or(0);
            match extents(file) {
                Ok(extents) if [XFS, BTRFS].contains(&kind) => found.push(extents),
                _ => return Ok(Vec::new()),
            }
        }
        let end = ours.len().min(theirs.len());
        Ok(same(&found[0], &found[1], end))
    })
}

/// Bytes of a file in one place.
#[derive(Debug, Clone, Copy)]
struct Extent {
    from: u64,
    to: u64,
    place: u64,
}

/// Both are ascending, as the kernel lists them.
fn same(one: &[Extent], other: &[Extent], end: u64) -> Vec<Range<u64>> {
    let mut found: Vec<Range<u64>> = Vec::new();
    let (mut ours, mut theirs) = (one.iter().peekable(), other.iter().peekable());
    while let (Some(a), Some(b)) = (ours.peek(), theirs.peek()) {
        let (from, to) = (a.from.max(b.from), a.to.min(b.to).min(end));
        let is_same = a.place.wrapping_sub(a.from) == b.place.wrapping_sub(b.from);
        if is_same && from < to {
            match found.last_mut() {
                Some(last) if last.end == from => last.end = to,
                _ => found.push(from..to),
            }
        }
        match a.to <= b.to {
            true => drop(ours.next()),
            false => drop(theirs.next()),
        }
    }
    found
}

/// `struct fiemap_extent` of `linux/fiemap.h`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Listed {
    logical: u64,
    physical: u64,
    length: u64,
    reserved: [u64; 2],
    flags: u32,
    more_reserved: [u32; 3],
}

/// `struct fiemap` with room for the answer.
#[repr(C)]
struct Request {
    start: u64,
    length: u64,
    flags: u32,
    mapped: u32,
    count: u32,
    reserved: u32,
    extents: [Listed; AT_ONCE],
}

/// The size that is part of the request's number is that of the fixed part.
const FIEMAP: rustix::ioctl::Opcode = opcode::read_write::<[u8; 32]>(b'f', 11);

/// The extents that are shared and nothing else.
#[allow(unsafe_code, reason = "rustix has no function for it")]
fn extents(file: &File) -> io::Result<Vec<Extent>> {
    let mut found = Vec::new();
    let mut request = Request {
        start: 0,
        length: 0,
        flags: SYNC,
        mapped: 0,
        count: 0,
        reserved: 0,
        extents: [Listed::default(); AT_ONCE],
    };
    loop {
        request.length = u64::MAX - request.start;
        request.count = u32::try_from(AT_ONCE).unwrap_or(0);
        // SAFETY: the request's layout is the kernel's, and it writes no more
        // than `count` extents after the fixed part.
        unsafe { ioctl(file, Updater::<FIEMAP, Request>::new(&mut request)) }?;
        let mapped = usize::try_from(request.mapped).unwrap_or(0).min(AT_ONCE);
        let listed = &request.extents[..mapped];
        for extent in listed {
            let others = extent.flags & !(LAST | MERGED | SHARED);
            if extent.flags & SHARED != 0 && others == 0 {
                found.push(Extent {
                    from: extent.logical,
                    to: extent.logical.saturating_add(extent.length),
                    place: extent.physical,
                });
            }
        }
        if found.len() > EXTENTS {
            return Err(io::Error::other("it is in too many pieces"));
        }
        let Some(last) = listed.last() else {
            return Ok(found);
        };
        let next = last.logical.saturating_add(last.length);
        if last.flags & LAST != 0 || next <= request.start {
            return Ok(found);
        }
        request.start = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(from: u64, to: u64, place: u64) -> Extent {
        Extent { from, to, place }
    }

    fn pairs(one: &[Extent], other: &[Extent], end: u64) -> Vec<(u64, u64)> {
        let ranges = same(one, other, end);
        ranges
            .iter()
            .map(|range| (range.start, range.end))
            .collect()
    }

    #[test]
    fn what_is_in_one_place_in_both() {
        let before = [extent(0, 100, 1000), extent(100, 300, 5000)];
        assert_eq!(pairs(&before, &before, 300), [(0, 300)]);
        assert_eq!(pairs(&before, &before, 250), [(0, 250)]);
        // The middle was written to, and lies elsewhere now.
        let after = [
            extent(0, 40, 1000),
            extent(40, 60, 9000),
            extent(60, 100, 1060),
            extent(100, 200, 5000),
            // The same blocks at another offset are other bytes.
            extent(200, 300, 5000),
        ];
        assert_eq!(pairs(&before, &after, 300), [(0, 40), (60, 200)]);
        assert_eq!(pairs(&after, &before, 300), [(0, 40), (60, 200)]);
        // Holes, and what the kernel did not mark as shared.
        assert_eq!(pairs(&before, &after[3..], 300), [(100, 200)]);
        assert_eq!(pairs(&before, &[], 300), []);
    }
}
