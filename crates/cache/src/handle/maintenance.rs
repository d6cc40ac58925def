//! Work on the cache's thread that no caller waits for: removing expired
//! entries, shrinking to the bound, writing hits into the rows, checkpoints.
//!
//! It sleeps without a timeout while nothing is due. What fails is tried again
//! when it is due again; a damaged file is noticed by whoever uses it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use monolite_component::Upkeep;
use rusqlite::Connection;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::files::Shared;
use crate::{Error, Result, Sweep};

/// Least time between two sweeps: each reads the whole table.
const SWEEP_EVERY: Duration = Duration::from_secs(30);
/// Longest sleep while an entry will expire: the wall clock may be set meanwhile.
const CLOCK_CHECK_EVERY: Duration = Duration::from_secs(60);
/// Least time between two writes of hits.
const HITS_EVERY: Duration = Duration::from_secs(1);
/// Pause after each step of a sweep, so that it takes a part of one core.
const STEP_PAUSE: Duration = Duration::from_millis(2);
/// Longest wait of a checkpoint for readers and writers.
const CHECKPOINT_WAIT_MAX: Duration = Duration::from_secs(1);

pub(crate) struct Maintenance {
    shared: Arc<Shared>,
    due: Mutex<Due>,
    wake: Notify,
}

#[derive(Default)]
struct Due {
    /// The bound may be lower than the size of the files.
    shrink: bool,
    /// When the next entry expires, by the wall clock.
    expires_ms: Option<i64>,
    sweep_not_before: Option<Instant>,
    hits: bool,
    hits_not_before: Option<Instant>,
    /// Who waits for a checkpoint.
    checkpoints: Vec<oneshot::Sender<()>>,
    closed: bool,
}

enum Work {
    Shrink,
    Sweep,
    Hits,
    Checkpoint(Vec<oneshot::Sender<()>>),
}

impl Maintenance {
    /// `existing`: the file may hold entries that expire, or more than the
    /// bound.
    pub(crate) fn new(shared: &Arc<Shared>, existing: bool) -> Self {
        Self {
            shared: Arc::clone(shared),
            due: Mutex::new(Due {
                shrink: existing,
                expires_ms: existing.then_some(i64::MIN),
                ..Due::default()
            }),
            wake: Notify::new(),
        }
    }

    fn due(&self) -> MutexGuard<'_, Due> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An entry was set that expires at this time of the wall clock.
    pub(crate) fn expires_at(&self, at_ms: i64) {
        let mut due = self.due();
        if due.expires_ms.is_none_or(|next| at_ms < next) {
            due.expires_ms = Some(at_ms);
            drop(due);
            self.wake.notify_one();
        }
    }

    /// Many hits were counted in memory: write them into the rows.
    pub(crate) fn write_hits(&self) {
        if !std::mem::replace(&mut self.due().hits, true) {
            self.wake.notify_one();
        }
    }

    /// Ends the wait of all who wait for a checkpoint, and of those who come
    /// later: the task is stopped.
    pub(crate) fn close(&self) {
        let mut due = self.due();
        due.closed = true;
        due.checkpoints.clear();
    }

    /// Empties the WAL, and answers once that was tried.
    pub(crate) async fn checkpoint(&self) -> Result<()> {
        let (done, answer) = oneshot::channel();
        {
            let mut due = self.due();
            if due.closed {
                return Err(Error::Closed);
            }
            due.checkpoints.push(done);
        }
        self.wake.notify_one();
        answer.await.map_err(|_| Error::Closed)
    }

    /// What is due now, or else when something will be.
    fn next(&self) -> Result<Work, Option<Instant>> {
        let now = Instant::now();
        let mut due = self.due();
        if std::mem::take(&mut due.shrink) {
            return Ok(Work::Shrink);
        }
        if !due.checkpoints.is_empty() {
            return Ok(Work::Checkpoint(std::mem::take(&mut due.checkpoints)));
        }
        let mut next: Option<Instant> = None;
        let mut at = |time: Instant| next = Some(next.map_or(time, |next| next.min(time)));
        if due.hits {
            let from = due.hits_not_before.unwrap_or(now);
            if from <= now {
                due.hits = false;
                due.hits_not_before = Some(now + HITS_EVERY);
                return Ok(Work::Hits);
            }
            at(from);
        }
        if let Some(expires_ms) = due.expires_ms {
            let left = expires_ms.saturating_sub(self.shared.wall_ms());
            let left = u64::try_from(left).map_or(Duration::ZERO, Duration::from_millis);
            let from = *due.sweep_not_before.get_or_insert(now + SWEEP_EVERY);
            if left.is_zero() && from <= now {
                due.expires_ms = None;
                due.sweep_not_before = Some(now + SWEEP_EVERY);
                return Ok(Work::Sweep);
            }
            at(from.max(now + left.min(CLOCK_CHECK_EVERY)));
        }
        Err(next)
    }

    async fn run(&self, work: Work) -> Result<()> {
        match work {
            Work::Shrink => self.shrink().await,
            Work::Sweep => {
                if let Some(next) = self.sweep().await? {
                    let mut due = self.due();
                    due.expires_ms = Some(due.expires_ms.map_or(next, |at| at.min(next)));
                }
                Ok(())
            }
            Work::Hits => {
                let files = self.shared.files()?;
                let tables = Arc::clone(&files.tables);
                let write = move |conn: &Connection| Ok(tables.write_hits(conn)?);
                Ok(files.store.write(write).await?)
            }
            Work::Checkpoint(waiting) => {
                let result = self.checkpoint_now();
                for done in waiting {
                    let _ = done.send(());
                }
                result
            }
        }
    }

    /// Blocks the cache's thread.
    fn checkpoint_now(&self) -> Result<()> {
        let files = self.shared.files()?;
        files.store.checkpoint_blocking(CHECKPOINT_WAIT_MAX)?;
        Ok(())
    }

    /// Answers when the next entry expires.
    async fn sweep(&self) -> Result<Option<i64>> {
        let mut sweep = Sweep::default();
        while !sweep.done {
            sweep = self
                .shared
                .files()?
                .sweep_step(sweep, self.shared.wall_ms())
                .await?
                .0;
            tokio::time::sleep(STEP_PAUSE).await;
        }
        let files = self.shared.files()?;
        let (tables, shared) = (Arc::clone(&files.tables), Arc::clone(&self.shared));
        let any = files
            .store
            .read(|conn| {
                let any = "SELECT EXISTS (SELECT 1 FROM _monolite_cache_claim)";
                Ok(conn.query_row(any, [], |row| row.get::<_, bool>(0))?)
            })
            .await?;
        if any {
            let drop = move |conn: &Connection| Ok(tables.drop_void_claims(conn, shared.moment())?);
            files.store.write(drop).await?;
        }
        Ok(sweep.next_ms)
    }

    async fn shrink(&self) -> Result<()> {
        let mut shrunk = false;
        loop {
            let files = self.shared.files()?;
            let (tables, now) = (Arc::clone(&files.tables), self.shared.wall_ms());
            let step = move |conn: &Connection| Ok(tables.shrink(conn, now)?);
            if !files.store.write(step).await? {
                break;
            }
            shrunk = true;
            tokio::time::sleep(STEP_PAUSE).await;
        }
        if shrunk {
            self.checkpoint_now()
        } else {
            Ok(())
        }
    }
}

impl super::files::Files {
    /// One step of a sweep: looks at the next entries, and removes those that
    /// have expired. Answers where the sweep is, and how many it removed.
    pub(crate) async fn sweep_step(&self, sweep: Sweep, now_ms: i64) -> Result<(Sweep, usize)> {
        let tables = Arc::clone(&self.tables);
        let mut next = sweep;
        let look = move |conn: &Connection| {
            tables.sweep_look(conn, &mut next, now_ms)?;
            Ok(next)
        };
        let mut found = self.store.read(look).await?;
        if !found.found() {
            return Ok((found, 0));
        }
        let tables = Arc::clone(&self.tables);
        let remove = move |conn: &Connection| {
            let count = tables.sweep_out(conn, &mut found, now_ms)?;
            Ok((found, count))
        };
        Ok(self.store.write(remove).await?)
    }
}

/// The task that does what is due.
pub(crate) struct Rounds(pub(crate) Arc<Maintenance>);

impl Upkeep for Rounds {
    type Error = Error;

    async fn round(&mut self) -> Result<Option<Instant>> {
        loop {
            match self.0.next() {
                Err(next) => return Ok(next),
                Ok(work) => match self.0.run(work).await {
                    Err(Error::Closed) => return Err(Error::Closed),
                    _ => {}
                },
            }
        }
    }

    fn wake(&self) -> &Notify {
        &self.0.wake
    }

    fn is_final(error: &Error) -> bool {
        matches!(error, Error::Closed)
    }
}
