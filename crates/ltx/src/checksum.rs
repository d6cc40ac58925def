//! Checksums of a page, a database, a file.

use std::fmt;
use std::str::FromStr;

use crc_fast::{CrcAlgorithm, Digest};

use crate::txid::parse_hex;
use crate::{Error, Result};

/// A CRC-64/GO-ISO with bit 63 set, so that none is ever zero.
///
/// Of a **page** it is over the page number (four bytes, big-endian) and the
/// page. Of a **database** it is the exclusive or of the checksums of all its
/// pages but the lock page, so that it can be kept up to date page by page
/// ([`toggle`](Self::toggle)). Of a **file** it is over nearly all its bytes,
/// as the documentation of this crate says.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Checksum(u64);

/// Set in every checksum.
const FLAG: u64 = 1 << 63;

impl Checksum {
    /// Of a database without pages.
    pub const EMPTY: Self = Self(FLAG);

    /// Of one page.
    #[must_use]
    pub fn of_page(pgno: u32, page: &[u8]) -> Self {
        let mut crc = Crc::new();
        crc.update(&pgno.to_be_bytes());
        crc.update(page);
        crc.checksum()
    }

    /// Takes a page's checksum into a database's, or out of it.
    #[must_use]
    pub const fn toggle(self, page: Self) -> Self {
        Self((self.0 ^ page.0) | FLAG)
    }

    /// The bits, as files store them.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// From stored bits; `None` if bit 63 is not set, as in no checksum.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Option<Self> {
        if bits & FLAG == 0 {
            None
        } else {
            Some(Self(bits))
        }
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Checksum({self})")
    }
}

impl FromStr for Checksum {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        parse_hex(text)
            .and_then(Self::from_bits)
            .ok_or_else(|| Error::Checksum(text.to_owned()))
    }
}

/// A checksum being made, part by part.
#[derive(Clone)]
pub(crate) struct Crc(Digest);

impl Crc {
    pub(crate) fn new() -> Self {
        Self(Digest::new(CrcAlgorithm::Crc64GoIso))
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn checksum(&self) -> Checksum {
        Checksum(self.0.finalize() | FLAG)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_crc_64_go_iso() {
        let mut crc = Crc::new();
        crc.update(b"1234");
        crc.update(b"56789");
        // The check value of the catalogue has bit 63 set by itself.
        assert_eq!(crc.checksum().get(), 0xb909_56c7_75a4_1001);
    }

    #[test]
    fn of_a_page_covers_its_number() {
        let page = [7; 512];
        let mut joined = 3_u32.to_be_bytes().to_vec();
        joined.extend_from_slice(&page);
        let mut crc = Crc::new();
        crc.update(&joined);
        assert_eq!(Checksum::of_page(3, &page), crc.checksum());
        assert_ne!(Checksum::of_page(3, &page), Checksum::of_page(4, &page));
    }

    #[test]
    fn toggling_twice_is_nothing() {
        let one = Checksum::of_page(1, &[1; 512]);
        let two = Checksum::of_page(2, &[2; 512]);
        let both = Checksum::EMPTY.toggle(one).toggle(two);
        assert_ne!(both, Checksum::EMPTY);
        assert_eq!(both.get() >> 63, 1);
        assert_eq!(both.toggle(one), Checksum::EMPTY.toggle(two));
        assert_eq!(both.toggle(two).toggle(one), Checksum::EMPTY);
    }

    #[test]
    fn bits_without_the_flag_are_none() {
        assert_eq!(Checksum::from_bits(0), None);
        assert_eq!(Checksum::from_bits(FLAG - 1), None);
        assert_eq!(Checksum::from_bits(FLAG), Some(Checksum::EMPTY));
        assert_eq!(
            "8000000000000000".parse::<Checksum>().unwrap(),
            Checksum::EMPTY
        );
        assert_eq!(Checksum::EMPTY.to_string(), "8000000000000000");
        assert!("0000000000000001".parse::<Checksum>().is_err());
    }
}
