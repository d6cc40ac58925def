//! The database of a simulated volume, and the ledger of what became of each commit.

use std::collections::BTreeMap;
use std::time::Duration;

use monolite_ltx::{Checksum, Decoder, Encoder, Txid};

use crate::follow::encode::{self, Sums, Writer};
use crate::map::PageMap;

/// Bytes of a page.
pub(super) const PAGE: u32 = 512;
/// Pages of a database.
pub(super) const PAGES: u32 = 5;

/// A commit, from 1; 0: none yet.
pub(super) type Commit = u64;

/// A database whose first page names its last commit; each commit writes one other page
/// as well.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Database {
    pages: Vec<Vec<u8>>,
}

impl Database {
    pub(super) fn new() -> Self {
        Self {
            pages: vec![vec![0; PAGE as usize]; PAGES as usize],
        }
    }

    pub(super) fn commit(&mut self, commit: Commit) {
        for page in [0, 1 + commit as usize % (PAGES as usize - 1)] {
            self.pages[page][..8].copy_from_slice(&commit.to_be_bytes());
        }
    }

    pub(super) fn last(&self) -> Commit {
        let first = self.pages[0].first_chunk().expect("a page");
        u64::from_be_bytes(*first)
    }

    fn sum(&self, pgno: u32) -> Checksum {
        Checksum::of_page(pgno, &self.pages[pgno as usize - 1])
    }

    /// The pages that are not as the map says.
    pub(super) fn differs(&self, map: &PageMap) -> Sums {
        let all = (1..=PAGES).map(|pgno| (pgno, self.sum(pgno)));
        all.filter(|(pgno, sum)| map.get(*pgno) != Some(*sum))
            .collect()
    }

    /// These pages as the map's next transaction.
    pub(super) fn encode(
        &self,
        map: &PageMap,
        sums: &Sums,
        writer: Writer,
    ) -> (monolite_ltx::Header, Vec<u8>) {
        let header = encode::next(map, sums, PAGE, PAGES, writer);
        self.file(header, sums.iter().map(|(pgno, _)| *pgno))
    }

    /// All pages, as the map's state.
    pub(super) fn snapshot(
        &self,
        map: &PageMap,
        writer: Writer,
    ) -> (monolite_ltx::Header, Vec<u8>) {
        let mut header = encode::next(map, &Vec::new(), PAGE, PAGES, writer);
        (header.min, header.max) = (Txid::FIRST, map.txid());
        header.checksums = monolite_ltx::DatabaseChecksums::Reserved {
            pre: None,
            post: map.checksum(),
        };
        self.file(header, 1..=PAGES)
    }

    fn file(
        &self,
        header: monolite_ltx::Header,
        pages: impl Iterator<Item = u32>,
    ) -> (monolite_ltx::Header, Vec<u8>) {
        let mut encoder = Encoder::new(Vec::new(), header).expect("a header");
        for pgno in pages {
            encoder
                .page(pgno, &self.pages[pgno as usize - 1])
                .expect("a page");
        }
        let (body, ..) = encoder.finish(None).expect("a file");
        (header, body)
    }

    /// Brings the database to what a file leads to.
    pub(super) fn apply(&mut self, body: &[u8]) -> Result<(), monolite_ltx::Error> {
        let mut decoder = Decoder::new(body)?;
        let mut page = Vec::new();
        while let Some(pgno) = decoder.next_page(&mut page)? {
            self.pages[pgno as usize - 1].clone_from(&page);
        }
        decoder.finish().map(drop)
    }
}

/// What is known of each commit from outside, as the app's clients know it.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// The commit before, on the same database.
    parents: BTreeMap<Commit, Commit>,
    /// Confirmed to a client, and when.
    pub(super) confirmed: BTreeMap<Commit, Duration>,
    /// A file that holds it was stored, as far as its writer knows.
    pub(super) stored: BTreeMap<Commit, Duration>,
    /// Reported to be in no replica: of a database that was kept.
    pub(super) reported: Vec<Commit>,
    /// On a volume that was lost, and not stored by then.
    pub(super) lost: Vec<Commit>,
}

impl Ledger {
    /// A commit that follows `parent`.
    pub(super) fn commit(&mut self, parent: Commit, now: Duration) -> Commit {
        let commit = self.parents.len() as Commit + 1;
        self.parents.insert(commit, parent);
        self.confirmed.insert(commit, now);
        commit
    }

    /// Whether the state after `last` holds `commit`.
    pub(super) fn holds(&self, last: Commit, commit: Commit) -> bool {
        let mut at = last;
        while at > commit {
            at = self.parents.get(&at).copied().unwrap_or(0);
        }
        at == commit
    }
}
