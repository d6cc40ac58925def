//! Group commit: many callers' closures in one transaction.
//!
//! Invariants:
//! - a caller is told of success only after the COMMIT that holds its writes;
//! - a closure that fails or panics takes back its own writes and no others;
//! - every job taken is answered exactly once, whatever fails.
//!
//! Dying between any two lines loses only unanswered writes: nothing is
//! answered before COMMIT returns, and SQLite rolls an open transaction back
//! when the file is opened next.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use rusqlite::{Connection, Statement};

use crate::connection::guarded;
use crate::queue::Queue;
use crate::{Error, Options, Result};

/// Name of the savepoint around each closure; closures may not use it.
pub(crate) const SAVEPOINT: &str = "_monolite_part";

/// One caller's closure, with the way to answer it.
pub(crate) trait Job: Send {
    /// Runs the closure once. True: its writes are to be kept.
    fn run(&mut self, conn: &Connection) -> bool;
    /// Answers with what the closure returned, or with `failure` in its place.
    fn answer(self: Box<Self>, failure: Option<Error>);
    /// What the closure reported, for the callers it took down with it.
    fn failure_text(&self) -> Option<String>;
}

/// What one transaction did.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct BatchOutcome {
    pub(crate) committed: u64,
    pub(crate) answered: usize,
}

pub(crate) struct Batcher<'c> {
    conn: &'c Connection,
    path: PathBuf,
    options: Options,
    begin: Statement<'c>,
    commit: Statement<'c>,
    rollback: Statement<'c>,
    savepoint: Statement<'c>,
    release: Statement<'c>,
    rollback_to: Statement<'c>,
}

impl<'c> Batcher<'c> {
    pub(crate) fn new(conn: &'c Connection, path: &Path, options: &Options) -> Result<Self> {
        Ok(Self {
            conn,
            path: path.into(),
            options: options.clone(),
            begin: conn.prepare("BEGIN IMMEDIATE")?,
            commit: conn.prepare("COMMIT")?,
            rollback: conn.prepare("ROLLBACK")?,
            savepoint: conn.prepare(&format!("SAVEPOINT {SAVEPOINT}"))?,
            release: conn.prepare(&format!("RELEASE {SAVEPOINT}"))?,
            rollback_to: conn.prepare(&format!("ROLLBACK TO {SAVEPOINT}"))?,
        })
    }

    /// Runs one transaction over `jobs` and over those that arrive in `queue`
    /// meanwhile, up to the bounds of the options; answers each. Jobs that
    /// found no room stay in `jobs` for the next transaction.
    pub(crate) fn run(&mut self, jobs: &mut VecDeque<Box<dyn Job>>, queue: &Queue) -> BatchOutcome {
        let started = Instant::now();
        let mut outcome = BatchOutcome::default();
        // Ran well, waiting for the COMMIT.
        let mut kept: Vec<Box<dyn Job>> = Vec::with_capacity(jobs.len());

        while let Some(job) = jobs.pop_front() {
            if self.conn.is_autocommit()
                && let Err(error) = self.begin.execute([])
            {
                // Nobody holds anything now; all who wait would meet the same.
                let failed = std::iter::once(job).chain(jobs.drain(..));
                outcome.answered += self.fail_all(failed, &error);
                return outcome;
            }
            self.run_one(job, &mut kept, &mut outcome);

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
            // The only closures run were rolled back, and answered.
            return outcome;
        }
        match self.commit.execute([]) {
            Ok(_) => {
                outcome.committed = kept.len() as u64;
                outcome.answered += kept.len();
                kept.into_iter().for_each(|job| job.answer(None));
            }
            Err(error) => {
                self.roll_back();
                outcome.answered += self.fail_all(kept, &error);
            }
        }
        outcome
    }

    /// Runs one closure inside the open transaction.
    fn run_one(
        &mut self,
        mut job: Box<dyn Job>,
        kept: &mut Vec<Box<dyn Job>>,
        outcome: &mut BatchOutcome,
    ) {
        // The first one can be undone by rolling the whole transaction back.
        let nested = !kept.is_empty();
        if nested && let Err(error) = self.savepoint.execute([]) {
            outcome.answered += 1;
            return job.answer(Some(error.into()));
        }
        let keep = guarded(|| job.run(self.conn));

        if self.conn.is_autocommit() {
            // SQLite rolled everything back by itself, whatever the closure
            // says. Those before it have lost their writes too.
            let cause: Arc<str> = job
                .failure_text()
                .unwrap_or_else(|| "ROLLBACK inside a statement".into())
                .into();
            for lost in kept.drain(..) {
                let cause = Arc::clone(&cause);
                lost.answer(Some(Error::BatchRolledBack { cause }));
                outcome.answered += 1;
            }
            outcome.answered += 1;
            return job.answer(keep.then_some(Error::BatchRolledBack { cause }));
        }
        let undone = match (keep, nested) {
            (true, true) => self.release.execute([]),
            (true, false) => Ok(0),
            (false, true) => self
                .rollback_to
                .execute([])
                .and_then(|_| self.release.execute([])),
            (false, false) => self.rollback.execute([]),
        };
        if let Err(error) = undone {
            // The state of this part is unknown: give up the whole.
            self.roll_back();
            kept.push(job);
            outcome.answered += self.fail_all(kept.drain(..), &error);
        } else if keep {
            kept.push(job);
        } else {
            outcome.answered += 1;
            job.answer(None);
        }
    }

    fn roll_back(&mut self) {
        if !self.conn.is_autocommit() {
            // If even this fails the next BEGIN does too, and says so.
            let _ = self.rollback.execute([]);
        }
    }

    /// Answers all with what `error` means to them; how many they were.
    fn fail_all(
        &self,
        jobs: impl IntoIterator<Item = Box<dyn Job>>,
        error: &rusqlite::Error,
    ) -> usize {
        let mut count = 0;
        for job in jobs {
            job.answer(Some(self.failure(error)));
            count += 1;
        }
        count
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
