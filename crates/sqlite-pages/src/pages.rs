//! One state of a database, page by page.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::ops::ControlFlow;

use monolite_sqlite_format::{lock_page, wal, wal_index};
use rusqlite::{Connection, ffi};

use crate::handle::{self, File, Read};

/// Tries to begin on a state that does not change meanwhile. One needs some
/// microseconds, so that even thousands of commits a second leave room for one.
const TRIES: usize = 1000;
/// Bytes read at a time, about, where pages are read in order.
const CHUNK: u32 = 1 << 20;

/// The pages of `main` as the read transaction sees them that
/// [`begin`](Self::begin) began.
///
/// They are of that transaction alone: as long as pages are read, the connection
/// must not end it, begin another one, or write in it.
///
/// Every error is SQLite's: `SQLITE_BUSY` if no state could be had,
/// `SQLITE_CORRUPT` if the file ends before a page it should have,
/// `SQLITE_MISUSE` if no transaction is open any more, or if the connection locks
/// the database for itself alone (`locking_mode = EXCLUSIVE`).
#[derive(Debug)]
pub struct Pages<C> {
    conn: C,
    page_size: u32,
    pages: u32,
    log: Log,
}

/// What of the state is in the log.
#[derive(Debug, Default)]
struct Log {
    /// The last frame of each page, counted from 0.
    frames: HashMap<u32, u32>,
    /// The salts that the index has while the frames are there; `None` if they
    /// stay in any case.
    salts: Option<[u32; 2]>,
}

impl<C: Borrow<Connection>> Pages<C> {
    /// Begins a read transaction. It stays open until somebody commits it on
    /// the connection, or closes that.
    ///
    /// # Errors
    /// The database cannot be read; a transaction is open already; or others
    /// write so fast that no state stood still for a moment (`SQLITE_BUSY`).
    pub fn begin(conn: C) -> rusqlite::Result<Self> {
        let own: &Connection = conn.borrow();
        if !own.is_autocommit() {
            return Err(error(ffi::SQLITE_MISUSE, "a transaction is open"));
        }
        let number = |name: &str| own.pragma_query_value(None, name, |row| row.get(0));
        let begun =
            begin(own).and_then(|log| Ok((log, number("page_size")?, number("page_count")?)));
        let (log, page_size, pages) = begun.inspect_err(|_| {
            // What was only read ends in any case.
            let _ = own.execute_batch("ROLLBACK");
        })?;
        Ok(Self {
            conn,
            page_size,
            pages,
            log,
        })
    }

    /// The connection, in the transaction.
    pub fn conn(&self) -> &Connection {
        self.conn.borrow()
    }

    /// Bytes of a page.
    #[must_use]
    pub fn page_size(&self) -> u32 {
        self.page_size
    }

    /// Pages of the database; 0 if it is empty.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.pages
    }

    /// Reads one page into `into`, which has [`page_size`](Self::page_size)
    /// bytes. Numbers begin with 1. The page that SQLite never writes reads as
    /// zeros.
    ///
    /// # Errors
    /// There is no such page, or it cannot be read.
    pub fn read(&self, number: u32, into: &mut [u8]) -> rusqlite::Result<()> {
        self.check()?;
        if number == 0 || number > self.pages || into.len() != self.page_size as usize {
            let what = format!("there is no page {number}: the database has {}", self.pages);
            return Err(error(ffi::SQLITE_MISUSE, &what));
        }
        if number == lock_page(self.page_size) {
            into.fill(0);
            return Ok(());
        }
        if self.read_log(number, into)? {
            return Ok(());
        }
        let offset = u64::from(number - 1) * u64::from(self.page_size);
        match handle::read(self.conn(), File::Database, offset, into).map_err(sqlite)? {
            Read::Whole => Ok(()),
            Read::Short => {
                let what = format!("the file ends before page {number} of {}", self.pages);
                Err(error(ffi::SQLITE_CORRUPT, &what))
            }
        }
    }

    /// Calls `each` with the number and the content of every page, in order,
    /// until it breaks. Neighbours are read from the disk at once.
    ///
    /// # Errors
    /// A page cannot be read.
    pub fn each<B>(
        &self,
        mut each: impl FnMut(u32, &[u8]) -> ControlFlow<B>,
    ) -> rusqlite::Result<ControlFlow<B>> {
        self.check()?;
        let size = self.page_size as usize;
        let lock = lock_page(self.page_size);
        let most = (CHUNK / self.page_size).clamp(1, self.pages.max(1));
        let mut chunk = vec![0; most as usize * size];
        let mut first = 1;
        while first <= self.pages {
            let count = most.min(self.pages - first + 1);
            let chunk = &mut chunk[..count as usize * size];
            let offset = u64::from(first - 1) * u64::from(self.page_size);
            let whole = handle::read(self.conn(), File::Database, offset, chunk).map_err(sqlite)?;
            for (number, page) in (first..).zip(chunk.chunks_exact_mut(size)) {
                let is_elsewhere = self.log.frames.contains_key(&number) || number == lock;
                if is_elsewhere || whole == Read::Short {
                    self.read(number, page)?;
                }
                if let ControlFlow::Break(end) = each(number, page) {
                    return Ok(ControlFlow::Break(end));
                }
            }
            first += count;
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Reads a page from the log; `false` if the database has it.
    fn read_log(&self, number: u32, into: &mut [u8]) -> rusqlite::Result<bool> {
        let Some(frame) = self.log.frames.get(&number) else {
            return Ok(false);
        };
        let header = wal::FRAME_HEADER_SIZE as u64;
        let size = header + u64::from(self.page_size);
        let offset = wal::HEADER_SIZE + u64::from(*frame) * size + header;
        let read = handle::read(self.conn(), File::Log, offset, into).map_err(sqlite)?;
        // Only now: see the crate's documentation.
        let is_there = match self.log.salts {
            Some(salts) => handle::salts(self.conn()).map_err(sqlite)? == Some(salts),
            None => true,
        };
        match (is_there, read) {
            (true, Read::Short) => {
                let what = format!("the log ends before its frame {frame}");
                Err(error(ffi::SQLITE_CORRUPT, &what))
            }
            (is_there, _) => Ok(is_there),
        }
    }

    fn check(&self) -> rusqlite::Result<()> {
        match self.conn().is_autocommit() {
            true => Err(error(ffi::SQLITE_MISUSE, "the read transaction has ended")),
            false => Ok(()),
        }
    }
}

/// Begins a read transaction, and says what it sees of the log.
fn begin(conn: &Connection) -> rusqlite::Result<Log> {
    let mut is_wal = false;
    for _ in 0..TRIES {
        // In other modes there is no index, and asking would make one.
        let before = if is_wal { header(conn)? } else { None };
        // BEGIN alone takes no lock; the read of the schema does.
        conn.prepare_cached("BEGIN")?.execute([])?;
        let mut schema = conn.prepare_cached("SELECT 1 FROM main.sqlite_schema LIMIT 1")?;
        let _ = schema.exists([])?;
        is_wal = is_wal_now(conn)?;
        if !is_wal {
            return Ok(Log::default());
        }
        if is_exclusive(conn)? {
            // Its index is its own, and asking for a shared one would make one.
            let what = "the connection locks the database for itself alone (locking_mode)";
            return Err(error(ffi::SQLITE_MISUSE, what));
        }
        match header(conn)? {
            Some(after) if before == Some(after) => return in_index(conn, after),
            None if handle::has_own_index(conn).map_err(sqlite)? => {
                let log = in_file(conn)?;
                // Who writes makes a shared index first: if there is none still,
                // nobody has written meanwhile.
                if handle::has_own_index(conn).map_err(sqlite)? {
                    return Ok(log);
                }
            }
            _ => {}
        }
        conn.prepare_cached("COMMIT")?.execute([])?;
    }
    let what = "others write it so fast that no state of it could be held";
    Err(error(ffi::SQLITE_BUSY, what))
}

fn is_wal_now(conn: &Connection) -> rusqlite::Result<bool> {
    let mut mode = conn.prepare_cached("PRAGMA main.journal_mode")?;
    mode.query_row([], |row| Ok(row.get_ref(0)?.as_str()? == "wal"))
}

fn is_exclusive(conn: &Connection) -> rusqlite::Result<bool> {
    let mut mode = conn.prepare_cached("PRAGMA main.locking_mode")?;
    mode.query_row([], |row| Ok(row.get_ref(0)?.as_str()? == "exclusive"))
}

/// `None`: there is none now, or a writer left it half written; the next
/// transaction repairs that.
fn header(conn: &Connection) -> rusqlite::Result<Option<wal_index::Header>> {
    handle::index_header(conn).map_err(sqlite)
}

/// The frames that the index names.
fn in_index(conn: &Connection, header: wal_index::Header) -> rusqlite::Result<Log> {
    let mut frames = HashMap::new();
    let mut frame = 0;
    let whole = handle::frame_pages(conn, header.frames, |page| {
        frames.insert(page, frame);
        frame += 1;
    });
    let whole = whole.map_err(sqlite)?;
    let is_there = handle::salts(conn).map_err(sqlite)? == Some(header.salts);
    match (is_there, whole) {
        (true, true) => Ok(Log {
            frames,
            salts: Some(header.salts),
        }),
        (true, false) => Err(error(ffi::SQLITE_CORRUPT, "the log's index is cut short")),
        // Reset since: then the database has everything.
        (false, _) => Ok(Log::default()),
    }
}

/// The frames that the log's own checksums prove. This is what SQLite does where
/// it may not write a shared index and nobody else has made one: then nobody
/// writes. Whoever comes while this transaction lasts may append to the log, but
/// neither reset it nor copy it into the database.
fn in_file(conn: &Connection) -> rusqlite::Result<Log> {
    let mut log = Log::default();
    let mut bytes = [0; wal::HEADER_SIZE as usize];
    let read =
        |offset, into: &mut [u8]| handle::read(conn, File::Log, offset, into).map_err(sqlite);
    if read(0, &mut bytes)? == Read::Short {
        return Ok(log);
    }
    let Some(header) = wal::Header::parse(&bytes) else {
        return Ok(log);
    };
    let mut frame = vec![0; header.frame_size()];
    let mut sum = header.sum;
    let mut open = Vec::new();
    for number in 0_u32.. {
        let offset = wal::HEADER_SIZE + u64::from(number) * frame.len() as u64;
        if read(offset, &mut frame)? == Read::Short {
            break;
        }
        let Some((head, next)) = wal::frame(&header, sum, &frame) else {
            break;
        };
        sum = next;
        open.push((head.pgno, number));
        if head.commit != 0 {
            log.frames.extend(open.drain(..));
        }
    }
    Ok(log)
}

fn sqlite(error: ffi::Error) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(error, None)
}

fn error(code: std::ffi::c_int, what: &str) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(ffi::Error::new(code), Some(what.into()))
}
