//! Has the log reset while it is followed.
//!
//! Our read transaction keeps the app's own checkpoints from ever being
//! complete, as each runs just after a commit that the transaction does not
//! cover yet. So once the log is as long as SQLite's own limit, [`checkpoint`]
//! copies what it can without any lock, and the next read transaction gets
//! mark 0. Under constant writes there is never time for that between two
//! commits; then [`checkpoint`] asks for a `RESTART`, which holds the write lock
//! and calls back while our read transaction is in its way: in that callback the
//! reader advances. It is given up after a few milliseconds, since a reader of
//! the app may be in the way as well, and writers wait.
//!
//! An app whose log is longer than its limit tries a checkpoint at each commit.
//! While our read transaction has a higher mark that is cheap, once the log is
//! copied up to it. While it has mark 0, each try sorts thousands of frames in
//! vain, which is most of the time of an app that commits ten thousand times a
//! second. So after a reset the next advance is to come soon
//! ([`WalReader::is_resettable`]). And while the log grows fast, copying is left
//! to the app, which would be faster in any case.

use std::cell::RefCell;
use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::{Advance, WalReader};
use crate::error::{Error, Result};
use crate::wal::read_lock::connect;

/// Writers may be made to wait for the reset of a log of so many frames.
const TOO_LONG_FRAMES: u64 = 4000;
/// The same in bytes, of a log that grows fast, so that writers wait seldom.
const TOO_LONG_BYTES: u64 = 24 << 20;
/// How long to wait for another process's checkpoint to end.
const ELSEWHERE_MAX: Duration = Duration::from_millis(60);
/// The pause between two tries meanwhile.
const ELSEWHERE_PAUSE: Duration = Duration::from_micros(50);
/// The pause between two advances meanwhile: that checkpoint may wait for our
/// read transaction, with all writers behind it.
const ELSEWHERE_ADVANCE: Duration = Duration::from_millis(10);
/// How long writers wait at most for one reader that is in the way.
const ONE_READER_MAX: Duration = Duration::from_millis(6);
/// How long they wait at most for all readers, and for what SQLite does in
/// between.
const ALL_READERS_MAX: Duration = Duration::from_millis(15);
/// The pause between two advances while SQLite waits.
const ADVANCE_PAUSE: Duration = Duration::from_micros(300);
/// After more than this between two calls of the busy handler, SQLite got what
/// it waited for and waits for something else.
const SAME_WAIT: Duration = Duration::from_millis(1);
/// A log file of more bytes is cut to length 0 when it is reset.
const LARGE_FILE: u64 = 128 << 20;

/// Has the log reset if it is long. Returns what was read meanwhile, or `None`
/// if there was nothing to do. `may_block`: writers may be made to wait for it.
///
/// # Errors
/// The database cannot be opened, or its disk refuses.
pub(crate) fn checkpoint(
    mut reader: WalReader,
    may_block: bool,
) -> (WalReader, Result<Option<Advance>>) {
    if !reader.is_long() {
        return (reader, Ok(None));
    }
    let opened = match reader.checkpointer.take() {
        Some(conn) => Ok(conn),
        None => checkpointer(&reader.path),
    };
    let mut conn = match opened {
        Ok(conn) => conn,
        Err(error) => return (reader, Err(error)),
    };
    let until = Instant::now() + ELSEWHERE_MAX;
    let too_long = reader.frames() >= too_long_frames(&reader);
    let mut result = match reader.fast && !too_long {
        true => Ok(Advance::Nothing),
        false => copy(&mut reader, &conn, until),
    };
    if may_block && too_long && !reader.resettable && result.is_ok() {
        let (back, advance) = restart(reader, &mut conn, until);
        reader = back;
        result = result.and_then(|before| Ok(before.and(advance?)));
    }
    reader.checkpointer = Some(conn);
    (reader, result.map(Some))
}

/// Copies into the database what may be copied, and advances. It holds no lock
/// that anybody waits for, and does nearly all of the work.
fn copy(reader: &mut WalReader, conn: &Connection, until: Instant) -> Result<Advance> {
    let mut before = Advance::Nothing;
    let asked = when_alone(
        until,
        || ask(conn, "PASSIVE"),
        || {
            before = before.and(reader.advance()?);
            Ok(())
        },
    );
    let copied = asked.map_err(|error| error.at(&reader.path))?;
    let advance = reader.advance()?;
    reader.resettable = copied == Copied::All && advance == Advance::Nothing;
    if reader.resettable && is_large(&reader.wal) {
        // Without waiting for anybody: it succeeds now, or another time.
        let _ = ask(conn, "TRUNCATE");
    }
    Ok(before.and(advance))
}

/// Frames after which writers may be made to wait.
fn too_long_frames(reader: &WalReader) -> u64 {
    match reader.position {
        Some(position) if reader.fast => {
            (TOO_LONG_BYTES / position.frame_size()).max(TOO_LONG_FRAMES)
        }
        _ => TOO_LONG_FRAMES,
    }
}

/// What the busy handler works on: SQLite's own callback takes no more than a
/// plain function here, and runs on the thread that asked for the checkpoint.
struct Waiting {
    reader: WalReader,
    /// When SQLite began to wait for what it waits for now.
    since: Option<Instant>,
    first: Option<Instant>,
    called: Instant,
    advanced: Option<Instant>,
    result: Result<Advance>,
}

thread_local! {
    static WAITING: RefCell<Option<Waiting>> = const { RefCell::new(None) };
}

/// Asks for a reset of the log, and advances while SQLite waits for our read
/// transaction.
///
/// The busy handler is called while SQLite waits for the write lock, as well as
/// while it holds it and waits for readers. To advance is right in both cases.
fn restart(
    reader: WalReader,
    conn: &mut Connection,
    until: Instant,
) -> (WalReader, Result<Advance>) {
    let mode = if is_large(&reader.wal) {
        "TRUNCATE"
    } else {
        "RESTART"
    };
    let path = reader.path.clone();
    let waiting = Waiting {
        reader,
        since: None,
        first: None,
        called: Instant::now(),
        advanced: None,
        result: Ok(Advance::Nothing),
    };
    WAITING.set(Some(waiting));
    let done = conn
        .busy_handler(Some(advance_and_wait))
        .map_err(Failed::Sqlite)
        .and_then(|()| when_alone(until, || ask(conn, mode), advance_waiting))
        .and_then(|copied| {
            conn.busy_timeout(Duration::ZERO).map_err(Failed::Sqlite)?;
            Ok(copied)
        });
    #[allow(clippy::expect_used, reason = "put there above, by this thread")]
    let Waiting {
        mut reader,
        mut result,
        ..
    } = WAITING.take().expect("put there by this thread");
    if result.is_ok() {
        result = done.map_err(|error| error.at(&path)).and_then(|copied| {
            let last = reader.advance()?;
            // The next writer resets the log.
            reader.resettable = copied == Copied::All && last == Advance::Nothing;
            Ok(result?.and(last))
        });
    }
    (reader, result)
}

/// Advances the reader that waits.
fn advance_waiting() -> Result<()> {
    WAITING.with_borrow_mut(|waiting| {
        let Some(waiting) = waiting else {
            return Ok(());
        };
        let before = std::mem::replace(&mut waiting.result, Ok(Advance::Nothing));
        waiting.result = Ok(before?.and(waiting.reader.advance()?));
        Ok(())
    })
}

/// SQLite's busy handler: whether SQLite is to try again.
fn advance_and_wait(_: i32) -> bool {
    WAITING.with_borrow_mut(|waiting| waiting.as_mut().is_some_and(Waiting::goes_on))
}

impl Waiting {
    fn goes_on(&mut self) -> bool {
        let now = Instant::now();
        if now - self.called > SAME_WAIT {
            self.since = None;
            self.advanced = None;
        }
        let since = *self.since.get_or_insert(now);
        let again = if self.advanced.is_none_or(|at| now - at > ADVANCE_PAUSE) {
            let before = std::mem::replace(&mut self.result, Ok(Advance::Nothing));
            self.result = before.and_then(|before| Ok(before.and(self.reader.advance()?)));
            self.advanced = Some(Instant::now());
            self.result.is_ok()
        } else {
            // Busy writers leave the lock free for microseconds only.
            std::hint::spin_loop();
            true
        };
        self.called = Instant::now();
        let first = *self.first.get_or_insert(now);
        again && now - since < ONE_READER_MAX && now - first < ALL_READERS_MAX
    }
}

fn is_large(wal: &Path) -> bool {
    std::fs::metadata(wal).is_ok_and(|file| file.len() > LARGE_FILE)
}

/// A connection that waits for nobody, until it gets a busy handler.
fn checkpointer(path: &Path) -> Result<Connection> {
    let conn = connect(path)?;
    conn.busy_timeout(Duration::ZERO)
        .map_err(|error| Error::database(path, error))?;
    Ok(conn)
}

/// The result of a checkpoint.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Copied {
    /// All of the log is in the database.
    All,
    Some,
    /// Another process runs one.
    Elsewhere,
}

/// Why there was no checkpoint.
enum Failed {
    Sqlite(rusqlite::Error),
    Advance(Error),
}

impl Failed {
    fn at(self, path: &Path) -> Error {
        match self {
            Self::Sqlite(error) => Error::database(path, error),
            Self::Advance(error) => error,
        }
    }
}

fn ask(conn: &Connection, mode: &str) -> rusqlite::Result<Copied> {
    let mut pragma = conn.prepare_cached(&format!("PRAGMA wal_checkpoint({mode})"))?;
    pragma.query_row([], |row| {
        let (busy, frames, done): (bool, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok(match busy {
            true if frames < 0 => Copied::Elsewhere,
            false if frames == done => Copied::All,
            _ => Copied::Some,
        })
    })
}

/// Asks until no other process runs a checkpoint, or it is `until`: an app whose
/// log is long tries one at each commit.
fn when_alone(
    until: Instant,
    ask: impl Fn() -> rusqlite::Result<Copied>,
    mut advance: impl FnMut() -> Result<()>,
) -> Result<Copied, Failed> {
    let mut advanced = Instant::now();
    loop {
        let copied = ask().map_err(Failed::Sqlite)?;
        if copied != Copied::Elsewhere || Instant::now() >= until {
            return Ok(copied);
        }
        if advanced.elapsed() >= ELSEWHERE_ADVANCE {
            advance().map_err(Failed::Advance)?;
            advanced = Instant::now();
        }
        std::thread::sleep(ELSEWHERE_PAUSE);
    }
}
