//! Reads one database: its log while it has one. What was committed is added to
//! the pending changes of every destination.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rusqlite::{Connection, OpenFlags};
use tokio::sync::{Notify, Semaphore, mpsc, oneshot};
use tokio::time::Instant;

use super::pending::Pending;
use crate::class::ErrorClass;
use crate::error::{Error, Result};
use crate::wal::{Advance, Budget, WalReader, checkpoint};
use monolite_platform::clock::Clock;
use monolite_platform::process::{self, Access};
use monolite_sqlite_format::{shm_path, wal_path};

/// Requests for a read that may wait: one of each destination, and a few.
const REQUESTS_MAX: usize = 16;
/// The pauses between two reads while the log has frames that are not committed
/// yet: doubled from the first to the last.
const UNCOMMITTED_PAUSE: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));
/// After so long, uncommitted frames count as left by a writer that died.
const UNCOMMITTED_MAX: Duration = Duration::from_secs(300);
/// The pause after a read that found the whole log in the database: the next
/// read makes the commits after a reset fast again.
const AFTER_RESET_PAUSE: Duration = Duration::from_millis(2);
/// The longest pause between two tries to reset a log that somebody reads.
const RESET_PAUSE_MAX: Duration = Duration::from_secs(5);
/// Between two tries to read a database that cannot be read: after a transient
/// error, and after a permanent one. A write to it is met at once.
const REOPEN_PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5));
/// How long a database is still read whose file was deleted: its app may have it
/// open, and commit to it.
const DELETED_MAX: Duration = Duration::from_secs(60);
/// A database without a log is compared page by page, while its writers wait:
/// only after this long without writes.
const QUIET: Duration = Duration::from_millis(500);

/// What the tasks of one volume share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) budget: Budget,
    /// Threads that may read databases at once.
    pub(super) readers: Semaphore,
    /// Comparisons of all pages of a database that may run at once.
    pub(super) comparers: Semaphore,
    pub(super) clock: Arc<dyn Clock>,
}

/// Gets the answer to a request for a read.
type Request = oneshot::Sender<Result<()>>;

/// Wakes a database's task, and asks it for things.
#[derive(Clone, Debug)]
pub(super) struct Handle {
    written: Arc<Notify>,
    requests: mpsc::Sender<Request>,
}

impl Handle {
    /// The database, or its log, was written to.
    pub(super) fn written(&self) {
        self.written.notify_one();
    }

    /// Returns once everything that was committed before this call is pending for
    /// all destinations, also if transient errors have to pass first: the caller
    /// limits the time.
    ///
    /// # Errors
    /// The database cannot be read until somebody acts, or is no longer followed.
    pub(super) async fn read_now(&self) -> Result<()> {
        let (done, answer) = oneshot::channel();
        let sent = self.requests.send(done).await;
        sent.map_err(|_| Error::Closed)?;
        answer.await.unwrap_or(Err(Error::Closed))
    }
}

/// Called with the reason why a database cannot be read, and with `None` once it
/// can be.
pub(super) type OnProblem = Arc<dyn Fn(Option<&Error>) + Send + Sync>;

/// How the database is read, by its journal mode.
enum Source {
    /// WAL: the log is followed.
    Wal(Box<WalReader>),
    /// Another mode, which cannot be followed: all pages are compared.
    Rollback,
}

/// The task.
pub(super) struct Database {
    path: PathBuf,
    queues: Vec<Arc<Pending>>,
    shared: Arc<Shared>,
    /// Between two reads.
    pause: Duration,
    written: Arc<Notify>,
    requests: mpsc::Receiver<Request>,
    source: Option<Source>,
    /// Of the open file: another file may get its name.
    inode: Option<(u64, u64)>,
    /// The log can be reset: the next read is to come soon.
    soon: bool,
    /// Size and time of a database without a log at its last comparison.
    stamp: Option<(u64, SystemTime)>,
    /// Since when the open file has no name.
    deleted: Option<Instant>,
    /// Another process may have files open that have lost their names.
    suspect: bool,
    problem: OnProblem,
}

impl Database {
    pub(super) fn new(
        path: &Path,
        queues: Vec<Arc<Pending>>,
        shared: Arc<Shared>,
        pause: Duration,
        problem: OnProblem,
    ) -> (Self, Handle) {
        let (requests, receiver) = mpsc::channel(REQUESTS_MAX);
        let written = Arc::new(Notify::new());
        let handle = Handle {
            written: written.clone(),
            requests,
        };
        let database = Self {
            path: path.into(),
            queues,
            shared,
            pause,
            written,
            requests: receiver,
            source: None,
            inode: None,
            soon: false,
            deleted: None,
            suspect: false,
            stamp: None,
            problem,
        };
        (database, handle)
    }

    /// Until all handles are gone.
    pub(super) async fn run(mut self) {
        // When the next read is allowed, and when one is due without an event.
        let mut next = Instant::now();
        let mut due = Some(next);
        let mut reset_pause = self.pause;
        let mut pending = (UNCOMMITTED_PAUSE.0, Instant::now());
        let mut answers: Vec<Request> = Vec::new();
        loop {
            let again = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            let mut again_pending = false;
            let written = tokio::select! {
                request = self.requests.recv() => match request {
                    Some(request) => {
                        answers.push(request);
                        false
                    }
                    None => break,
                },
                () = self.written.notified() => {
                    // A request does not wait for the pause.
                    tokio::select! {
                        () = tokio::time::sleep_until(next) => {}
                        request = self.requests.recv() => match request {
                            Some(request) => answers.push(request),
                            None => break,
                        },
                    }
                    true
                }
                () = again => {
                    again_pending = true;
                    true
                }
            };
            // All requests that came before this read are answered by it.
            while let Ok(request) = self.requests.try_recv() {
                answers.push(request);
            }
            let result = self.read(written).await;
            match (&result, &self.source) {
                (Err(error), _) => (self.problem)(Some(error)),
                (Ok(_), Some(Source::Rollback)) => {
                    let path = self.path.clone();
                    (self.problem)(Some(&Error::NotWal { path }));
                }
                (Ok(_), _) => (self.problem)(None),
            }
            let now = Instant::now();
            next = now
                + if self.soon {
                    AFTER_RESET_PAUSE
                } else {
                    self.pause
                };
            // A long reader keeps the log long: try to reset it less often.
            reset_pause = match result {
                Ok(Outcome::LongLog) => (reset_pause * 2).min(RESET_PAUSE_MAX),
                _ => self.pause,
            };
            if written && !again_pending {
                pending = (UNCOMMITTED_PAUSE.0, now);
            }
            due = match &result {
                Ok(Outcome::Done) => None,
                Ok(Outcome::Uncommitted) => {
                    let (pause, since) = pending;
                    pending = ((pause * 2).min(UNCOMMITTED_PAUSE.1), since);
                    (since.elapsed() < UNCOMMITTED_MAX).then(|| now + pause)
                }
                Ok(Outcome::LongLog) => Some(now + reset_pause),
                // No event comes for a file without a name.
                Ok(Outcome::Deleted) => self.source.is_some().then_some(next),
                Err(error) if error.class() == ErrorClass::Permanent => Some(now + REOPEN_PAUSE.1),
                Err(_) => Some(now + REOPEN_PAUSE.0),
            };
            match &result {
                // A deleted file that is no longer open cannot be read.
                Ok(_) if self.source.is_none() && self.inode.is_some() => answers.clear(),
                Ok(_) => answers.drain(..).for_each(|answer| {
                    let _ = answer.send(Ok(()));
                }),
                Err(error) if error.class() == ErrorClass::Permanent => {
                    for answer in answers.drain(..) {
                        let why = error.to_string();
                        let _ = answer.send(Err(Error::NotRead { why }));
                    }
                }
                // A later read answers those who wait that long.
                Err(_) => answers.retain(|answer| !answer.is_closed()),
            }
        }
        // SQLite's close may wait for the disk.
        let source = self.source.take();
        let _ = tokio::task::spawn_blocking(|| drop(source)).await;
    }

    /// Reads what was committed. `written`: somebody may have written.
    async fn read(&mut self, written: bool) -> Result<Outcome> {
        self.soon = false;
        let inode = inode(&self.path).await;
        if inode != self.inode {
            // Another file, or none. The open one has no name any more. It may
            // have commits that were not read yet, or get some, as long as its
            // app has it open.
            if let Some(Source::Wal(reader)) = self.source.take() {
                let read = self.advance(reader, false).await;
                let since = *self.deleted.get_or_insert_with(Instant::now);
                if inode.is_none() && since.elapsed() < DELETED_MAX {
                    return read.map(|_| Outcome::Deleted);
                }
            }
            self.source = None;
            self.deleted = None;
            // What was opened before has another file now, or none.
            self.suspect = self.inode.is_some();
            self.inode = inode;
        }
        if inode.is_none() {
            return Ok(Outcome::Deleted);
        }
        if let Some(Source::Wal(reader)) = self.source.take_if(is_unnamed) {
            // As the processes that had it open before see it.
            self.advance(reader, false).await?;
            if let Some(process) = self.holder_of_unnamed().await {
                return Err(self.unnamed(process));
            }
            if let Some(Source::Wal(reader)) = self.source.take() {
                self.close_unnamed(reader).await?;
            }
            self.suspect = true;
        }
        if self.source.is_none() && self.has_old_files().await {
            return Err(Error::OldIndex {
                path: self.path.clone(),
            });
        }
        let read = self.read_named(written).await;
        if self.suspect && read.is_ok() {
            if let Some(process) = self.holder_of_unnamed().await {
                return Err(self.unnamed(process));
            }
            self.suspect = false;
        }
        read
    }

    async fn read_named(&mut self, written: bool) -> Result<Outcome> {
        match self.source.take() {
            None => self.open().await,
            Some(Source::Rollback) => self.compare(written).await,
            Some(Source::Wal(reader)) => self.advance(reader, true).await,
        }
    }

    fn unnamed(&self, process: String) -> Error {
        let path = self.path.clone();
        Error::Unnamed { path, process }
    }

    /// Closes files that have no name any more; what was committed there goes into the database,
    /// unless somebody else works on that.
    async fn close_unnamed(&mut self, reader: Box<WalReader>) -> Result<()> {
        let path = self.path.clone();
        let closed = self.blocking(move || {
            let path = real(&path);
            let open = process::open_elsewhere(|file| file.path() == path);
            match open {
                Ok(open) if open.is_empty() => reader.copy_unnamed(),
                _ => Ok(()),
            }
        });
        closed.await
    }

    /// Another process that has files of the database open that have no name any more.
    fn holder_of_unnamed(&self) -> impl Future<Output = Option<String>> + Send + use<> {
        let path = self.path.clone();
        let look = move || {
            let path = real(&path);
            let [wal, shm] = [wal_path(&path), shm_path(&path)];
            let open = process::open_elsewhere(|file| {
                file.deleted_path()
                    .is_some_and(|of| of == path || of == wal || of == shm)
            });
            let holder = open.ok()?.first()?.pid();
            Some(process::Named(holder).to_string())
        };
        async { tokio::task::spawn_blocking(look).await.ok().flatten() }
    }

    /// Whether SQLite in this process has an index or a log open that was replaced: it would give the
    /// index to each new connection.
    fn has_old_files(&self) -> impl Future<Output = bool> + Send + use<> {
        let path = self.path.clone();
        let look = move || {
            let (shm, wal) = (shm_path(&real(&path)), wal_path(&real(&path)));
            let own = process::open_files(rustix::process::getpid());
            let is_old = |file: &process::OpenFile| {
                // What is open for reading alone is not SQLite's.
                file.was_deleted_from(&shm)
                    || file.was_deleted_from(&wal) && file.access() != Access::Read
            };
            own.is_ok_and(|all| all.iter().any(is_old))
        };
        async { tokio::task::spawn_blocking(look).await.unwrap_or(false) }
    }

    async fn open(&mut self) -> Result<Outcome> {
        let (path, budget) = (self.path.clone(), self.shared.budget.clone());
        let opened = self.blocking(move || {
            if !is_wal(&path)? {
                return Ok(Source::Rollback);
            }
            Ok(Source::Wal(Box::new(WalReader::open(&path, &budget)?)))
        });
        self.stamp = stamp(&self.path).await;
        self.source = Some(opened.await?);
        self.lost();
        Ok(Outcome::Done)
    }

    async fn compare(&mut self, written: bool) -> Result<Outcome> {
        self.source = Some(Source::Rollback);
        let now = stamp(&self.path).await;
        if !written && now == self.stamp {
            return Ok(Outcome::Done);
        }
        tokio::time::sleep(QUIET).await;
        let path = self.path.clone();
        if self.blocking(move || is_wal(&path)).await? {
            return Box::pin(self.open()).await;
        }
        self.stamp = now;
        self.lost();
        Ok(Outcome::Done)
    }

    /// `named`: the database is where its path says, and may be checkpointed.
    async fn advance(&mut self, mut reader: Box<WalReader>, named: bool) -> Result<Outcome> {
        let read = self.blocking(move || {
            let mut found = reader.advance();
            if named && found.is_ok() {
                let (back, more) = checkpoint(*reader, true);
                reader = back.into();
                found = found.and_then(|found| Ok(found.and(more?.unwrap_or(Advance::Nothing))));
            }
            if matches!(found, Ok(Advance::Lost)) {
                reader.skip_to_end()?;
            }
            Ok((reader, found))
        });
        let (mut reader, found) = read.await?;
        let (changes, long) = (reader.changes(), reader.is_long());
        let uncommitted = reader.is_pending();
        self.soon = reader.is_resettable() && !uncommitted;
        // Also after an error: its read transaction is held, and it goes on from
        // where it was.
        self.source = Some(Source::Wal(reader));
        let now = self.shared.clock.now_ms();
        if matches!(found, Ok(Advance::Lost)) {
            self.lost();
        } else {
            for pending in &self.queues {
                pending.add(&changes, now);
            }
        }
        found?;
        Ok(match (uncommitted, long) {
            (true, _) => Outcome::Uncommitted,
            (false, true) => Outcome::LongLog,
            (false, false) => Outcome::Done,
        })
    }

    /// A future that borrows nothing of this: SQLite's connections may change
    /// threads, but not be looked at from two.
    fn blocking<T, F>(&self, work: F) -> impl Future<Output = Result<T>> + Send + use<T, F>
    where
        T: Send + 'static,
        F: FnOnce() -> Result<T> + Send + 'static,
    {
        blocking(self.shared.clone(), self.path.clone(), work)
    }

    fn lost(&self) {
        let now = self.shared.clock.now_ms();
        for pending in &self.queues {
            pending.lost(now);
        }
    }
}

/// Runs `work` on a thread where it may block, with a permit of the readers.
async fn blocking<T: Send + 'static>(
    shared: Arc<Shared>,
    path: PathBuf,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let _permit = shared.readers.acquire().await;
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Error::file(&path, std::io::Error::other(error))),
    }
}

/// As `/proc` names it: its directory without links.
fn real(path: &Path) -> PathBuf {
    match (path.parent().map(Path::canonicalize), path.file_name()) {
        (Some(Ok(dir)), Some(name)) => dir.join(name),
        _ => path.into(),
    }
}

fn is_unnamed(source: &mut Source) -> bool {
    matches!(source, Source::Wal(reader) if !reader.is_named())
}

enum Outcome {
    Done,
    /// The log has frames that are not committed yet, or never will be.
    Uncommitted,
    /// The log is still long.
    LongLog,
    /// There is no such file.
    Deleted,
}

async fn inode(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    let file = tokio::fs::metadata(path).await.ok()?;
    // A file without a byte is not a database yet.
    (file.len() > 0).then(|| (file.dev(), file.ino()))
}

async fn stamp(path: &Path) -> Option<(u64, SystemTime)> {
    let file = tokio::fs::metadata(path).await.ok()?;
    Some((file.len(), file.modified().ok()?))
}

fn is_wal(path: &Path) -> Result<bool> {
    let at = |error| Error::database(path, error);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags).map_err(at)?;
    conn.busy_timeout(Duration::from_secs(1)).map_err(at)?;
    let _ = conn.set_db_config(
        rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE,
        true,
    );
    let mode: String = conn
        .pragma_query_value(None, "journal_mode", |row| row.get(0))
        .map_err(at)?;
    Ok(mode == "wal")
}
