//! Reads one database: its log while it has one, and tells every destination's
//! inbox what was committed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rusqlite::{Connection, OpenFlags};
use tokio::sync::{Notify, Semaphore, mpsc, oneshot};
use tokio::time::Instant;

use super::inbox::Inbox;
use crate::class::ErrorClass;
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::wal::{Budget, Slide, Tail};

/// Requests for a slide that may wait: one of each destination, and a few.
const REQUESTS: usize = 16;
/// The pauses between two looks whether frames were committed that were there:
/// doubled from the first to the last.
const PENDING: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));
/// No commit takes longer to be synced.
const PENDING_AT_MOST: Duration = Duration::from_secs(300);
/// The pause after a slide that found nothing in the log: the first commit
/// after that is to be met soon.
const SOON: Duration = Duration::from_millis(2);
/// Between two tries to have a log reset that somebody still reads.
const LONGEST_PATIENCE: Duration = Duration::from_secs(5);
/// Between two tries to read a database that cannot be read: after a transient
/// error, and after a permanent one. A write to it is met at once.
const REOPEN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5));
/// What is committed to a database whose file is gone is taken for so long: its
/// app may have it open.
const GONE: Duration = Duration::from_secs(60);
/// A database without a log is compared page by page, while its writers wait:
/// not before nobody wrote for so long.
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

/// Wakes a database's task, and asks it for things.
#[derive(Clone, Debug)]
pub(super) struct Handle {
    written: Arc<Notify>,
    requests: mpsc::Sender<oneshot::Sender<()>>,
}

impl Handle {
    /// The database, or its log, was written to.
    pub(super) fn written(&self) {
        self.written.notify_one();
    }

    /// Returns once everything that was committed before this is in the
    /// inboxes.
    ///
    /// # Errors
    /// The database cannot be read now, or is given up.
    pub(super) async fn slide(&self) -> Result<(), ()> {
        let (done, answer) = oneshot::channel();
        self.requests.send(done).await.map_err(|_| ())?;
        answer.await.map_err(|_| ())
    }
}

/// Is told why a database cannot be read, and when it can be.
pub(super) type Tell = Arc<dyn Fn(Option<&Error>) + Send + Sync>;

/// How the database keeps its changes.
enum Journal {
    /// In a log, which is followed.
    Wal(Box<Tail>),
    /// Otherwise: nobody can follow that, so that all pages are compared.
    Rollback,
}

/// The task.
pub(super) struct Database {
    path: PathBuf,
    inboxes: Vec<Arc<Inbox>>,
    shared: Arc<Shared>,
    /// Between two slides.
    pause: Duration,
    written: Arc<Notify>,
    requests: mpsc::Receiver<oneshot::Sender<()>>,
    journal: Option<Journal>,
    /// Of the file that is open: another one may get its name.
    inode: Option<(u64, u64)>,
    /// The next look is worth more than its pause.
    soon: bool,
    /// Size and time of a database without a log, when it was compared last.
    stamp: Option<(u64, SystemTime)>,
    /// Since when the file that is open has no name.
    gone: Option<Instant>,
    problem: Tell,
}

impl Database {
    /// `problem` is told why the database cannot be read, and when it can be.
    pub(super) fn new(
        path: &Path,
        inboxes: Vec<Arc<Inbox>>,
        shared: Arc<Shared>,
        pause: Duration,
        problem: Tell,
    ) -> (Self, Handle) {
        let (requests, receiver) = mpsc::channel(REQUESTS);
        let written = Arc::new(Notify::new());
        let handle = Handle {
            written: written.clone(),
            requests,
        };
        let database = Self {
            path: path.into(),
            inboxes,
            shared,
            pause,
            written,
            requests: receiver,
            journal: None,
            inode: None,
            soon: false,
            gone: None,
            stamp: None,
            problem,
        };
        (database, handle)
    }

    /// Until all handles are gone.
    pub(super) async fn run(mut self) {
        // When the next look is allowed, and when one is due without a word.
        let mut next = Instant::now();
        let mut due = Some(next);
        let mut patience = self.pause;
        let mut pending = (PENDING.0, Instant::now());
        let mut answers = Vec::new();
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
            // All that asked before this look are answered by it.
            while let Ok(request) = self.requests.try_recv() {
                answers.push(request);
            }
            let result = self.look(written).await;
            match (&result, &self.journal) {
                (Err(error), _) => (self.problem)(Some(error)),
                (Ok(_), Some(Journal::Rollback)) => {
                    let path = self.path.clone();
                    (self.problem)(Some(&Error::NotWal { path }));
                }
                (Ok(_), _) => (self.problem)(None),
            }
            let now = Instant::now();
            next = now + if self.soon { SOON } else { self.pause };
            // Somebody reads for long, so that the log stays long: ask less often.
            patience = match result {
                Ok(Looked::Again) => (patience * 2).min(LONGEST_PATIENCE),
                _ => self.pause,
            };
            if written && !again_pending {
                pending = (PENDING.0, now);
            }
            due = match &result {
                Ok(Looked::Done) => None,
                Ok(Looked::Pending) => {
                    let (pause, since) = pending;
                    pending = ((pause * 2).min(PENDING.1), since);
                    (since.elapsed() < PENDING_AT_MOST).then(|| now + pause)
                }
                Ok(Looked::Again) => Some(now + patience),
                // Nobody tells of writes to what has no name.
                Ok(Looked::Gone) => self.journal.is_some().then_some(next),
                Err(error) if error.class() == ErrorClass::Permanent => Some(now + REOPEN.1),
                Err(_) => Some(now + REOPEN.0),
            };
            // Of a file that is gone there is nothing more to take.
            let well = result.is_ok() && (self.journal.is_some() || self.inode.is_none());
            for answer in answers.drain(..).filter(|_| well) {
                let _ = answer.send(());
            }
        }
        // SQLite's close may wait for the disk.
        let journal = self.journal.take();
        let _ = tokio::task::spawn_blocking(|| drop(journal)).await;
    }

    /// Takes what there is to take. `written`: somebody may have written.
    async fn look(&mut self, written: bool) -> Result<Looked> {
        self.soon = false;
        let inode = inode(&self.path);
        if inode != self.inode {
            // Another file, or none. What is open has no name any more, and
            // may have commits all the same that were not taken yet, or may
            // get some: its app has it open.
            if let Some(Journal::Wal(tail)) = self.journal.take() {
                let slid = self.slide(tail, false).await;
                let gone = *self.gone.get_or_insert_with(Instant::now);
                if inode.is_none() && gone.elapsed() < GONE {
                    return slid.map(|_| Looked::Gone);
                }
            }
            self.journal = None;
            self.gone = None;
            self.inode = inode;
        }
        if inode.is_none() {
            return Ok(Looked::Gone);
        }
        match self.journal.take() {
            None => self.open().await,
            Some(Journal::Rollback) => self.compare(written).await,
            Some(Journal::Wal(tail)) => self.slide(tail, true).await,
        }
    }

    async fn open(&mut self) -> Result<Looked> {
        let (path, budget) = (self.path.clone(), self.shared.budget.clone());
        let opened = self.blocking(move || {
            if !is_wal(&path)? {
                return Ok(Journal::Rollback);
            }
            Ok(Journal::Wal(Box::new(Tail::open(&path, &budget)?)))
        });
        self.stamp = stamp(&self.path);
        self.journal = Some(opened.await?);
        self.lost();
        Ok(Looked::Done)
    }

    async fn compare(&mut self, written: bool) -> Result<Looked> {
        self.journal = Some(Journal::Rollback);
        let now = stamp(&self.path);
        if !written && now == self.stamp {
            return Ok(Looked::Done);
        }
        tokio::time::sleep(QUIET).await;
        let path = self.path.clone();
        if self.blocking(move || is_wal(&path)).await? {
            return Box::pin(self.open()).await;
        }
        self.stamp = now;
        self.lost();
        Ok(Looked::Done)
    }

    /// `named`: the database is where its path says, and may be checkpointed.
    async fn slide(&mut self, mut tail: Box<Tail>, named: bool) -> Result<Looked> {
        let slid = self.blocking(move || {
            let mut slide = tail.slide();
            if named && slide.is_ok() {
                let (back, more) = (*tail).checkpoint(true);
                tail = back.into();
                slide = slide.and_then(|slide| Ok(slide.worse(more?.unwrap_or(Slide::Nothing))));
            }
            if matches!(slide, Ok(Slide::Lost)) {
                tail.forget()?;
            }
            Ok((tail, slide))
        });
        let (mut tail, slide) = slid.await?;
        let (changes, long, pending) = (tail.changes(), tail.is_long(), tail.is_pending());
        self.soon = tail.is_reset() && !pending;
        // Also after an error: its pin is held, and it goes on where it was.
        self.journal = Some(Journal::Wal(tail));
        let now = self.shared.clock.now_ms();
        if matches!(slide, Ok(Slide::Lost)) {
            self.lost();
        } else {
            for inbox in &self.inboxes {
                inbox.add(&changes, now);
            }
        }
        slide?;
        Ok(match (pending, long) {
            (true, _) => Looked::Pending,
            (false, true) => Looked::Again,
            (false, false) => Looked::Done,
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
        for inbox in &self.inboxes {
            inbox.lost(now);
        }
    }
}

/// Runs `work` where blocking is allowed, when its turn has come.
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

enum Looked {
    Done,
    /// A commit is about to be, or never will.
    Pending,
    /// The log is long still.
    Again,
    /// There is no such file.
    Gone,
}

fn inode(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    let file = std::fs::metadata(path).ok()?;
    // A file without a byte is not a database yet.
    (file.len() > 0).then(|| (file.dev(), file.ino()))
}

fn stamp(path: &Path) -> Option<(u64, SystemTime)> {
    let file = std::fs::metadata(path).ok()?;
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
