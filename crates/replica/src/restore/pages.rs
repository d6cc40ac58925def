//! The pages of the database that is being put together.

use std::sync::{Mutex, PoisonError};

use monolite_ltx::{Checksum, Txid, lock_page};

use super::error::RestoreError;
use super::output::Output;
use crate::map::PageMap;

/// Bytes of pages that are looked after together, and written at once.
const STRIPE: usize = 1 << 20;

/// Takes the pages of all files, in any order, and keeps of each the one of the
/// newest file.
///
/// The files of a plan are counted from 1, the oldest; a page of a file with a
/// higher number replaces that of one with a lower. So all files can be read
/// at the same time.
#[derive(Debug)]
pub(super) struct Pages {
    page_size: usize,
    commit: u32,
    per_stripe: u32,
    stripes: Vec<Mutex<Stripe>>,
    /// Without one nothing is written, only looked at.
    file: Option<Output>,
}

#[derive(Debug, Clone)]
struct Stripe {
    /// The number of the file that each page is of; 0: of none yet.
    from: Vec<u32>,
    sums: Vec<u64>,
}

impl Pages {
    /// For a database of `commit` pages.
    pub(super) fn new(page_size: u32, commit: u32, file: Option<Output>) -> Self {
        let page_size = page_size.max(512) as usize;
        let per_stripe = STRIPE.div_ceil(page_size);
        let mut left = commit as usize;
        let mut stripes = Vec::with_capacity(left.div_ceil(per_stripe));
        while left > 0 {
            let pages = left.min(per_stripe);
            stripes.push(Mutex::new(Stripe {
                from: vec![0; pages],
                sums: vec![0; pages],
            }));
            left -= pages;
        }
        Self {
            page_size,
            commit,
            per_stripe: u32::try_from(per_stripe).unwrap_or(1),
            stripes,
            file,
        }
    }

    pub(super) fn page_size(&self) -> usize {
        self.page_size
    }

    /// How many pages the database has.
    pub(super) fn commit(&self) -> u32 {
        self.commit
    }

    /// Whether two pages can be written at once.
    pub(super) fn adjoin(&self, before: u32, after: u32) -> bool {
        let stripe = |pgno: u32| pgno.saturating_sub(1) / self.per_stripe;
        before.checked_add(1) == Some(after) && stripe(before) == stripe(after)
    }

    /// Takes the pages of file `number` from `first` on, all adjoining. Those
    /// beyond the end of the database must be left out before.
    pub(super) fn take(&self, number: u32, first: u32, pages: &[u8]) -> Result<(), RestoreError> {
        let index = first.saturating_sub(1);
        let Some(stripe) = self.stripes.get((index / self.per_stripe) as usize) else {
            return Ok(());
        };
        let at = (index % self.per_stripe) as usize;
        // Held while writing: else an older page could be written after.
        let mut stripe = stripe.lock().unwrap_or_else(PoisonError::into_inner);
        let Stripe { from, sums } = &mut *stripe;
        let slots = from.iter_mut().zip(sums).skip(at);
        let mut run: Option<(usize, usize)> = None;
        for (nth, (page, (from, sum))) in pages.chunks_exact(self.page_size).zip(slots).enumerate()
        {
            if *from >= number {
                self.write(first, pages, run.take())?;
                continue;
            }
            let pgno = first + u32::try_from(nth).unwrap_or(u32::MAX);
            (*from, *sum) = (number, Checksum::of_page(pgno, page).get());
            run = Some((run.map_or(nth, |(begin, _)| begin), nth + 1));
        }
        self.write(first, pages, run)
    }

    /// Writes the pages `run` of those given.
    fn write(
        &self,
        first: u32,
        pages: &[u8],
        run: Option<(usize, usize)>,
    ) -> Result<(), RestoreError> {
        let (Some(file), Some((begin, end))) = (&self.file, run) else {
            return Ok(());
        };
        let bytes = &pages[begin * self.page_size..end * self.page_size];
        let at = (u64::from(first.saturating_sub(1)) + begin as u64) * self.page_size as u64;
        file.write(bytes, at)
    }

    /// What was written to.
    pub(super) fn into_output(self) -> Option<Output> {
        self.file
    }

    /// The checksums of all pages at `txid`; or the first page that no file
    /// holds. `commits` says how long the database was after each file.
    pub(super) fn finish(&self, commits: &[u32], txid: Txid) -> Result<PageMap, u32> {
        // What a file cut off does not come back: a page counts only if the
        // database was long enough after all files that came after its own.
        let mut kept = vec![0; commits.len() + 1];
        let mut least = u32::MAX;
        for (number, commit) in commits.iter().enumerate().rev() {
            least = least.min(*commit);
            kept[number + 1] = least;
        }
        let page_size = u32::try_from(self.page_size).unwrap_or(u32::MAX);
        let lock = lock_page(page_size);
        let mut map = PageMap::empty(page_size);
        map.resize(self.commit);
        map.set_txid(txid);
        let mut pgno = 0;
        for stripe in &self.stripes {
            let stripe = stripe.lock().unwrap_or_else(PoisonError::into_inner);
            for (from, sum) in stripe.from.iter().zip(&stripe.sums) {
                pgno += 1;
                match Checksum::from_bits(*sum) {
                    Some(sum) if kept.get(*from as usize).is_some_and(|kept| pgno <= *kept) => {
                        map.set(pgno, sum);
                    }
                    _ if pgno == lock => {}
                    _ => return Err(pgno),
                }
            }
        }
        Ok(map)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::fs::File;
    use std::path::PathBuf;
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::restore::output::Durability;

    const SIZE: usize = 512;

    fn open() -> (tempfile::TempDir, Arc<File>, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pages");
        let mut options = File::options();
        let file = options.read(true).write(true).create(true).open(&path);
        (dir, Arc::new(file.unwrap()), path)
    }

    proptest! {
        /// Files with runs of pages, taken in any order.
        #[test]
        fn the_order_does_not_matter(
            commit in 1_u32..5_000,
            files in prop::collection::vec(prop::collection::vec((1_u32..5_000, 1_u32..400), 1..6), 1..6),
            order in any::<u64>(),
        ) {
            let mut truth = vec![0_u8; commit as usize * SIZE];
            let mut takes = vec![(1, 1, commit)];
            for (number, runs) in (2_u32..).zip(&files) {
                for (first, length) in runs {
                    let length = (*length).min(commit.saturating_sub(first - 1));
                    takes.push((number, *first, length));
                }
            }
            for (number, first, length) in &takes {
                let at = (*first as usize - 1) * SIZE;
                for byte in truth.iter_mut().skip(at).take(*length as usize * SIZE) {
                    *byte = (*number as u8).max(*byte);
                }
            }
            let (_dir, file, path) = open();
            let size = truth.len() as u64;
            let output = Output::new(&file, path.clone(), size, Durability::Fleeting).unwrap();
            let pages = Pages::new(SIZE as u32, commit, Some(output));
            fastrand::Rng::with_seed(order).shuffle(&mut takes);
            for (number, first, length) in takes {
                let page = [number as u8; SIZE];
                let mut run: Option<u32> = None;
                let mut bytes = Vec::new();
                for pgno in first..first + length {
                    if bytes.is_empty() || !pages.adjoin(pgno - 1, pgno) {
                        if let Some(first) = run {
                            pages.take(number, first, &bytes).unwrap();
                        }
                        bytes.clear();
                        run = Some(pgno);
                    }
                    bytes.extend_from_slice(&page);
                }
                if let Some(first) = run {
                    pages.take(number, first, &bytes).unwrap();
                }
            }
            let commits = vec![commit; files.len() + 1];
            let map = pages.finish(&commits, Txid(9)).unwrap();
            prop_assert!(std::fs::read(&path).unwrap() == truth);
            for (pgno, page) in (1..).zip(truth.chunks(SIZE)) {
                prop_assert_eq!(map.get(pgno), Some(Checksum::of_page(pgno, page)));
            }
        }
    }

    #[test]
    fn only_the_lock_page_may_be_missing() {
        let (page_size, commit) = (65_536, 16_390);
        let pages = Pages::new(page_size, commit, None);
        let lock = lock_page(page_size);
        assert!(lock < commit);
        let all = |pages: &Pages, but: &[u32]| {
            for (at, stripe) in pages.stripes.iter().enumerate() {
                let mut stripe = stripe.lock().unwrap();
                let first = at as u32 * pages.per_stripe + 1;
                for (at, pgno) in (first..).take(stripe.from.len()).enumerate() {
                    let there = !but.contains(&pgno);
                    stripe.from[at] = u32::from(there);
                    stripe.sums[at] = if there { Checksum::EMPTY.get() } else { 0 };
                }
            }
        };
        all(&pages, &[lock]);
        assert_eq!(pages.finish(&[commit], Txid(1)).unwrap().get(lock), None);
        all(&pages, &[lock, 77]);
        assert_eq!(pages.finish(&[commit], Txid(1)), Err(77));
        all(&pages, &[lock]);
        // The database was shorter once after that.
        assert_eq!(pages.finish(&[commit, 900, commit], Txid(1)), Err(901));
    }
}
