//! The checksums of a snapshot's pages, taken as it was written.

use crc_fast::{CrcAlgorithm, checksum};

/// Pages whose checksums are kept at most: 256 MiB of memory. The snapshot of a larger database is
/// read again.
const PAGES_MAX: usize = 1 << 25;

/// A checksum for each page of a snapshot (CRC-64/NVME of its bytes), so that a snapshot just
/// written need not be read to be compared with. Pages with different checksums differ; of pages
/// that differ, one in 2^64 has the same checksum.
#[derive(Debug, Default)]
pub struct Checksums {
    page_size: usize,
    numbers: Vec<u64>,
    is_too_large: bool,
}

impl Checksums {
    /// Adds the next pages, one after another, each of `page_size` bytes.
    pub fn add(&mut self, page_size: usize, pages: &[u8]) {
        self.page_size = page_size;
        if page_size == 0 || self.numbers.len() + pages.len() / page_size > PAGES_MAX {
            self.is_too_large = true;
            self.numbers = Vec::new();
        }
        if !self.is_too_large {
            let numbers = pages.chunks(page_size).map(number);
            self.numbers.extend(numbers);
        }
    }

    /// Whether they are of all pages of a snapshot of so many bytes.
    pub(super) fn are_of(&self, page_size: usize, bytes: u64) -> bool {
        let whole = self.numbers.len() as u64 * page_size as u64;
        self.page_size == page_size && !self.numbers.is_empty() && whole == bytes
    }

    /// Whether `page` is what the snapshot has as its page `number`; `None` if
    /// it has no such page.
    pub(super) fn is(&self, number_of: u32, page: &[u8]) -> Option<bool> {
        let index = usize::try_from(number_of.checked_sub(1)?).ok()?;
        Some(*self.numbers.get(index)? == number(page))
    }
}

fn number(page: &[u8]) -> u64 {
    checksum(CrcAlgorithm::Crc64Nvme, page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_known_again() {
        let mut checksums = Checksums::default();
        assert!(!checksums.are_of(512, 0));
        checksums.add(512, &[1; 1024]);
        checksums.add(512, &[2; 512]);
        assert!(checksums.are_of(512, 1536));
        assert!(!checksums.are_of(512, 1024) && !checksums.are_of(1024, 1536));
        assert_eq!(checksums.is(2, &[1; 512]), Some(true));
        assert_eq!(checksums.is(3, &[1; 512]), Some(false));
        assert_eq!(
            (checksums.is(4, &[1; 512]), checksums.is(0, &[1; 512])),
            (None, None)
        );
    }

    #[test]
    fn too_many_are_none() {
        let mut checksums = Checksums {
            page_size: 1,
            numbers: vec![0; PAGES_MAX],
            is_too_large: false,
        };
        assert!(checksums.are_of(1, PAGES_MAX as u64));
        checksums.add(1, &[0]);
        checksums.add(1, &[0]);
        assert!(!checksums.are_of(1, PAGES_MAX as u64 + 2) && !checksums.are_of(1, 1));
    }
}
