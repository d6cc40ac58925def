//! Follows the log of a database that other processes write.
//!
//! # Why no frame is missed
//! A read transaction ("pin") is always held, and the next one begins before it
//! ends: begin B, take all committed frames, end A ("slide"). By SQLite's locks
//! a pin is of one of two kinds.
//!
//! - On a read mark above 0, the log cannot be reset while it is held.
//! - On mark 0, everything in the log had been copied into the database when
//!   the pin began, and the slide that began it took all of that while the pin
//!   before it was held. The log may be reset once, by whoever writes next;
//!   but frames written since, in the old generation or the new, cannot be
//!   copied into the database while this pin is held, so there is no second
//!   reset, and nothing was appended to the old generation before the first.
//!
//! So at each slide the log is of the generation we know, or of the next one
//! with the known one taken to its end. The next one's first salt is one higher,
//! or both are random and the header says so (who wrote it had not reset a log
//! before, and found one that was cut to nothing). Anything else shows that the
//! locks did not hold, and continuity is lost ([`Slide::Lost`]): then the pages themselves
//! are compared with what was sent.
//!
//! What is committed is asked of SQLite (`wal_checkpoint(NOOP)` reads the log's
//! index, which the locks above keep in step): the file alone does not tell,
//! see [`scan::committed`].

mod reset;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use monolite_sqlite_format::wal::Header;
use rusqlite::Connection;

use super::changes::{Budget, Changes};

use super::pin::{Pin, connect};
use super::scan::{self, Position};
use crate::error::{Error, Result};

/// Frames after which the log is to be reset; SQLite's own default.
const LONG_FRAMES: u64 = 1000;
/// Frames a second of a log that grows fast …
const FAST_FRAMES: f64 = 5000.0;
/// … as seen by so many of them, or by none for so long.
const SEEN: (u64, Duration) = (50, Duration::from_millis(20));
/// Tries to find a log that stands still for two looks.
const LOOKS: usize = 100;

/// How a slide went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slide {
    /// Nothing was committed.
    Nothing,
    /// Something was, and it is in [`Tail::changes`].
    Taken,
    /// What came after the last slide cannot be known from the log.
    Lost,
}

impl Slide {
    pub(crate) fn worse(self, other: Self) -> Self {
        match (self, other) {
            (Self::Lost, _) | (_, Self::Lost) => Self::Lost,
            (Self::Taken, _) | (_, Self::Taken) => Self::Taken,
            _ => Self::Nothing,
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Tail {
    wal: PathBuf,
    /// The log itself, which may have no name any more.
    file: Option<File>,
    held: Pin,
    spare: Pin,
    /// `None`: the log had no header.
    position: Option<Position>,
    /// Asks how far the log is committed; never in a transaction.
    index: Connection,
    checkpointer: Option<Connection>,
    path: PathBuf,
    page: Vec<u8>,
    changes: Changes,
    /// All of the log is in the database, and the pin lets the next writer
    /// begin it anew.
    ready: bool,
    /// Only some pages of the last commits are in `changes`.
    torn: bool,
    /// Frames were there that are not committed yet.
    pending: bool,
    /// The log grows fast.
    fast: bool,
    /// When the last slide began.
    slid: Instant,
    budget: Budget,
}

impl Tail {
    /// Begins to follow from now on. What was committed before is for a
    /// [`Snapshot`](super::Snapshot) to read, which is to begin after this.
    ///
    /// # Errors
    /// The database cannot be opened or read.
    pub(crate) fn open(path: &Path, budget: &Budget) -> Result<Self> {
        let held = Pin::new(path)?;
        held.begin()?;
        let mut tail = Self {
            wal: beside(path, "-wal"),
            file: None,
            held,
            spare: Pin::new(path)?,
            position: None,
            index: connect(path)?,
            checkpointer: None,
            path: path.into(),
            page: Vec::new(),
            changes: Changes::none(budget),
            ready: false,
            torn: false,
            pending: false,
            fast: false,
            slid: Instant::now(),
            budget: budget.clone(),
        };
        tail.forget()?;
        Ok(tail)
    }

    /// Goes on from the log's present end, whatever came before.
    ///
    /// # Errors
    /// The log cannot be read.
    pub(crate) fn forget(&mut self) -> Result<()> {
        self.position = None;
        if let Some((header, last)) = self.log()?
            && let Some(file) = &self.file
        {
            let all = scan::committed(file, Position::start(header), last);
            let all = all.map_err(|error| Error::file(&self.wal, error))?;
            self.position = Some(all.end);
        }
        Ok(())
    }

    /// The log's header, and the last of its frames that is committed; `None`
    /// if it has no header. Both are of one generation.
    fn log(&mut self) -> Result<Option<(Header, u64)>> {
        let at = |error| Error::file(&self.wal, error);
        let Some(file) = open(&mut self.file, &self.wal).map_err(at)? else {
            return Ok(None);
        };
        for _ in 0..LOOKS {
            let header = scan::header(file).map_err(at)?;
            let last = committed(&self.index).map_err(|e| Error::database(&self.path, e))?;
            if header == scan::header(file).map_err(at)? {
                // After a reset that nobody wrote after, this is the header of
                // the generation before, and `last` 0: nothing is to be taken.
                return Ok(header.map(|header| (header, last)));
            }
        }
        Err(at(std::io::Error::other("it is reset all the time")))
    }

    /// Frames in the log, as far as it was taken.
    fn frames(&self) -> u64 {
        self.position.map_or(0, |position| position.frames())
    }

    /// Whether the log should have been reset, and was not.
    pub(crate) fn is_long(&self) -> bool {
        self.frames() >= LONG_FRAMES && !self.ready
    }

    /// Whether all of the log was in the database at the last slide: as soon as
    /// somebody writes, another one makes his commits cheaper.
    pub(crate) fn is_reset(&self) -> bool {
        self.ready || self.frames() == 0
    }

    /// Whether a commit may come without a word: a writer that syncs writes its
    /// frames, which is told, and commits by the log's index, which is not.
    pub(crate) fn is_pending(&self) -> bool {
        self.pending
    }

    /// What was taken since this was called last. Nothing after a slide that
    /// failed half way: the next one makes it whole.
    pub(crate) fn changes(&mut self) -> Changes {
        match self.torn {
            true => Changes::none(&self.budget),
            false => self.changes.take(),
        }
    }

    /// Takes what was committed since the last slide.
    ///
    /// # Errors
    /// The database or its log cannot be read. Nothing is lost by that: the old
    /// pin is still held, and the next slide begins where this one did.
    pub(crate) fn slide(&mut self) -> Result<Slide> {
        self.spare.begin()?;
        let slide = match self.take() {
            Ok(slide) => slide,
            Err(error) => {
                self.spare.end();
                return Err(error);
            }
        };
        if self.fast
            && let Some(file) = &self.file
        {
            // The app's next commit copies all of this, and syncs it before:
            // a part of its time, where it is ours to spend. Its own sync tells
            // whether that works.
            let _ = file.sync_data();
        }
        self.held.end();
        std::mem::swap(&mut self.held, &mut self.spare);
        Ok(slide)
    }

    fn take(&mut self) -> Result<Slide> {
        self.pending = false;
        let before = self.slid.elapsed();
        self.slid = Instant::now();
        if before >= SEEN.1 {
            self.fast = false;
        }
        let Some((header, last)) = self.log()? else {
            // None yet, or cut by a checkpoint: what comes is the next
            // generation, and no other, for the pin that began before this look
            // is on mark 0.
            self.position = None;
            return Ok(Slide::Nothing);
        };
        let from = match self.position {
            Some(position) if position.salts() == header.salts => position,
            Some(position)
                if position.salts().0.wrapping_add(1) == header.salts.0 || header.resets == 0 =>
            {
                Position::start(header)
            }
            Some(_) => return Ok(Slide::Lost),
            // There was nothing to take, and one reset at most since.
            None => Position::start(header),
        };
        let taken = self.take_from(header, from, last);
        let slide = taken.map_err(|error| Error::file(&self.wal, error))?;
        let frames = self.frames().saturating_sub(from.frames());
        if frames >= SEEN.0 {
            self.fast = frames as f64 >= before.as_secs_f64() * FAST_FRAMES;
        }
        Ok(slide)
    }

    fn take_from(&mut self, header: Header, from: Position, last: u64) -> std::io::Result<Slide> {
        let Some(file) = &self.file else {
            return Ok(Slide::Nothing);
        };
        let found = scan::committed(file, from, last)?;
        self.pending = scan::goes_on(file, found.end)?;
        if found.end.frames() < last {
            // SQLite says they are there, and they are not what continues ours.
            return Ok(Slide::Lost);
        }
        let Some(size) = found.size else {
            self.position = Some(found.end);
            return Ok(Slide::Nothing);
        };
        self.torn = true;
        self.changes.begin(header.page_size, size, found.smallest);
        self.page.resize(header.page_size as usize, 0);
        // In the order of the log: the disk's order, should it have to be read.
        let mut pages: Vec<(u64, u32)> = found.pages.iter().map(|(p, at)| (*at, *p)).collect();
        pages.sort_unstable();
        for (at, pgno) in pages {
            scan::page(file, at, &mut self.page)?;
            self.changes.page(pgno, &self.page);
        }
        self.torn = false;
        self.ready = false;
        // Only now: on an error above, everything is taken again.
        self.position = Some(found.end);
        Ok(Slide::Taken)
    }

    #[cfg(test)]
    pub(super) fn salts(&self) -> Option<monolite_sqlite_format::wal::Salts> {
        self.position.map(|position| position.salts())
    }

    /// As if nobody had looked for a while.
    #[cfg(test)]
    pub(super) fn let_go(&self) {
        self.held.end();
    }
}

/// How many frames of the log are committed, by its index. Takes no lock.
fn committed(index: &Connection) -> rusqlite::Result<u64> {
    let mut noop = index.prepare_cached("PRAGMA wal_checkpoint(NOOP)")?;
    let frames: i64 = noop.query_row([], |row| row.get(1))?;
    // Negative: there is no log.
    Ok(u64::try_from(frames).unwrap_or(0))
}

/// The log, opened when it comes. It stays the same one: SQLite removes a log
/// only with a database's last connection, and we have some. So what is
/// committed to a database that was deleted under its app can still be read.
fn open<'a>(file: &'a mut Option<File>, path: &Path) -> std::io::Result<Option<&'a File>> {
    if file.is_none() {
        *file = scan::open(path)?;
    }
    Ok(file.as_ref())
}

/// `path` with `suffix` after its name.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
