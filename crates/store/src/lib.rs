//! One SQLite file, opened for production.
//!
//! A [`Store`] has **one writer** with group commit: the closures of concurrent
//! callers run in one transaction, each in a savepoint of its own, and each is
//! answered only after the commit. It also has a pool of **read-only readers** that
//! never wait for the writer, and a [`Watch`] that wakes at commits of any process.
//!
//! ```
//! use monolite_store::{Error, Options, Store};
//!
//! # let dir = tempfile::tempdir().unwrap();
//! let store = Store::open(dir.path().join("app.sqlite3"), Options::new())?;
//! store.write_blocking(|tx| {
//!     tx.execute("CREATE TABLE post (title TEXT NOT NULL) STRICT", [])?;
//!     tx.execute("INSERT INTO post VALUES (?1)", ["Hello"])?;
//!     Ok(())
//! })?;
//! let posts: i64 = store.read_blocking(|conn| {
//!     Ok(conn.query_row("SELECT count(*) FROM post", [], |row| row.get(0))?)
//! })?;
//! assert_eq!(posts, 1);
//! # Ok::<(), Error>(())
//! ```
//!
//! # Guarantees
//! - A write that was answered with `Ok` is committed. At
//!   [`Synchronous::Full`] it survives a crash of the machine as well.
//! - A closure that returns an error or panics leaves nothing behind, and does
//!   not disturb the others in its transaction. The one exception is SQLite's
//!   own: a statement that rolls back the whole transaction
//!   (`ON CONFLICT ROLLBACK`, `RAISE(ROLLBACK)`) fails the callers before it
//!   with [`Error::BatchRolledBack`]; nothing of theirs was kept or answered.
//! - Dropping the future of a write neither loses nor doubles it: before its first
//!   poll it does not run at all, afterwards it runs once.
//! - Every queue is bounded; a full one answers at once ([`Error::QueueFull`]), and
//!   nothing was run.

mod batch;
mod combiner;
mod connection;
mod error;
mod options;
pub mod park;
mod queue;
mod readers;
mod watch;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rusqlite::Connection;

pub use crate::combiner::Combiner;
pub use crate::connection::FileId;
pub use crate::error::{Error, Result};
pub use crate::options::{Options, Synchronous};
pub use crate::watch::Watch;
/// The version of rusqlite whose types appear in this crate's functions.
pub use rusqlite;

use crate::readers::Readers;
use crate::watch::Watches;
use crate::writer::Writer;

/// A handle on one SQLite file; cheap to clone.
///
/// Dropping the last handle closes the file once the queued writes are done.
/// A process that is about to exit calls [`Store::close`] to wait for that.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    path: PathBuf,
    /// The process whose threads and locks these are.
    pid: u32,
    file: Option<FileId>,
    options: Options,
    writer: Writer,
    readers: Readers,
    watches: Watches,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.watches.close();
    }
}

/// Counts since a store was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Writes committed.
    pub writes: u64,
    /// Transactions they were committed in.
    pub transactions: u64,
    /// Writes waiting or running now.
    pub in_flight: usize,
}

impl Store {
    /// Opens the file, creating it if its directory exists, and verifies
    /// every setting.
    ///
    /// # Errors
    /// One error names each of: SQLite older than 3.51.3, a file that is not a
    /// database, a missing or read-only directory, a filesystem without WAL, a
    /// full disk, a setting that did not take. Nothing is damaged by any.
    pub fn open(path: impl AsRef<Path>, options: Options) -> Result<Self> {
        let path = std::path::absolute(path.as_ref()).map_err(|source| Error::Io {
            what: "find the current directory",
            source,
        })?;
        let (commits, _) = tokio::sync::watch::channel(0);
        let writer = Writer::start(&path, &options, commits.clone())?;
        let file = FileId::of(&path);
        let readers = Readers::open(&path, file, &options)?;
        Ok(Self {
            inner: Arc::new(Inner {
                pid: std::process::id(),
                watches: Watches::new(&path, file, &options, commits),
                file,
                options,
                writer,
                readers,
                path,
            }),
        })
    }

    /// The file's path, absolute.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// Runs `closure` in a write transaction and answers after its commit.
    ///
    /// The closure runs once, on the writer's thread, together with those of
    /// other callers; return an error to roll back its part. Keep it short: no
    /// network, no waiting. Use `prepare_cached` for statements that repeat.
    ///
    /// A caller that is alone polls for its answer for up to 150 µs before it
    /// yields: at [`Synchronous::Normal`] a commit is over sooner than that.
    ///
    /// # Errors
    /// The closure's own; [`Error::QueueFull`], [`Error::Busy`],
    /// [`Error::DiskFull`], [`Error::Commit`] and the others of [`Error`]. After
    /// any of them nothing of this write is in the file.
    pub async fn write<T, F>(&self, closure: F) -> Result<T>
    where
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
        T: Send + 'static,
    {
        self.check_process()?;
        let _caller = self.inner.writer.enter();
        let mut answer = self.inner.writer.submit(closure)?;
        let result = match self.inner.writer.spin(&mut answer) {
            Some(result) => result,
            None => answer.await.unwrap_or(Err(Error::Closed)),
        };
        self.classify(result)
    }

    /// As [`Store::write`], blocking this thread. Not for async code.
    ///
    /// # Errors
    /// As [`Store::write`].
    pub fn write_blocking<T, F>(&self, closure: F) -> Result<T>
    where
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
        T: Send + 'static,
    {
        self.check_process()?;
        if self.inner.writer.is_this_thread() {
            return Err(Error::Nested("write"));
        }
        let _caller = self.inner.writer.enter();
        let answer = self.inner.writer.submit(closure)?;
        self.classify(self.inner.writer.wait(answer))
    }

    /// Runs `closure` on a read-only connection, on a thread of the pool.
    ///
    /// Each statement sees the newest commit. For one snapshot over several
    /// statements begin a transaction with `conn.unchecked_transaction()`; it
    /// ends with the closure at the latest.
    ///
    /// # Errors
    /// The closure's own; [`Error::QueueFull`]; SQLite's refusal of any write.
    pub async fn read<T, F>(&self, closure: F) -> Result<T>
    where
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
        T: Send + 'static,
    {
        self.check_process()?;
        self.classify(self.inner.readers.read(closure).await)
    }

    /// As [`Store::read`], but on this thread if a reader is free: for reads
    /// of a few pages that are in memory nearly always, where handing them to
    /// another thread costs more than they do.
    ///
    /// A page that is not in memory blocks this thread for one read of the
    /// disk; use [`Store::read`] for whatever scans.
    ///
    /// # Errors
    /// As [`Store::read`].
    pub async fn read_point<T, F>(&self, closure: F) -> Result<T>
    where
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
        T: Send + 'static,
    {
        self.check_process()?;
        match self.inner.readers.try_read(closure) {
            Ok(result) => self.classify(result),
            Err(closure) => self.classify(self.inner.readers.read(closure).await),
        }
    }

    /// As [`Store::read`], on this thread. Not for async code.
    ///
    /// # Errors
    /// As [`Store::read`].
    pub fn read_blocking<T>(&self, closure: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        self.check_process()?;
        self.classify(self.inner.readers.read_blocking(closure))
    }

    /// A way for many small writes of one kind: those of concurrent callers
    /// are handed to `run` together. See [`Combiner`].
    pub fn combine<I, O, F>(&self, run: F) -> Combiner<I, O>
    where
        F: Fn(&Connection, &[I]) -> Result<Vec<O>> + Send + Sync + 'static,
        I: Send + 'static,
        O: Send + 'static,
    {
        Combiner::new(self.clone(), run)
    }

    /// Watches for commits by this process and by others.
    ///
    /// # Errors
    /// The file cannot be opened once more, or a thread not be started.
    pub fn watch(&self) -> Result<Watch> {
        self.check_process()?;
        self.inner.watches.watch()
    }

    /// Copies the WAL into the database and empties it (a TRUNCATE checkpoint),
    /// on a connection of its own; blocks this thread. False if a reader or
    /// another process kept it from that for as long as `wait`.
    ///
    /// # Errors
    /// Those of opening a connection, and SQLite's.
    pub fn checkpoint_blocking(&self, wait: Duration) -> Result<bool> {
        self.check_process()?;
        let inner = &self.inner;
        self.classify(connection::checkpoint(
            &inner.path,
            inner.file,
            &inner.options,
            wait,
        ))
    }

    /// Counts since the store was opened.
    pub fn stats(&self) -> Stats {
        let counters = &self.inner.writer.counters;
        Stats {
            writes: counters.writes.load(Ordering::Relaxed),
            transactions: counters.transactions.load(Ordering::Relaxed),
            in_flight: self.inner.writer.in_flight(),
        }
    }

    /// Refuses new writes and reads on every handle, waits until the queued
    /// writes are committed and the running reads done, and closes the file.
    pub async fn close(self) {
        self.inner.writer.close();
        let (done, closed) = tokio::sync::oneshot::channel::<()>();
        // Joining a thread blocks: not on the runtime.
        let waiter = std::thread::Builder::new()
            .name("monolite-close".into())
            .spawn(move || {
                self.close_blocking();
                drop(done);
            });
        if waiter.is_ok() {
            let _ = closed.await;
        }
    }

    /// As [`Store::close`], blocking this thread.
    pub fn close_blocking(self) {
        self.inner.writer.close();
        self.inner.watches.join();
        self.inner.readers.close();
        // Last: the writer's connection leaves a checkpointed file behind.
        self.inner.writer.join();
    }

    fn check_process(&self) -> Result<()> {
        if self.inner.pid == std::process::id() {
            return Ok(());
        }
        Err(Error::Forked)
    }

    fn classify<T>(&self, result: Result<T>) -> Result<T> {
        let waited_ms = self.inner.options.busy_timeout.as_millis();
        result.map_err(|error| error.classify(&self.inner.path, waited_ms))
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("path", &self.path()).finish()
    }
}
