//! Which page may come next.

use crate::{Error, Header, PageFault, Result};

/// The order of the pages of one file: rising, and in a snapshot without gaps.
pub(crate) struct Sequence {
    snapshot: bool,
    commit: u32,
    lock: u32,
    last: u32,
}

impl Sequence {
    pub(crate) const fn new(header: &Header) -> Self {
        Self {
            snapshot: header.is_snapshot(),
            commit: header.commit,
            lock: header.lock_page(),
            last: 0,
        }
    }

    /// Takes `pgno` as the next page, unless it cannot be.
    pub(crate) fn take(&mut self, pgno: u32) -> Result<(), PageFault> {
        self.check(pgno)?;
        self.accept(pgno);
        Ok(())
    }

    /// Whether `pgno` can be the next page.
    pub(crate) const fn check(&self, pgno: u32) -> Result<(), PageFault> {
        if pgno == 0 {
            return Err(PageFault::Zero);
        }
        if pgno == self.lock {
            return Err(PageFault::LockPage);
        }
        if pgno <= self.last {
            return Err(PageFault::Order(self.last));
        }
        if pgno > self.commit {
            return Err(PageFault::BeyondCommit(self.commit));
        }
        if self.snapshot && pgno != self.after(self.last) {
            return Err(PageFault::Gap(self.last));
        }
        Ok(())
    }

    /// Takes a page that was checked.
    pub(crate) const fn accept(&mut self, pgno: u32) {
        self.last = pgno;
    }

    /// Whether what there was may be all.
    pub(crate) fn end(&self) -> Result<()> {
        if self.snapshot && self.after(self.last) <= self.commit {
            return Err(Error::Incomplete {
                last: self.last,
                commit: self.commit,
            });
        }
        Ok(())
    }

    const fn after(&self, pgno: u32) -> u32 {
        let next = pgno.saturating_add(1);
        if next == self.lock { next + 1 } else { next }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequence(snapshot: bool, commit: u32) -> Sequence {
        Sequence {
            snapshot,
            commit,
            lock: 100,
            last: 0,
        }
    }

    #[test]
    fn a_snapshot_has_all_but_the_lock_page() {
        for commit in [0, 1, 98, 99, 100, 101, 102] {
            let mut sequence = sequence(true, commit);
            for pgno in (1..=commit).filter(|pgno| *pgno != 100) {
                assert!(sequence.end().is_err(), "{pgno} of {commit}");
                assert_eq!(sequence.take(pgno), Ok(()));
            }
            assert!(sequence.end().is_ok(), "{commit}");
            assert!(sequence.take(commit + 1).is_err());
        }
        let mut sequence = sequence(true, 110);
        (1..=99).for_each(|pgno| sequence.accept(pgno));
        assert_eq!(sequence.take(100), Err(PageFault::LockPage));
        assert_eq!(sequence.take(102), Err(PageFault::Gap(99)));
        assert_eq!(sequence.take(101), Ok(()));
    }

    #[test]
    fn changes_only_rise() {
        let mut sequence = sequence(false, 7);
        assert!(sequence.end().is_ok());
        assert_eq!(sequence.take(0), Err(PageFault::Zero));
        assert_eq!(sequence.take(5), Ok(()));
        assert_eq!(sequence.take(5), Err(PageFault::Order(5)));
        assert_eq!(sequence.take(4), Err(PageFault::Order(5)));
        assert_eq!(sequence.take(8), Err(PageFault::BeyondCommit(7)));
        assert_eq!(sequence.take(7), Ok(()));
        assert!(sequence.end().is_ok());
    }
}
