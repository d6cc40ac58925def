//! Follows the write-ahead log of a database that other processes write.
//!
//! # Why no frame is missed
//! A read transaction is always held, and the next one begins before it ends:
//! begin B, read all committed frames, end A ([`WalReader::advance`]). By
//! SQLite's locks a read transaction is of one of two kinds.
//!
//! - With a read mark above 0, the log cannot be reset while it is held.
//! - With read mark 0, everything in the log had been copied into the database
//!   when the transaction began, and the `advance` that began it read all of
//!   that while the transaction before it was held. The log may be reset once,
//!   by the next writer. But frames written since, in the old generation of the
//!   log or the new one, cannot be copied into the database while this
//!   transaction is held, so there is no second reset; and nothing was appended
//!   to the old generation before the first.
//!
//! So at each `advance` the log is of the generation we know, or of the next
//! one, with the known one read to its end. The next one's first salt is one
//! higher, or both salts are random and the header says that its writer had not
//! reset a log before (it found one of length 0). Anything else shows that the
//! locks did not hold, and continuity is lost ([`Advance::Lost`]): then all
//! pages are compared with what was sent.
//!
//! How far the log is committed is asked of SQLite: `wal_checkpoint(NOOP)` reads
//! the log's index, which the locks above keep valid. The log file alone does
//! not say it, see [`scan::committed`].

mod checkpoint;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use monolite_platform::process::Inode;
use monolite_sqlite_format::wal::Header;
use monolite_sqlite_format::{shm_path, wal_path};
use rusqlite::Connection;

pub(crate) use self::checkpoint::checkpoint;
use super::changes::{Budget, Changes};

use super::read_lock::{ReadLock, connect};
use super::scan::{self, Position};
use crate::error::{Error, Result};

/// A log of so many frames is to be reset: SQLite's own default.
const LONG_FRAMES: u64 = 1000;
/// Bytes of a log without a frame.
const LOG_HEADER: u64 = 32;
/// A log that grows by more frames a second than this grows fast.
const FAST_FRAMES_PER_SECOND: f64 = 5000.0;
/// Fewer frames say nothing about the log's growth.
const FAST_SAMPLE_FRAMES: u64 = 50;
/// After so long without a look, a log no longer counts as growing fast.
const FAST_EXPIRES: Duration = Duration::from_millis(20);
/// How often the log's header and index are read before they agree, at most.
const CONSISTENT_READS_MAX: usize = 100;

/// What [`WalReader::advance`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Advance {
    /// Nothing was committed.
    Nothing,
    /// Something was committed, and is in [`WalReader::changes`].
    Changes,
    /// What was committed since the last call cannot be known from the log.
    Lost,
}

impl Advance {
    /// What two calls in a row found.
    pub(crate) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Lost, _) | (_, Self::Lost) => Self::Lost,
            (Self::Changes, _) | (_, Self::Changes) => Self::Changes,
            _ => Self::Nothing,
        }
    }
}

/// Reads a log from where it was read last. See the module.
#[derive(Debug)]
pub(crate) struct WalReader {
    wal: PathBuf,
    /// The log itself, which may have no name any more.
    file: Option<File>,
    /// In a read transaction, always.
    held: ReadLock,
    /// For the next read transaction.
    spare: ReadLock,
    /// `None`: the log had no header.
    position: Option<Position>,
    /// Asks how far the log is committed; never in a transaction.
    index: Connection,
    checkpointer: Option<Connection>,
    path: PathBuf,
    page: Vec<u8>,
    changes: Changes,
    /// All of the log is in the database, and our read transaction lets the next
    /// writer reset it.
    resettable: bool,
    /// Only some pages of the last commits are in `changes`.
    incomplete: bool,
    /// Frames were there that are not committed yet.
    pending: bool,
    /// The log grows fast.
    fast: bool,
    /// When the last [`advance`](Self::advance) began.
    advanced: Instant,
    budget: Budget,
    /// The log's index, as it was opened.
    shm: Option<Inode>,
}

impl WalReader {
    /// Begins to follow from now on. What was committed before is for a
    /// [`Snapshot`](super::Snapshot) to read, which is to begin after this.
    ///
    /// # Errors
    /// The database cannot be opened or read.
    pub(crate) fn open(path: &Path, budget: &Budget) -> Result<Self> {
        let held = ReadLock::new(path)?;
        held.begin()?;
        let mut reader = Self {
            wal: wal_path(path),
            file: None,
            held,
            spare: ReadLock::new(path)?,
            position: None,
            index: connect(path)?,
            checkpointer: None,
            path: path.into(),
            page: Vec::new(),
            changes: Changes::none(budget),
            resettable: false,
            incomplete: false,
            pending: false,
            fast: false,
            advanced: Instant::now(),
            budget: budget.clone(),
            shm: Inode::of(&shm_path(path)),
        };
        reader.skip_to_end()?;
        Ok(reader)
    }

    /// Whether the log and its index are the files that have these names. If not, somebody has
    /// deleted or replaced them: what other processes commit from now on may be in other files.
    pub(crate) fn is_named(&self) -> bool {
        let log = self.file.as_ref().and_then(|file| file.metadata().ok());
        let is_log = |of: std::fs::Metadata| Inode::of(&self.wal) == Some(Inode::from(&of));
        log.is_none_or(is_log) && Inode::of(&shm_path(&self.path)) == self.shm
    }

    /// Goes on from the log's present end, whatever came before.
    ///
    /// # Errors
    /// The log cannot be read.
    pub(crate) fn skip_to_end(&mut self) -> Result<()> {
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
        for _ in 0..CONSISTENT_READS_MAX {
            let header = scan::header(file).map_err(at)?;
            let last = committed(&self.index).map_err(|e| Error::database(&self.path, e))?;
            if header == scan::header(file).map_err(at)? {
                // After a reset that nobody wrote after, this is the header of
                // the generation before, and `last` is 0: there is nothing to read.
                return Ok(header.map(|header| (header, last)));
            }
        }
        Err(at(std::io::Error::other("the log is reset all the time")))
    }

    /// Copies the log into the database, if the log has lost its name and nobody has committed to
    /// another one: what is in it would be lost when this closes it. The caller knows that nobody
    /// else has the database open.
    ///
    /// # Errors
    /// The database cannot be written.
    pub(crate) fn copy_unnamed(&self) -> Result<()> {
        let log = self.file.as_ref().and_then(|file| file.metadata().ok());
        let log = log.map(|of| Inode::from(&of));
        let is_lost = match std::fs::metadata(&self.wal) {
            Ok(named) => log != Some(Inode::from(&named)) && named.len() <= LOG_HEADER,
            Err(_) => true,
        };
        if !is_lost {
            return Ok(());
        }
        // Not through the lock's own connection, whose read transaction would be in the way.
        self.held.end();
        let all = self
            .index
            .query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
        all.map_err(|error| Error::database(&self.path, error))
    }

    /// Frames of the log that were read.
    fn frames(&self) -> u64 {
        self.position.map_or(0, |position| position.frames())
    }

    /// Whether the log should have been reset, and was not.
    pub(crate) fn is_long(&self) -> bool {
        self.frames() >= LONG_FRAMES && !self.resettable
    }

    /// Whether all of the log was in the database at the last `advance`. The next
    /// writer resets the log then, and its commits are slow until the next
    /// `advance`, which should come soon.
    pub(crate) fn is_resettable(&self) -> bool {
        self.resettable || self.frames() == 0
    }

    /// Whether a commit may come without a file event: a writer that syncs writes
    /// its frames to the log file first, and commits by writing the log's index,
    /// which causes no event.
    pub(crate) fn is_pending(&self) -> bool {
        self.pending
    }

    /// What was read since this was called last. Nothing after an `advance` that
    /// failed half way: the next one completes it.
    pub(crate) fn changes(&mut self) -> Changes {
        match self.incomplete {
            true => Changes::none(&self.budget),
            false => self.changes.take(),
        }
    }

    /// Reads what was committed since the last call.
    ///
    /// # Errors
    /// The database or its log cannot be read. Nothing is lost by that: the old
    /// read transaction is still held, and the next call begins where this one
    /// did.
    pub(crate) fn advance(&mut self) -> Result<Advance> {
        self.spare.begin()?;
        let advance = match self.read_new() {
            Ok(advance) => advance,
            Err(error) => {
                self.spare.end();
                return Err(error);
            }
        };
        if self.fast
            && let Some(file) = &self.file
        {
            // The app's next checkpoint syncs all of this before it copies it.
            // Syncing here spends our time and not the app's. An error shows in
            // the app's own sync.
            let _ = file.sync_data();
        }
        self.held.end();
        std::mem::swap(&mut self.held, &mut self.spare);
        Ok(advance)
    }

    fn read_new(&mut self) -> Result<Advance> {
        self.pending = false;
        let before = self.advanced.elapsed();
        self.advanced = Instant::now();
        if before >= FAST_EXPIRES {
            self.fast = false;
        }
        let Some((header, last)) = self.log()? else {
            // There is none yet, or a checkpoint cut it to length 0. What comes
            // is the next generation and no other, as the read transaction that
            // began before this look has mark 0.
            self.position = None;
            return Ok(Advance::Nothing);
        };
        let from = match self.position {
            Some(position) if position.salts() == header.salts => position,
            Some(position)
                if position.salts().0.wrapping_add(1) == header.salts.0 || header.resets == 0 =>
            {
                Position::start(header)
            }
            Some(_) => return Ok(Advance::Lost),
            // There was nothing to read, and one reset at most since.
            None => Position::start(header),
        };
        let read = self.read_from(header, from, last);
        let advance = read.map_err(|error| Error::file(&self.wal, error))?;
        let frames = self.frames().saturating_sub(from.frames());
        if frames >= FAST_SAMPLE_FRAMES {
            self.fast = frames as f64 >= before.as_secs_f64() * FAST_FRAMES_PER_SECOND;
        }
        Ok(advance)
    }

    fn read_from(&mut self, header: Header, from: Position, last: u64) -> std::io::Result<Advance> {
        let Some(file) = &self.file else {
            return Ok(Advance::Nothing);
        };
        let found = scan::committed(file, from, last)?;
        self.pending = scan::goes_on(file, found.end)?;
        if found.end.frames() < last {
            // SQLite says that there are more, and they do not continue ours.
            return Ok(Advance::Lost);
        }
        let Some(size) = found.size else {
            self.position = Some(found.end);
            return Ok(Advance::Nothing);
        };
        self.incomplete = true;
        self.changes.begin(header.page_size, size, found.smallest);
        self.page.resize(header.page_size as usize, 0);
        // In the order of the log, which is the order of the disk.
        let mut pages: Vec<(u64, u32)> = found.pages.iter().map(|(p, at)| (*at, *p)).collect();
        pages.sort_unstable();
        for (at, pgno) in pages {
            scan::page(file, at, &mut self.page)?;
            self.changes.page(pgno, &self.page);
        }
        self.incomplete = false;
        self.resettable = false;
        // Only now: after an error above, everything is read again.
        self.position = Some(found.end);
        Ok(Advance::Changes)
    }

    #[cfg(test)]
    pub(super) fn salts(&self) -> Option<monolite_sqlite_format::wal::Salts> {
        self.position.map(|position| position.salts())
    }

    /// As if nobody had read for a while.
    #[cfg(test)]
    pub(super) fn let_go(&self) {
        self.held.end();
    }
}

/// How many frames of the log are committed, as its index says. Takes no lock.
fn committed(index: &Connection) -> rusqlite::Result<u64> {
    let mut noop = index.prepare_cached("PRAGMA wal_checkpoint(NOOP)")?;
    let frames: i64 = noop.query_row([], |row| row.get(1))?;
    // Negative: there is no log.
    Ok(u64::try_from(frames).unwrap_or(0))
}

/// The log, opened once it exists. It stays the same file: SQLite removes a log
/// only with a database's last connection, and we have some. So commits to a
/// database whose file was deleted while its app had it open can still be read.
fn open<'a>(file: &'a mut Option<File>, path: &Path) -> std::io::Result<Option<&'a File>> {
    if file.is_none() {
        *file = scan::open(path)?;
    }
    Ok(file.as_ref())
}
