//! Which state this volume stored last, and which it has begun to store after it:
//! known after a crash.
//!
//! Written before a file is sent. A replica whose newest state is none of them
//! was written by somebody else, such as the machine this volume is a copy of.
//! Then the database here may be older, and must not be sent as if it were newer.
//!
//! Several states are kept, because a file may be stored though its answer is
//! lost. The next try may send another state, as the app has gone on, and finds
//! the first one in the replica: it has to be recognized as ours.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use monolite_ltx::{Checksum, Txid};
use monolite_platform::durable;
use monolite_platform::path::directory;

/// A state of a database: its transaction, and the checksum of all its pages.
pub(super) type Point = (Txid, Checksum);

/// How many tries to store the next state are remembered: as many as leave the
/// file in one sector, which a disk writes whole or not at all.
const TRIES: usize = 30;
/// Bytes of a point.
const POINT: usize = 16;
/// A point, the tries, and a checksum.
const SIZE: usize = (1 + TRIES) * POINT + 8;

/// The last stored state, and those that were sent after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SentRecord {
    from: Point,
    /// The last try last.
    to: Vec<Point>,
}

impl SentRecord {
    /// The state `from` is stored.
    pub(super) fn new(from: Point) -> Self {
        Self {
            from,
            to: Vec::new(),
        }
    }

    /// `to` is to be stored after `from`; what was tried after the same before
    /// is not forgotten.
    pub(super) fn and(before: Option<Self>, from: Point, to: Point) -> Self {
        before
            .filter(|before| before.from == from)
            .unwrap_or_else(|| Self::new(from))
            .or(to)
    }

    /// `to` may be stored as well.
    pub(super) fn or(mut self, to: Point) -> Self {
        self.to.retain(|tried| *tried != to);
        if self.to.len() >= TRIES {
            // Not the first: in an outage, that is the one whose answer was
            // lost, and not its request.
            self.to.remove(1);
        }
        self.to.push(to);
        self
    }

    /// Whether this volume wrote the state, or may have.
    pub(super) fn includes(&self, point: Point) -> bool {
        self.from == point || self.to.contains(&point)
    }

    /// The state that is stored.
    pub(super) fn from(&self) -> Point {
        self.from
    }

    /// All states that may be stored, the stored one last.
    pub(super) fn points(&self) -> impl Iterator<Item = Point> {
        self.to.iter().rev().chain([&self.from]).copied()
    }

    /// The transaction that is stored.
    pub(super) fn stored(&self) -> Txid {
        self.from.0
    }

    /// The transactions that may be stored, the latest first.
    pub(super) fn txids(&self) -> Vec<Txid> {
        let tries = self.to.iter().map(|(txid, _)| *txid);
        let mut txids: Vec<Txid> = tries.chain([self.from.0]).collect();
        txids.sort_unstable_by(|a, b| b.cmp(a));
        txids.dedup();
        txids
    }

    /// Returns once the disk has it.
    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(SIZE);
        for (txid, checksum) in [self.from].iter().chain(&self.to) {
            bytes.extend_from_slice(&txid.0.to_be_bytes());
            bytes.extend_from_slice(&checksum.get().to_be_bytes());
        }
        bytes.resize(SIZE - 8, 0);
        let check = Checksum::of_page(0, &bytes).get();
        bytes.extend_from_slice(&check.to_be_bytes());
        let mut options = OpenOptions::new();
        let file = options
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        let is_new = file.metadata()?.len() == 0;
        file.write_all_at(&bytes, 0)?;
        file.sync_data()?;
        match is_new {
            true => durable::sync_directory(directory(path)),
            false => Ok(()),
        }
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
        let number = |bytes: &[u8]| Some(u64::from_be_bytes(bytes.try_into().ok()?));
        // An unused entry has checksum 0; a real one has its highest bit set.
        let point = |bytes: &[u8]| {
            let (txid, checksum) = bytes.split_at_checked(8)?;
            Some((Txid(number(txid)?), Checksum::from_bits(number(checksum)?)?))
        };
        let mut points = body.chunks_exact(POINT).map_while(point);
        Some(Self {
            from: points.next()?,
            to: points.collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(n: u64) -> Point {
        (Txid(n), Checksum::of_page(1, &n.to_be_bytes()))
    }

    #[test]
    fn what_was_written_is_read_and_what_is_torn_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.sent");
        assert_eq!(SentRecord::read(&path).unwrap(), None);
        for n in 7..9 {
            let record = SentRecord::and(None, point(n), point(n + 1));
            record.write(&path).unwrap();
            assert_eq!(SentRecord::read(&path).unwrap(), Some(record.clone()));
            assert!(record.includes(point(n)) && record.includes(point(n + 1)));
            assert!(!record.includes(point(n + 2)) && !record.includes((Txid(n), point(0).1)));
        }
        let bytes = std::fs::read(&path).unwrap();
        for at in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1;
            assert_eq!(SentRecord::parse(&bytes), None);
            assert_eq!(SentRecord::parse(&bytes[..at]), None);
        }
    }

    #[test]
    fn every_try_since_the_last_state_is_known() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.sent");
        let tried = |n: u64| (Txid(8), point(100 + n).1);
        let mut record = SentRecord::new(point(7));
        for n in 0..40 {
            record = SentRecord::and(Some(record), point(7), tried(n));
            record = SentRecord::and(Some(record), point(7), tried(n));
        }
        record.write(&path).unwrap();
        let record = SentRecord::read(&path).unwrap().unwrap();
        assert!(record.includes(tried(0)), "the first");
        assert!((11..40).all(|n| record.includes(tried(n))));
        assert!(!record.includes(tried(10)), "only the last ones fit");
        assert_eq!(
            (record.stored(), record.txids()),
            (Txid(7), vec![Txid(8), Txid(7)])
        );
        // One of them was stored.
        let next = SentRecord::and(Some(record), tried(12), point(9));
        assert!(next.includes(tried(12)) && !next.includes(tried(13)));
        assert!(std::fs::metadata(&path).unwrap().len() <= 512);
    }
}
