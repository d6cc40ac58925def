//! Has a log begun anew while it is followed.
//!
//! The pin keeps the app's own checkpoints from ever being complete, as each
//! runs just after a commit that the pin does not cover yet. So once the log is
//! as long as SQLite's own limit, [`Tail::checkpoint`] copies what it can
//! without any lock, and the next slide finds mark 0. Under constant writes
//! that never happens between two commits; then it asks for a `RESTART`, which
//! holds the write lock and calls back while our pin is in the way: there it
//! slides. It is given up after a few milliseconds, for a reader of the app may
//! be in the way as well, and writers wait.
//!
//! An app whose log is longer than its limit tries a checkpoint at each commit.
//! With the pin on a higher mark that is cheap, once the log is copied up to it.
//! With the pin on mark 0 each try sorts thousands of frames, in vain: most of
//! the time of an app that commits ten thousand times a second. So after a
//! reset the next slide is to come soon ([`Tail::is_reset`]). And while the log
//! grows fast, copying is left to the app, which would be faster in any case.

use std::cell::RefCell;
use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::{Slide, Tail};
use crate::error::{Error, Result};
use crate::wal::pin::connect;

/// Frames after which writers may be made to wait for it …
const TOO_LONG_FRAMES: u64 = 4000;
/// … or bytes, while the log grows fast: so that they wait seldom.
const TOO_LONG_BYTES: u64 = 24 << 20;
/// For a checkpoint of somebody else to end, in one look.
const ELSEWHERE: Duration = Duration::from_millis(60);
/// Between two looks whether it has.
const ELSEWHERE_PAUSE: Duration = Duration::from_micros(50);
/// It may be one that waits for our pin, with all writers behind it.
const ELSEWHERE_SLIDE: Duration = Duration::from_millis(10);
/// How long writers wait at most for anybody who is in the way.
const LONGEST_WAIT: Duration = Duration::from_millis(6);
/// For all of them, and what SQLite does in between.
const LONGEST_IN_ALL: Duration = Duration::from_millis(15);
/// Between two slides while SQLite waits.
const SLIDE_PAUSE: Duration = Duration::from_micros(300);
/// More than this between two calls: SQLite did something meanwhile.
const STEP: Duration = Duration::from_millis(1);
/// A log file of this size is cut when it is reset.
const LARGE_FILE: u64 = 128 << 20;

impl Tail {
    /// Has the log reset if it is long. Returns how the slides meanwhile went,
    /// or `None` if nothing was to be done. `may_hold`: writers may be made to
    /// wait for it.
    ///
    /// # Errors
    /// The database cannot be opened, or its disk refuses.
    pub(crate) fn checkpoint(mut self, may_hold: bool) -> (Self, Result<Option<Slide>>) {
        if !self.is_long() {
            return (self, Ok(None));
        }
        let checkpointer = match self
            .checkpointer
            .take()
            .map_or_else(|| checkpointer(&self.path), Ok)
        {
            Ok(conn) => conn,
            Err(error) => return (self, Err(error)),
        };
        let until = Instant::now() + ELSEWHERE;
        let too_long = self.frames() >= self.too_long();
        let mut result = match self.fast && !too_long {
            true => Ok(Slide::Nothing),
            false => self.copy(&checkpointer, until),
        };
        if may_hold && too_long && !self.ready && result.is_ok() {
            let (tail, slide) = restart(self, &checkpointer, until);
            self = tail;
            result = result.and_then(|before| Ok(before.worse(slide?)));
        }
        self.checkpointer = Some(checkpointer);
        (self, result.map(Some))
    }

    /// Copies into the database what may be, and slides. No lock that anybody
    /// waits for is held, and it does nearly all of the work.
    fn copy(&mut self, checkpointer: &Connection, until: Instant) -> Result<Slide> {
        let mut before = Slide::Nothing;
        let asked = alone(
            until,
            || ask(checkpointer, "PASSIVE"),
            || {
                before = before.worse(self.slide()?);
                Ok(())
            },
        );
        let copied = asked.map_err(|error| error.at(&self.path))?;
        let slide = self.slide()?;
        self.ready = copied == Copied::All && slide == Slide::Nothing;
        if self.ready && large(&self.wal) {
            // Nobody waits for anybody: it is done now, or another time.
            let _ = ask(checkpointer, "TRUNCATE");
        }
        Ok(before.worse(slide))
    }

    /// Frames after which writers may be made to wait.
    fn too_long(&self) -> u64 {
        match self.position {
            Some(position) if self.fast => {
                (TOO_LONG_BYTES / position.frame_size()).max(TOO_LONG_FRAMES)
            }
            _ => TOO_LONG_FRAMES,
        }
    }
}

/// What the busy handler works on: SQLite's own callback takes no more than a
/// plain function here, and runs on the thread that asked for the checkpoint.
struct Waiting {
    tail: Tail,
    /// When SQLite began to wait for what it waits for now.
    since: Option<Instant>,
    first: Option<Instant>,
    called: Instant,
    slid: Option<Instant>,
    slide: Result<Slide>,
}

thread_local! {
    static WAITING: RefCell<Option<Waiting>> = const { RefCell::new(None) };
}

/// Asks for a reset of the log, sliding while SQLite waits for our pin.
///
/// The handler is called while the write lock is waited for as well as when it
/// is held. A slide is right in both, so they need not be told apart.
fn restart(tail: Tail, conn: &Connection, until: Instant) -> (Tail, Result<Slide>) {
    let mode = if large(&tail.wal) {
        "TRUNCATE"
    } else {
        "RESTART"
    };
    let path = tail.path.clone();
    let waiting = Waiting {
        tail,
        since: None,
        first: None,
        called: Instant::now(),
        slid: None,
        slide: Ok(Slide::Nothing),
    };
    WAITING.set(Some(waiting));
    let done = conn
        .busy_handler(Some(slide_and_wait))
        .map_err(Failed::Sqlite)
        .and_then(|()| alone(until, || ask(conn, mode), slide_waiting))
        .and_then(|copied| {
            conn.busy_timeout(Duration::ZERO).map_err(Failed::Sqlite)?;
            Ok(copied)
        });
    #[allow(clippy::expect_used, reason = "put there above, by this thread")]
    let Waiting {
        mut tail,
        mut slide,
        ..
    } = WAITING.take().expect("what waits");
    if slide.is_ok() {
        slide = done.map_err(|error| error.at(&path)).and_then(|copied| {
            let last = tail.slide()?;
            // The log is begun anew by who writes next.
            tail.ready = copied == Copied::All && last == Slide::Nothing;
            Ok(slide?.worse(last))
        });
    }
    (tail, slide)
}

/// A slide of what waits.
fn slide_waiting() -> Result<()> {
    WAITING.with_borrow_mut(|waiting| {
        let Some(waiting) = waiting else {
            return Ok(());
        };
        let before = std::mem::replace(&mut waiting.slide, Ok(Slide::Nothing));
        waiting.slide = Ok(before?.worse(waiting.tail.slide()?));
        Ok(())
    })
}

/// Whether SQLite shall try again.
fn slide_and_wait(_: i32) -> bool {
    WAITING.with_borrow_mut(|waiting| waiting.as_mut().is_some_and(Waiting::goes_on))
}

impl Waiting {
    fn goes_on(&mut self) -> bool {
        let now = Instant::now();
        if now - self.called > STEP {
            // It got what it waited for, and worked: this is something else.
            self.since = None;
            self.slid = None;
        }
        let since = *self.since.get_or_insert(now);
        let again = if self.slid.is_none_or(|slid| now - slid > SLIDE_PAUSE) {
            let before = std::mem::replace(&mut self.slide, Ok(Slide::Nothing));
            self.slide = before.and_then(|before| Ok(before.worse(self.tail.slide()?)));
            self.slid = Some(Instant::now());
            self.slide.is_ok()
        } else {
            // Hot writers leave the lock free for microseconds only.
            std::hint::spin_loop();
            true
        };
        self.called = Instant::now();
        let first = *self.first.get_or_insert(now);
        again && now - since < LONGEST_WAIT && now - first < LONGEST_IN_ALL
    }
}

fn large(wal: &Path) -> bool {
    std::fs::metadata(wal).is_ok_and(|file| file.len() > LARGE_FILE)
}

/// A connection that waits for nobody, unless told to.
fn checkpointer(path: &Path) -> Result<Connection> {
    let conn = connect(path)?;
    conn.busy_timeout(Duration::ZERO)
        .map_err(|error| Error::database(path, error))?;
    Ok(conn)
}

/// What came of a checkpoint.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Copied {
    /// All of the log is in the database.
    All,
    Some,
    /// Somebody else makes one.
    Elsewhere,
}

/// Why there was none.
enum Failed {
    Sqlite(rusqlite::Error),
    Slide(Error),
}

impl Failed {
    fn at(self, path: &Path) -> Error {
        match self {
            Self::Sqlite(error) => Error::database(path, error),
            Self::Slide(error) => error,
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

/// Asks until nobody else makes a checkpoint, or it is `until`: an app whose log
/// is long tries one at each commit.
fn alone(
    until: Instant,
    ask: impl Fn() -> rusqlite::Result<Copied>,
    mut slide: impl FnMut() -> Result<()>,
) -> Result<Copied, Failed> {
    let mut slid = Instant::now();
    loop {
        let copied = ask().map_err(Failed::Sqlite)?;
        if copied != Copied::Elsewhere || Instant::now() >= until {
            return Ok(copied);
        }
        if slid.elapsed() >= ELSEWHERE_SLIDE {
            slide().map_err(Failed::Slide)?;
            slid = Instant::now();
        }
        std::thread::sleep(ELSEWHERE_PAUSE);
    }
}
