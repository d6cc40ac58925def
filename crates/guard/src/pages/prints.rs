//! What the pages of a snapshot were as they were written.

use crc_fast::{CrcAlgorithm, checksum};

/// Pages of which it is remembered: 256 MiB of memory. A larger database's
/// snapshot is read again.
const PAGES: usize = 1 << 25;

/// A number for each page of a snapshot (CRC-64/NVME of its bytes): a page with
/// another number is another page, and of two that differ, one in 2^64 has the
/// same. So that a snapshot just written need not be read to be compared with.
#[derive(Debug, Default)]
pub struct Prints {
    page_size: usize,
    numbers: Vec<u64>,
    is_too_large: bool,
}

impl Prints {
    /// The next pages, one after another, each of `page_size` bytes.
    pub fn add(&mut self, page_size: usize, pages: &[u8]) {
        self.page_size = page_size;
        if page_size == 0 || self.numbers.len() + pages.len() / page_size > PAGES {
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
        let mut prints = Prints::default();
        assert!(!prints.are_of(512, 0));
        prints.add(512, &[1; 1024]);
        prints.add(512, &[2; 512]);
        assert!(prints.are_of(512, 1536));
        assert!(!prints.are_of(512, 1024) && !prints.are_of(1024, 1536));
        assert_eq!(prints.is(2, &[1; 512]), Some(true));
        assert_eq!(prints.is(3, &[1; 512]), Some(false));
        assert_eq!(
            (prints.is(4, &[1; 512]), prints.is(0, &[1; 512])),
            (None, None)
        );
    }

    #[test]
    fn too_many_are_none() {
        let mut prints = Prints {
            page_size: 1,
            numbers: vec![0; PAGES],
            is_too_large: false,
        };
        assert!(prints.are_of(1, PAGES as u64));
        prints.add(1, &[0]);
        prints.add(1, &[0]);
        assert!(!prints.are_of(1, PAGES as u64 + 2) && !prints.are_of(1, 1));
    }
}
