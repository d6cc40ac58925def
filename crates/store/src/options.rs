//! The settings of a store.

use std::time::Duration;

/// When SQLite waits for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Synchronous {
    /// The disk is never waited for. A crash of the process loses nothing; a
    /// crash of the machine may corrupt the file. For data that can be computed
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
/// let options = Options::new().synchronous(Synchronous::Full).readers(4);
/// # let _ = options;
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct Options {
    pub(crate) synchronous: Synchronous,
    pub(crate) busy_timeout: Duration,
    pub(crate) foreign_keys: bool,
    pub(crate) mmap_bytes: u64,
    pub(crate) journal_size_limit_bytes: u64,
    pub(crate) page_bytes: u32,
    pub(crate) incremental_vacuum: bool,
    pub(crate) cache_bytes: u64,
    pub(crate) readers: usize,
    pub(crate) write_queue: usize,
    pub(crate) read_queue: usize,
    pub(crate) batch_max: usize,
    pub(crate) batch_time: Duration,
    pub(crate) optimize_every: Option<Duration>,
    pub(crate) vfs: Option<String>,
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

impl Options {
    /// The defaults, each named at its setter.
    pub fn new() -> Self {
        Self::default()
    }

    /// When a commit waits for the disk. Default [`Synchronous::Normal`].
    pub fn synchronous(mut self, synchronous: Synchronous) -> Self {
        self.synchronous = synchronous;
        self
    }

    /// How long a write waits for another *process* to release the write lock.
    /// Default 5 s. (Writers of this process queue and never meet it.)
    pub fn busy_timeout(mut self, timeout: Duration) -> Self {
        self.busy_timeout = timeout;
        self
    }

    /// Whether foreign keys are enforced. Default true.
    pub fn foreign_keys(mut self, enforce: bool) -> Self {
        self.foreign_keys = enforce;
        self
    }

    /// Bytes of the file read through memory mapping. Default 128 MiB; 0 turns
    /// it off. SQLite's own limit is just under 2 GiB.
    pub fn mmap_bytes(mut self, bytes: u64) -> Self {
        self.mmap_bytes = bytes;
        self
    }

    /// Bytes that the WAL file is cut back to after it was reset. Default
    /// 64 MiB.
    pub fn journal_size_limit_bytes(mut self, bytes: u64) -> Self {
        self.journal_size_limit_bytes = bytes;
        self
    }

    /// Bytes of a page, a power of two from 512 to 65,536, for a file that this
    /// opening creates; an existing one keeps its own. Default 4,096.
    pub fn page_bytes(mut self, bytes: u32) -> Self {
        self.page_bytes = bytes;
        self
    }

    /// Lets `PRAGMA incremental_vacuum` return free pages to the filesystem, for
    /// a file that this opening creates. Default false.
    pub fn incremental_vacuum(mut self, allow: bool) -> Self {
        self.incremental_vacuum = allow;
        self
    }

    /// Page cache of each connection, in bytes, taken as needed. Default 8 MiB.
    pub fn cache_bytes(mut self, bytes: u64) -> Self {
        self.cache_bytes = bytes;
        self
    }

    /// Read-only connections. Default: one per core, at least 2, at most 8.
    pub fn readers(mut self, readers: usize) -> Self {
        self.readers = readers;
        self
    }

    /// Writes that may wait or run at once; one more is answered with
    /// [`Error::QueueFull`](crate::Error::QueueFull) at once. Default 4,096.
    pub fn write_queue(mut self, writes: usize) -> Self {
        self.write_queue = writes;
        self
    }

    /// Reads that may wait for a free reader; as [`Options::write_queue`].
    /// Default 4,096.
    pub fn read_queue(mut self, reads: usize) -> Self {
        self.read_queue = reads;
        self
    }

    /// Most writes put into one transaction. Default 1,024.
    pub fn batch_max(mut self, writes: usize) -> Self {
        self.batch_max = writes;
        self
    }

    /// A transaction takes no further writes once it has run this long, so that
    /// other processes can write in between. Default 5 ms.
    pub fn batch_time(mut self, time: Duration) -> Self {
        self.batch_time = time;
        self
    }

    /// Run `PRAGMA optimize` when opening, when closing, and after this much
    /// time with writes in between. Default 1 h; `None` turns it off.
    pub fn optimize_every(mut self, every: Option<Duration>) -> Self {
        self.optimize_every = every;
        self
    }

    /// Name of the SQLite VFS to open with. Default: the platform's.
    pub fn vfs(mut self, name: impl Into<String>) -> Self {
        self.vfs = Some(name.into());
        self
    }
}
