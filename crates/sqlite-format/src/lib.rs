//! SQLite's files as bytes.
//!
//! Pure functions over slices: nothing here opens a file, takes a lock, or
//! needs SQLite. The formats are those of
//! <https://www.sqlite.org/fileformat2.html> and
//! <https://www.sqlite.org/walformat.html>. Bytes that are no valid format give
//! `None`; no input panics.
//!
//! ```
//! use monolite_sqlite_format::{Header, lock_page};
//!
//! let mut page = [0; 100];
//! page[..16].copy_from_slice(b"SQLite format 3\0");
//! page[16..18].copy_from_slice(&4096_u16.to_be_bytes());
//! let header = Header::parse(&page).expect("a database's header");
//! assert_eq!(header.page_size, 4096);
//! assert_eq!(lock_page(header.page_size), 262_145);
//! ```

pub mod btree;
mod header;
mod paths;
pub mod wal;
pub mod wal_index;

pub use header::Header;
pub use paths::{JOURNAL, SHM, SUFFIXES, WAL, journal_path, shm_path, sibling_path, wal_path};

/// The smallest page size in bytes.
pub const PAGE_SIZE_MIN: u32 = 512;
/// The largest page size in bytes.
pub const PAGE_SIZE_MAX: u32 = 65_536;

/// Whether SQLite has pages of this many bytes: a power of two from 512 to
/// 65,536.
#[must_use]
pub const fn is_page_size(bytes: u32) -> bool {
    bytes.is_power_of_two() && bytes >= PAGE_SIZE_MIN && bytes <= PAGE_SIZE_MAX
}

/// The number of the page that SQLite locks bytes of and never writes: the one
/// that byte `0x4000_0000` of a database is in. Numbers begin with 1.
#[must_use]
pub const fn lock_page(page_size: u32) -> u32 {
    // A hostile zero must not divide.
    let page_size = if page_size == 0 {
        PAGE_SIZE_MIN
    } else {
        page_size
    };
    0x4000_0000 / page_size + 1
}

/// The big-endian number in four bytes at `at`.
fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_be_bytes(four.try_into().ok()?))
}

/// The big-endian number in two bytes at `at`.
fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let two = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_be_bytes(two.try_into().ok()?))
}
