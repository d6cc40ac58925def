//! The state that this volume stored last, and the one it set out to store
//! after it, known after a crash.
//!
//! Written before a file is sent. A replica whose newest state is neither was
//! written by somebody else, as by the machine this volume is a copy of: then
//! what is here may be older, and must not be sent as if it were newer.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use monolite_ltx::{Checksum, Txid};

/// A state of a database: its transaction, and the checksum of all its pages.
pub(super) type Point = (Txid, Checksum);

/// What a file leads from, and what to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Intent {
    pub(super) from: Point,
    pub(super) to: Point,
}

/// Two points of sixteen bytes, and a checksum.
const SIZE: usize = 40;

impl Intent {
    /// Whether this volume wrote the state, or may have.
    pub(super) fn includes(&self, point: Point) -> bool {
        self.from == point || self.to == point
    }

    /// Returns once the disk has it.
    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(SIZE);
        for (txid, checksum) in [self.from, self.to] {
            bytes.extend_from_slice(&txid.0.to_be_bytes());
            bytes.extend_from_slice(&checksum.get().to_be_bytes());
        }
        let check = Checksum::of_page(0, &bytes).get();
        bytes.extend_from_slice(&check.to_be_bytes());
        let mut options = OpenOptions::new();
        let file = options
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        file.write_all_at(&bytes, 0)?;
        file.sync_data()
    }

    /// What was written last; `None` if nothing, or nothing that can be trusted.
    pub(super) fn read(path: &Path) -> io::Result<Option<Self>> {
        match std::fs::read(path) {
            Ok(bytes) => Ok(Self::parse(&bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let (body, check) = bytes.split_last_chunk::<8>()?;
        if bytes.len() != SIZE || Checksum::of_page(0, body).get() != u64::from_be_bytes(*check) {
            return None;
        }
        let number = |at: usize| Some(u64::from_be_bytes(body.get(at..at + 8)?.try_into().ok()?));
        let point = |at| Some((Txid(number(at)?), Checksum::from_bits(number(at + 8)?)?));
        Some(Self {
            from: point(0)?,
            to: point(16)?,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_what_is_torn_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.sent");
        assert_eq!(Intent::read(&path).unwrap(), None);
        let point = |n: u64| (Txid(n), Checksum::of_page(1, &n.to_be_bytes()));
        for n in 7..9 {
            let intent = Intent {
                from: point(n),
                to: point(n + 1),
            };
            intent.write(&path).unwrap();
            assert_eq!(Intent::read(&path).unwrap(), Some(intent));
            assert!(intent.includes(point(n)) && intent.includes(point(n + 1)));
            assert!(!intent.includes(point(n + 2)) && !intent.includes((Txid(n), point(0).1)));
        }
        let bytes = std::fs::read(&path).unwrap();
        for at in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1;
            assert_eq!(Intent::parse(&bytes), None);
            assert_eq!(Intent::parse(&bytes[..at]), None);
        }
    }
}
