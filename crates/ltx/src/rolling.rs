//! The checksum of the whole database, where all its pages are there.

use crate::{Checksum, DatabaseChecksums, Error, Header, Result};

/// Made from the pages of a snapshot that says what it must be; else idle.
pub(crate) struct Rolling(Option<Checksum>);

impl Rolling {
    pub(crate) fn new(header: &Header) -> Self {
        let known = header.checksums != DatabaseChecksums::None;
        Self((known && header.is_snapshot()).then_some(Checksum::EMPTY))
    }

    pub(crate) fn take(&mut self, pgno: u32, page: &[u8]) {
        if let Some(checksum) = &mut self.0 {
            *checksum = checksum.toggle(Checksum::of_page(pgno, page));
        }
    }

    /// Compares; `post` is the trailer's.
    pub(crate) fn end(&self, header: &Header, post: Option<Checksum>) -> Result<()> {
        let known = match header.checksums {
            DatabaseChecksums::None => None,
            DatabaseChecksums::Standard { .. } => post,
            DatabaseChecksums::Reserved { post, .. } => Some(post),
        };
        match (known, self.0) {
            (Some(stored), Some(computed)) if stored != computed => {
                Err(Error::DatabaseChecksum { stored, computed })
            }
            _ => Ok(()),
        }
    }
}
