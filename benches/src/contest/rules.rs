//! The work every contestant does under contention, and what it tells. Also
//! compiled into `peers/sqlx`.
//!
//! One write: read a counter, put it back raised by one, and append a job, in
//! one transaction.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::histogram::Histogram;

/// Processes at once.
#[allow(dead_code, reason = "the bench starts them, not the peer")]
pub(crate) const PROCESSES: usize = 4;
/// Writers in each.
pub(crate) const WRITERS: usize = 8;
/// Rows that are read and raised.
pub(crate) const COUNTERS: u64 = 64;

pub(crate) const READ: &str = "SELECT n FROM counter WHERE id = ?1";
pub(crate) const RAISE: &str = "UPDATE counter SET n = ?2 WHERE id = ?1";
pub(crate) const APPEND: &str = "INSERT INTO q (queue, payload) VALUES ('default', ?1)";
pub(crate) const PAYLOAD: &str = r#"{"job":"SendWelcomeMail","user":42,"try":1}"#;
pub(crate) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// What one writer, process or contestant has done and suffered.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) writes: u64,
    /// `database is locked`, as the app sees it.
    pub(crate) busy_errors: u64,
    /// The writes of each writer.
    pub(crate) by_writer: Vec<u64>,
    pub(crate) waits: Histogram,
}

impl Outcome {
    pub(crate) fn merge(&mut self, other: &Self) {
        self.writes += other.writes;
        self.busy_errors += other.busy_errors;
        self.by_writer.extend(&other.by_writer);
        self.waits.merge(&other.waits);
    }
}

/// One write at a time, until the end. A write that met a busy error is tried
/// again at once: its wait is the time from the first try to the commit.
pub(crate) struct Turn {
    end: Instant,
    since: Instant,
}

impl Turn {
    pub(crate) fn new(time: Duration) -> Self {
        let since = Instant::now();
        let end = since + time;
        Self { end, since }
    }

    /// Notes how a try ended; false when it is time to stop.
    pub(crate) fn goes_on(&mut self, committed: bool, outcome: &mut Outcome) -> bool {
        let now = Instant::now();
        let over = now >= self.end;
        if committed {
            outcome.writes += 1;
        } else {
            outcome.busy_errors += 1;
        }
        // One that never got through has waited too.
        if committed || over {
            outcome.waits.record(now - self.since);
            self.since = now;
        }
        if over {
            outcome.by_writer = vec![outcome.writes];
        }
        !over
    }
}
