//! The last sixteen bytes.

use crate::layout::u64_at;
use crate::{Checksum, DatabaseChecksums, Error, Header, Result};

/// The end of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trailer {
    /// The checksum of the database after the last transaction, in files with
    /// [`DatabaseChecksums::Standard`]; `None` otherwise.
    pub post: Option<Checksum>,
    /// The checksum of the file.
    pub file: Checksum,
}

impl Trailer {
    /// Bytes in a file.
    pub const SIZE: usize = 16;

    /// The first half, which the file's checksum covers.
    pub(crate) fn post_bytes(post: Option<Checksum>) -> [u8; 8] {
        post.map_or(0, Checksum::get).to_be_bytes()
    }

    /// Reads a trailer and checks that it fits the header.
    pub fn parse(bytes: &[u8; Self::SIZE], header: &Header) -> Result<Self> {
        let post = checksum("post-apply checksum", u64_at(bytes, 0))?;
        check_post(header, post)?;
        let file = checksum("file checksum", u64_at(bytes, 8))?
            .ok_or_else(|| refused("file checksum", 0, "there must be one"))?;
        Ok(Self { post, file })
    }
}

/// Whether a trailer of such a file may have this checksum.
pub(crate) fn check_post(header: &Header, post: Option<Checksum>) -> Result<()> {
    let why = match (header.checksums, post) {
        (DatabaseChecksums::Standard { .. }, Some(post))
            if header.commit == 0 && post != Checksum::EMPTY =>
        {
            "a database without pages has another"
        }
        (DatabaseChecksums::Standard { .. }, None) => {
            "there must be one without the NoChecksum flag"
        }
        (DatabaseChecksums::None | DatabaseChecksums::Reserved { .. }, Some(_)) => {
            "there is none with the NoChecksum flag"
        }
        _ => return Ok(()),
    };
    let value = post.map_or(0, Checksum::get);
    Err(refused("post-apply checksum", value, why))
}

fn checksum(field: &'static str, bits: u64) -> Result<Option<Checksum>> {
    match Checksum::from_bits(bits) {
        None if bits != 0 => Err(refused(field, bits, "bit 63 of a checksum is set")),
        checksum => Ok(checksum),
    }
}

const fn refused(field: &'static str, value: u64, why: &'static str) -> Error {
    Error::Trailer { field, value, why }
}
