//! Reads jobs and queues, for people and pages.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::row;
use crate::{BatchId, JobId, Result, State};

/// All that is known of one job.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct JobRecord {
    /// Its number.
    pub id: JobId,
    /// Its queue.
    pub queue: String,
    /// Its kind.
    pub kind: String,
    /// Where it is in its life.
    pub state: State,
    /// Smaller runs first.
    pub priority: i64,
    /// Attempts that have ended, and count.
    pub attempts: u32,
    /// Runs that ended with their worker.
    pub crashes: u32,
    /// When it was enqueued.
    pub enqueued_at: Timestamp,
    /// When it came into its state, or last reported progress.
    pub changed_at: Timestamp,
    /// When a scheduled job may start.
    pub due_at: Option<Timestamp>,
    /// JSON text.
    pub payload: String,
    /// JSON text, of a job that is done.
    pub result: Option<String>,
    /// What went wrong last.
    pub error: Option<String>,
    /// The share that is done, 0 to 1, as the job reported it.
    pub progress: Option<f64>,
    /// What it is doing, as the job reported it.
    pub note: Option<String>,
    /// The key of its concurrency limit.
    pub limit_key: Option<String>,
    /// The key only one job may hold.
    pub unique_key: Option<String>,
    /// The batch it belongs to.
    pub batch: Option<BatchId>,
}

const COLUMNS: &str = "j.id, j.queue, j.kind, j.state, j.priority, j.run - j.excused, j.crashes,
     j.enqueued_at, j.changed_at, j.due_at, j.payload, j.result, j.error, j.progress, j.note,
     j.limit_key, j.unique_key, j.batch,
     j.state = 2 AND EXISTS (
         SELECT 1 FROM _monolite_job_ready r
         WHERE r.queue = j.queue AND r.suspect = (j.crashes > 0)
             AND r.priority = j.priority AND r.id = j.id)";

fn record(row: &Row<'_>) -> rusqlite::Result<JobRecord> {
    Ok(JobRecord {
        id: row.get(0)?,
        queue: row::text(row, 1)?,
        kind: row::text(row, 2)?,
        state: State::from_code(row.get(3)?, row.get(18)?),
        priority: row.get(4)?,
        attempts: row::count(row, 5)?.unwrap_or(0),
        crashes: row::count(row, 6)?.unwrap_or(0),
        enqueued_at: row::timestamp(row, 7)?,
        changed_at: row::timestamp(row, 8)?,
        due_at: row::optional_timestamp(row, 9)?,
        payload: row::text(row, 10)?,
        result: row.get(11)?,
        error: row.get(12)?,
        progress: row.get(13)?,
        note: row.get(14)?,
        limit_key: row.get(15)?,
        unique_key: row.get(16)?,
        batch: row.get(17)?,
    })
}

/// One job; `None` if there is none of this number, or no longer.
///
/// # Errors
/// SQLite's own.
pub fn job(conn: &Connection, id: JobId) -> Result<Option<JobRecord>> {
    let sql = format!("SELECT {COLUMNS} FROM _monolite_job j WHERE j.id = ?1");
    Ok(conn
        .prepare_cached(&sql)?
        .query_row([id], record)
        .optional()?)
}

/// Which jobs to list. Everything not set matches.
///
/// ```
/// use monolite_jobs::{State, ops::Filter};
/// let dead_mails = Filter::new().state(State::Dead).kind("send_mail");
/// # let _ = dead_mails;
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    state: Option<State>,
    queue: Option<String>,
    kind: Option<String>,
    before: Option<JobId>,
}

impl Filter {
    /// Matches every job.
    pub fn new() -> Self {
        Self::default()
    }

    /// In this state.
    #[must_use]
    pub fn state(mut self, state: State) -> Self {
        self.state = Some(state);
        self
    }

    /// In this queue.
    #[must_use]
    pub fn queue(mut self, queue: impl Into<String>) -> Self {
        self.queue = Some(queue.into());
        self
    }

    /// Of this kind.
    #[must_use]
    pub fn kind(mut self, kind: impl Into<String>) -> Self {
        self.kind = Some(kind.into());
        self
    }

    /// Older than this one: to continue where a list ended.
    #[must_use]
    pub fn before(mut self, id: JobId) -> Self {
        self.before = Some(id);
        self
    }
}

/// The newest jobs that match, at most `limit`. Without an index for what is
/// asked it reads the table from its end, until it has found enough; dead ones
/// have one.
///
/// # Errors
/// SQLite's own.
pub fn list(conn: &Connection, filter: &Filter, limit: u32) -> Result<Vec<JobRecord>> {
    use crate::state::code;
    let code = filter.state.map(|state| match state {
        State::Ready | State::Running => code::PENDING,
        State::Scheduled => code::SCHEDULED,
        State::Blocked => code::BLOCKED,
        State::Done => code::DONE,
        State::Dead => code::DEAD,
        State::Cancelled => code::CANCELLED,
    });
    let by_state = match code {
        // Written out, so that SQLite sees that the partial index fits.
        Some(code::DEAD) => "j.state = 6 AND ?1 = 6",
        Some(_) => "j.state = ?1",
        None => "?1 IS NULL",
    };
    let sql = format!(
        "SELECT {COLUMNS} AS ready FROM _monolite_job j
         WHERE {by_state} AND (?2 IS NULL OR j.queue = ?2) AND (?3 IS NULL OR j.kind = ?3)
             AND j.id < ?4 AND (?5 IS NULL OR ready = ?5)
         ORDER BY j.id DESC LIMIT ?6"
    );
    let ready = match filter.state {
        Some(State::Ready) => Some(true),
        Some(State::Running) => Some(false),
        _ => None,
    };
    let before = filter.before.map_or(i64::MAX, JobId::get);
    Ok(conn
        .prepare_cached(&sql)?
        .query_map(
            params![code, filter.queue, filter.kind, before, ready, limit],
            record,
        )?
        .collect::<rusqlite::Result<_>>()?)
}

/// One queue as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueInfo {
    /// Its name.
    pub name: String,
    /// No claims until it is resumed.
    pub paused: bool,
    /// Jobs in it by state, in the order of [`State::ALL`].
    counts: [u64; State::ALL.len()],
}

impl QueueInfo {
    /// Jobs in this state.
    pub fn count(&self, state: State) -> u64 {
        let counts = State::ALL.iter().zip(self.counts);
        counts
            .filter(|(of, _)| **of == state)
            .map(|(_, count)| count)
            .sum()
    }

    fn add(&mut self, state: State, count: u64) {
        for (of, total) in State::ALL.iter().zip(&mut self.counts) {
            if *of == state {
                *total += count;
            }
        }
    }
}

/// All queues with jobs or settings. Counts by reading the whole table: for a
/// page that somebody opens, not for a loop.
///
/// # Errors
/// SQLite's own.
pub fn queues(conn: &Connection) -> Result<Vec<QueueInfo>> {
    let mut found: std::collections::BTreeMap<String, QueueInfo> = Default::default();
    let mut entry = |name: String, change: &mut dyn FnMut(&mut QueueInfo)| {
        change(found.entry(name.clone()).or_insert(QueueInfo {
            name,
            paused: false,
            counts: [0; State::ALL.len()],
        }));
    };
    let mut settings = conn.prepare_cached("SELECT name, paused FROM _monolite_job_queue")?;
    let mut rows = settings.query([])?;
    while let Some(row) = rows.next()? {
        let paused = row.get(1)?;
        entry(row::text(row, 0)?, &mut |info| info.paused = paused);
    }
    let mut counts = conn.prepare_cached(
        "SELECT queue, state, count(*), (
             SELECT count(*) FROM _monolite_job_ready r WHERE r.queue = j.queue AND j.state = 2)
         FROM _monolite_job j GROUP BY queue, state",
    )?;
    let mut rows = counts.query([])?;
    while let Some(row) = rows.next()? {
        let code: i64 = row.get(1)?;
        let number = |column| {
            row.get::<_, i64>(column)
                .map(|n| u64::try_from(n).unwrap_or(0))
        };
        let (count, ready) = (number(2)?, number(3)?);
        entry(
            row::text(row, 0)?,
            &mut |info| match State::from_code(code, true) {
                State::Ready => {
                    info.add(State::Ready, ready);
                    info.add(State::Running, count.saturating_sub(ready));
                }
                state => info.add(state, count),
            },
        );
    }
    Ok(found.into_values().collect())
}
