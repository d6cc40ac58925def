//! The shared file as this side sees it: made, and read with positions that are those of
//! `preload/layout.h`.
//!
//! Invariant: the file is read, never trusted: a process of the app may have died in the middle of
//! an event, or written anything.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const MAGIC: u64 = 0x3156_5244_4556_4952;
const VERSION: u32 = 1;
const DATABASES: usize = 64;
const SLOTS: usize = 64;
const EVENTS: usize = 64;
const HEADER: usize = 256;
const EVENT: usize = 168;
const EVENT_TEXT: usize = 40;
const DATABASE: usize = 256 + 64 * SLOTS;
const DATABASE_PATH: usize = 64;
const SIZE: usize = HEADER + EVENTS * EVENT + DATABASES * DATABASE;

/// A call of `sqlite3_step` that takes longer is a slow statement, in ms.
const SLOW_STATEMENT: u32 = 200;
/// A transaction that wrote, and so kept the others waiting, for longer is slow, in ms.
const SLOW_WRITE: u32 = 500;
/// A transaction that only read and was open for longer keeps the log from being reset, in ms.
const LONG_READ: u32 = 5000;
/// Where it costs no disk.
const MEMORY: &str = "/dev/shm";

/// The shared file of the lane in `dir`: in memory if possible, next to the library otherwise. Ends
/// with no error if there is none.
#[must_use]
pub fn file_of(dir: &Path) -> Option<PathBuf> {
    candidates(dir)
        .into_iter()
        .find(|path| open(path, false).is_ok())
}

fn candidates(dir: &Path) -> [PathBuf; 2] {
    let user = rustix::process::geteuid().as_raw();
    let hash = crate::install::hash(dir.as_os_str().as_bytes());
    [
        Path::new(MEMORY).join(format!("monolite-driver-{user}-{hash:016x}")),
        dir.join("counters"),
    ]
}

/// A file of this user's alone, and a regular one: others may write to the directory.
fn open(path: &Path, create: bool) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(create)
        .truncate(false)
        .mode(0o600)
        .custom_flags(i32::try_from(flags.bits()).unwrap_or_default())
        .open(path)?;
    let metadata = file.metadata()?;
    let is_ours = metadata.uid() == rustix::process::geteuid().as_raw()
        && metadata.mode() & 0o077 == 0
        && metadata.nlink() == 1
        && metadata.is_file();
    match is_ours {
        true => Ok(file),
        false => Err(io::Error::other("it is not this user's alone")),
    }
}

/// Makes the file, with all counters 0.
pub(crate) fn create(dir: &Path) -> io::Result<PathBuf> {
    let [memory, next_to] = candidates(dir);
    let made = |path: &Path| -> io::Result<()> {
        // Not truncated: a process that has it mapped would be killed. A new file, of the same name.
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = open(path, true)?;
        let mut header = vec![0; HEADER];
        header[..8].copy_from_slice(&MAGIC.to_ne_bytes());
        let size = u32::try_from(SIZE).unwrap_or_default();
        for (n, value) in [VERSION, size, SLOW_STATEMENT, SLOW_WRITE, LONG_READ]
            .iter()
            .enumerate()
        {
            header[8 + 4 * n..12 + 4 * n].copy_from_slice(&value.to_ne_bytes());
        }
        // The space is taken now: a full filesystem would kill a process that writes to its map.
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, SIZE as u64).or_else(
            |_| {
                file.write_all_at(&vec![0; SIZE], 0)
                    .map_err(|_| rustix::io::Errno::NOSPC)
            },
        )?;
        file.write_all_at(&header, 0)
    };
    if Path::new(MEMORY).is_dir() && made(&memory).is_ok() {
        return Ok(memory);
    }
    made(&next_to).map(|()| next_to)
}

/// What the app's processes have counted since the lane was installed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counted {
    /// Times that a connection waited for a lock of SQLite's.
    pub waits: u64,
    /// All of these together.
    pub waited: Duration,
    /// The longest of them.
    pub longest_wait: Duration,
    /// Waits that ended at the connection's busy timeout: the app saw `database is locked`.
    pub timeouts: u64,
    /// Transactions that were begun `IMMEDIATE` for the app (prepared statements count once).
    pub begins: u64,
    /// … and then deferred, since the connection may not write.
    pub deferred: u64,
    /// Statements of which one step took 200 ms or longer, waits not counted.
    pub slow_statements: u64,
    /// The longest of them.
    pub longest_statement: Duration,
    /// Transactions that wrote and were open for 500 ms or longer.
    pub slow_writes: u64,
    /// The longest of them.
    pub longest_write: Duration,
    /// Transactions that only read and were open for 5 s or longer.
    pub long_reads: u64,
    /// The longest of them.
    pub longest_read: Duration,
    /// Copies of SQLite in processes that the library works with.
    pub bound: u64,
    /// … and that it leaves alone, since functions are missing in them.
    pub unbound: u64,
    /// Per database that was waited for or written, in no order.
    pub databases: Vec<Database>,
    /// The last ones, oldest first; at most 64.
    pub events: Vec<Event>,
}

/// A database that the app's processes use.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Database {
    /// As SQLite has it, cut at 191 bytes.
    pub path: PathBuf,
    /// Times that its lock was waited for.
    pub waits: u64,
    /// All of these together.
    pub waited: Duration,
    /// The process that has a write transaction open, and for how long, if the lane has seen it
    /// begin. One that has died is named until the next write.
    pub writer: Option<(u32, Duration)>,
}

/// Something that took long.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// When it ended.
    pub at: SystemTime,
    /// What it was.
    pub kind: EventKind,
    /// How long it took.
    pub took: Duration,
    /// In which process.
    pub pid: u32,
    /// For waits: the process that had the lock when it began, if that is known.
    pub holder: Option<u32>,
    /// The database, if it has a file.
    pub database: Option<PathBuf>,
    /// The statement, cut at 127 bytes, without its parameters.
    pub text: String,
}

/// What an event is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventKind {
    /// A wait of 100 ms or longer that ended with the lock.
    Wait,
    /// A wait that ended at the busy timeout.
    Timeout,
    /// A slow statement.
    SlowStatement,
    /// A long transaction that wrote.
    SlowWrite,
    /// A long transaction that only read.
    LongRead,
}

impl EventKind {
    fn of(number: u32) -> Option<Self> {
        Some(match number {
            1 => Self::Wait,
            2 => Self::Timeout,
            3 => Self::SlowStatement,
            4 => Self::SlowWrite,
            5 => Self::LongRead,
            _ => return None,
        })
    }
}

/// The shared file, open for reading.
#[derive(Debug)]
pub struct Counters(File);

impl Counters {
    /// Opens the file that [`file_of`] finds.
    ///
    /// # Errors
    /// It cannot be read, is another user's, or is of another version.
    pub fn open(path: &Path) -> io::Result<Self> {
        let counters = Self(open(path, false)?);
        let mut head = [0; 16];
        counters.0.read_exact_at(&mut head, 0)?;
        let size = u32::try_from(SIZE).unwrap_or_default();
        let is_right =
            number(&head, 0) == MAGIC && half(&head, 8) == VERSION && half(&head, 12) == size;
        match is_right {
            true => Ok(counters),
            false => Err(io::Error::other("it is of another version of monolite")),
        }
    }

    /// The state of now. What is being written meanwhile is left out.
    #[must_use]
    pub fn read(&self) -> Counted {
        let mut bytes = vec![0; SIZE];
        if self.0.read_exact_at(&mut bytes, 0).is_err() {
            return Counted::default();
        }
        parse(&bytes)
    }
}

fn number(bytes: &[u8], at: usize) -> u64 {
    let part = bytes.get(at..at + 8).and_then(|part| part.try_into().ok());
    part.map_or(0, u64::from_ne_bytes)
}

fn half(bytes: &[u8], at: usize) -> u32 {
    let part = bytes.get(at..at + 4).and_then(|part| part.try_into().ok());
    part.map_or(0, u32::from_ne_bytes)
}

fn text(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// Milliseconds of the same clock as in C.
fn now_ms() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    u64::try_from(now.tv_sec * 1000 + now.tv_nsec / 1_000_000).unwrap_or_default()
}

fn parse(bytes: &[u8]) -> Counted {
    // crowded_until_ms is at 32.
    let field = |n: usize| number(bytes, 40 + 8 * n);
    let us = |n: usize| Duration::from_micros(field(n));
    let now = now_ms();
    let at = |index: usize| {
        let start = HEADER + EVENTS * EVENT + index * DATABASE;
        bytes
            .get(start..start + DATABASE)
            .filter(|of| number(of, 0) != 0)
    };
    let path =
        |of: &[u8]| PathBuf::from(std::ffi::OsStr::from_bytes(text(&of[DATABASE_PATH..256])));
    let databases = (0..DATABASES).filter_map(at).map(|of| {
        let (holder, since) = (number(of, 16), number(of, 24));
        let pid = u32::try_from(holder >> 32).unwrap_or_default();
        Database {
            path: path(of),
            waits: number(of, 32),
            waited: Duration::from_micros(number(of, 40)),
            writer: (pid != 0).then(|| (pid, Duration::from_millis(now.saturating_sub(since)))),
        }
    });
    let mut events: Vec<(u64, Event)> = (0..EVENTS)
        .filter_map(|n| {
            let of = &bytes[HEADER + n * EVENT..HEADER + (n + 1) * EVENT];
            let sequence = number(of, 0);
            if sequence == 0 || sequence % 2 == 1 {
                return None;
            }
            let index = half(of, 36) as usize;
            let event = Event {
                at: UNIX_EPOCH + Duration::from_millis(number(of, 8)),
                kind: EventKind::of(half(of, 24))?,
                took: Duration::from_micros(number(of, 16)),
                pid: half(of, 28),
                holder: Some(half(of, 32)).filter(|pid| *pid != 0),
                database: (index < DATABASES).then(|| at(index).map(path)).flatten(),
                text: String::from_utf8_lossy(text(&of[EVENT_TEXT..])).into_owned(),
            };
            Some((sequence, event))
        })
        .collect();
    events.sort_by_key(|(sequence, _)| *sequence);
    Counted {
        waits: field(0),
        waited: us(1),
        longest_wait: us(2),
        timeouts: field(3),
        begins: field(4),
        deferred: field(5),
        slow_statements: field(6),
        longest_statement: us(7),
        slow_writes: field(8),
        longest_write: us(9),
        long_reads: field(10),
        longest_read: us(11),
        bound: field(12),
        unbound: field(13),
        databases: databases.collect(),
        events: events.into_iter().map(|(_, event)| event).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_noise_is_read_without_a_panic() {
        let mut state = 1_u64;
        for _ in 0..20 {
            let noise = (0..SIZE).map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                (state >> 33) as u8
            });
            let counted = parse(&noise.collect::<Vec<_>>());
            assert!(counted.events.len() <= EVENTS && counted.databases.len() <= DATABASES);
        }
        assert_eq!(parse(&[0; SIZE]), Counted::default());
    }

    #[test]
    fn another_version_and_another_users_file_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = create(dir.path()).unwrap();
        assert_eq!(Counters::open(&path).unwrap().read(), Counted::default());
        assert_eq!(file_of(dir.path()), Some(path.clone()));
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .write_all_at(&[9], 8)
            .unwrap();
        assert!(Counters::open(&path).is_err());
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/dev/null", &path).unwrap();
        assert!(Counters::open(&path).is_err());
        std::fs::remove_file(path).unwrap();
    }
}
