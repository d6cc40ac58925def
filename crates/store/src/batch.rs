//! Group commit: many callers' closures in one transaction.
//!
//! Invariants:
//! - a caller gets `Ok` only after the COMMIT that holds its writes;
//! - a closure that fails or panics rolls back its own writes and no others;
//! - every job taken is answered exactly once, whatever fails;
//! - no caller gets `Ok` for what was committed to a file that was deleted or replaced: one look at
//!   the names of the database and its log follows each COMMIT.
//!
//! A crash between any two lines loses only unanswered writes: nothing is answered
//! before COMMIT returns, and SQLite rolls an open transaction back when the file
//! is opened next.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use monolite_sqlite_format::wal_path;
use rusqlite::{Connection, Statement};

use crate::connection::{self, FileId, SAVEPOINT, guarded};
use crate::queue::{Job, Queue};
use crate::{Error, Options, Result};

/// Counts since the store was opened.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) writes: AtomicU64,
    pub(crate) transactions: AtomicU64,
    /// Moving average of the time of a transaction, in nanoseconds.
    pub(crate) recent_ns: AtomicU64,
}

impl Counters {
    /// Counts the time of a transaction that began at `started`.
    fn took(&self, started: Option<Instant>) {
        let took_ns = started.map_or(0, |at| at.elapsed().as_nanos());
        let took_ns = u64::try_from(took_ns).unwrap_or(u64::MAX);
        let recent_ns = self.recent_ns.load(Ordering::Relaxed);
        let mean_ns = recent_ns - recent_ns / 8 + took_ns / 8;
        // Only the writer's thread stores.
        self.recent_ns.store(mean_ns, Ordering::Relaxed);
    }
}

pub(crate) struct Batcher<'c> {
    conn: &'c Connection,
    path: PathBuf,
    files: Files,
    options: Options,
    counters: Arc<Counters>,
    begin: Statement<'c>,
    commit: Statement<'c>,
    rollback: Statement<'c>,
    savepoint: Statement<'c>,
    release: Statement<'c>,
    rollback_to: Statement<'c>,
}

/// The files that are written to: the database and its log.
struct Files {
    database: PathBuf,
    log: PathBuf,
    ids: [Option<FileId>; 2],
}

impl Files {
    /// Those of a database that is open in WAL mode.
    fn of(database: &Path) -> Self {
        let log = wal_path(database);
        Self {
            ids: [FileId::of(database), FileId::of(&log)],
            database: database.into(),
            log,
        }
    }

    /// Whether both are the files that were opened; true where their names are no files, as with
    /// another VFS.
    fn have_their_names(&mut self) -> bool {
        let paths = [&self.database, &self.log];
        paths.into_iter().zip(&mut self.ids).all(|(path, id)| {
            let now = FileId::of(path);
            match id {
                Some(id) => now == Some(*id),
                // The log of a new database comes with its first transaction.
                None => {
                    *id = now;
                    true
                }
            }
        })
    }
}

impl<'c> Batcher<'c> {
    pub(crate) fn new(
        conn: &'c Connection,
        path: &Path,
        options: &Options,
        counters: &Arc<Counters>,
    ) -> Result<Self> {
        Ok(Self {
            counters: Arc::clone(counters),
            conn,
            path: path.into(),
            files: Files::of(path),
            options: options.clone(),
            begin: conn.prepare("BEGIN IMMEDIATE")?,
            commit: conn.prepare("COMMIT")?,
            rollback: conn.prepare("ROLLBACK")?,
            savepoint: conn.prepare(&format!("SAVEPOINT {SAVEPOINT}"))?,
            release: conn.prepare(&format!("RELEASE {SAVEPOINT}"))?,
            rollback_to: conn.prepare(&format!("ROLLBACK TO {SAVEPOINT}"))?,
        })
    }

    /// Runs one transaction over `jobs` and those that arrive in `queue`
    /// meanwhile, up to the limits of the options; answers each. The rest stays in
    /// `jobs` for the next transaction. True if something was committed.
    pub(crate) fn run(&mut self, jobs: &mut VecDeque<Box<dyn Job>>, queue: &Queue) -> bool {
        // Set once the transaction has begun: waiting for other processes does
        // not count.
        let mut started = None;
        // Ran without error, waiting for the COMMIT.
        let mut kept: Vec<Box<dyn Job>> = Vec::with_capacity(jobs.len());

        while let Some(job) = jobs.pop_front() {
            if self.conn.is_autocommit()
                && let Err(error) = self.begin.execute([])
            {
                // Nothing is written yet; all who wait would meet the same.
                queue.answer(job, Some(self.failure(&error)));
                self.fail_all(queue, jobs.drain(..), &error);
                return false;
            }
            let started = *started.get_or_insert_with(Instant::now);
            self.run_one(queue, job, &mut kept);

            let full = kept.len() >= self.options.batch_max
                || started.elapsed() >= self.options.batch_time;
            if full {
                break;
            }
            if jobs.is_empty() {
                queue.take_waiting(jobs);
            }
        }
        if self.conn.is_autocommit() {
            // All closures were rolled back, and answered.
            return false;
        }
        let committed = self.commit.execute([]);
        if committed.is_ok() && !self.files.have_their_names() {
            // It is in a file that nobody will open again.
            let path = &self.path;
            for job in kept {
                queue.answer(job, Some(Error::Moved { path: path.clone() }));
            }
            return false;
        }
        match committed {
            Ok(_) => {
                let writes = kept.len() as u64;
                // Counted first: a caller with an answer finds it counted.
                self.counters.writes.fetch_add(writes, Ordering::Relaxed);
                self.counters.transactions.fetch_add(1, Ordering::Relaxed);
                self.counters.took(started);
                for job in kept {
                    queue.answer(job, None);
                }
                writes > 0
            }
            Err(error) => {
                self.roll_back();
                self.fail_all(queue, kept, &error);
                false
            }
        }
    }

    /// Runs one closure inside the open transaction.
    fn run_one(&mut self, queue: &Queue, mut job: Box<dyn Job>, kept: &mut Vec<Box<dyn Job>>) {
        // The first one needs none: it is undone by rolling everything back.
        let nested = !kept.is_empty();
        if nested && let Err(error) = self.savepoint.execute([]) {
            return queue.answer(job, Some(error.into()));
        }
        let mut keep = guarded(|| job.run(self.conn));

        if self.conn.is_autocommit() {
            // SQLite rolled everything back by itself, whatever the closure
            // returned. Those before it have lost their writes too.
            let cause: Arc<str> = job
                .failure_text()
                .unwrap_or_else(|| "ROLLBACK inside a statement".into())
                .into();
            for lost in kept.drain(..) {
                let cause = Arc::clone(&cause);
                queue.answer(lost, Some(Error::BatchRolledBack { cause }));
            }
            return queue.answer(job, keep.then_some(Error::BatchRolledBack { cause }));
        }
        // SQLite checks it at COMMIT only, where it would fail everybody.
        let orphans = keep && connection::has_deferred_orphans(self.conn);
        keep = keep && !orphans;
        let settled = match (keep, nested) {
            (true, true) => self.release.execute([]),
            (true, false) => Ok(0),
            (false, true) => self
                .rollback_to
                .execute([])
                .and_then(|_| self.release.execute([])),
            (false, false) => self.rollback.execute([]),
        };
        match settled {
            Ok(_) if keep => kept.push(job),
            Ok(_) => queue.answer(job, orphans.then_some(Error::ForeignKey)),
            Err(error) => {
                // The state of this part is unknown: give up the transaction.
                self.roll_back();
                kept.push(job);
                self.fail_all(queue, kept.drain(..), &error);
            }
        }
    }

    fn roll_back(&mut self) {
        if !self.conn.is_autocommit() {
            // It fails only where SQLite has rolled back already.
            let _ = self.rollback.execute([]);
        }
    }

    /// Answers all with what `error` means to them.
    fn fail_all(
        &self,
        queue: &Queue,
        jobs: impl IntoIterator<Item = Box<dyn Job>>,
        error: &rusqlite::Error,
    ) {
        for job in jobs {
            queue.answer(job, Some(self.failure(error)));
        }
    }

    fn failure(&self, error: &rusqlite::Error) -> Error {
        let copy = match error {
            rusqlite::Error::SqliteFailure(code, text) => {
                rusqlite::Error::SqliteFailure(*code, text.clone())
            }
            other => {
                return Error::Commit(Arc::new(rusqlite::Error::SqliteFailure(
                    rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_ERROR),
                    Some(other.to_string()),
                )));
            }
        };
        let waited = self.options.busy_timeout.as_millis();
        match Error::Sqlite(copy).classify(&self.path, waited) {
            Error::Sqlite(copy) => Error::Commit(Arc::new(copy)),
            named => named,
        }
    }
}
