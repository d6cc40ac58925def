//! How a store is opened.

use std::time::Duration;

/// When SQLite waits for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Synchronous {
    /// The disk is never waited for. A crash of the process loses nothing; a
    /// crash of the machine may corrupt the file. For data that can be made
    /// again, such as a cache.
    Off,
    /// The disk is waited for at checkpoints only. A crash of the process
    /// loses nothing; a crash of the machine may lose the last commits, and
    /// never corrupts.
    #[default]
    Normal,
    /// Every commit waits for the disk. An answered write survives a crash of
    /// the machine.
    Full,
}

impl Synchronous {
    /// The number SQLite uses for it.
    pub(crate) fn level(self) -> i64 {
        match self {
            Self::Off => 0,
            Self::Normal => 1,
            Self::Full => 2,
        }
    }
}

/// The settings of one store; every one is verified after opening.
///
/// ```
/// use monolite_store::{Options, Synchronous};
/// let options = Options {
///     synchronous: Synchronous::Full,
///     readers: 4,
///     ..Options::default()
/// };
/// # let _ = options;
/// ```
#[derive(Debug, Clone)]
pub struct Options {
    /// Default [`Synchronous::Normal`].
    pub synchronous: Synchronous,
    /// How long a write waits for another *process* to release the write
    /// lock. Default 5 s. (Writers of this process queue and never meet it.)
    pub busy_timeout: Duration,
    /// Enforce foreign keys. Default true.
    pub foreign_keys: bool,
    /// Bytes of the file read through memory mapping. Default 128 MiB;
    /// 0 turns it off. SQLite's own limit is just under 2 GiB.
    pub mmap_bytes: u64,
    /// Bytes the WAL file is cut back to after it was reset. Default 64 MiB.
    pub journal_size_limit_bytes: u64,
    /// Bytes of a page, a power of two from 512 to 65,536, for a file that is
    /// made by this opening; one that exists keeps its own. Default 4,096.
    pub page_bytes: u32,
    /// Lets `PRAGMA incremental_vacuum` give free pages back to the disk, for
    /// a file that is made by this opening. Default false.
    pub incremental_vacuum: bool,
    /// Page cache of each connection, in bytes, taken as needed. Default 8 MiB.
    pub cache_bytes: u64,
    /// Read-only connections. Default: one per core, at least 2, at most 8.
    pub readers: usize,
    /// Writes that may wait or run at once; one more is answered with
    /// [`Error::QueueFull`](crate::Error::QueueFull) at once. Default 4,096.
    pub write_queue: usize,
    /// Reads that may wait for a free reader, likewise. Default 4,096.
    pub read_queue: usize,
    /// Most writes put into one transaction. Default 1,024.
    pub batch_max: usize,
    /// A transaction takes no further writes once it has run this long, so
    /// that other processes get their turn. Default 5 ms.
    pub batch_time: Duration,
    /// Run `PRAGMA optimize` when opening, when closing and after this much
    /// time with writes in between. Default 1 h; `None` turns it off.
    pub optimize_every: Option<Duration>,
    /// Name of the SQLite VFS to open with; `None` is the platform's default.
    pub vfs: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        Self {
            synchronous: Synchronous::default(),
            busy_timeout: Duration::from_secs(5),
            foreign_keys: true,
            mmap_bytes: 128 << 20,
            journal_size_limit_bytes: 64 << 20,
            page_bytes: 4096,
            incremental_vacuum: false,
            cache_bytes: 8 << 20,
            readers: cores.clamp(2, 8),
            write_queue: 4096,
            read_queue: 4096,
            batch_max: 1024,
            batch_time: Duration::from_millis(5),
            optimize_every: Some(Duration::from_secs(3600)),
            vfs: None,
        }
    }
}
