//! The states of a job.

use std::fmt;

/// The state of a job. `docs/jobs.md` draws the transitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum State {
    /// Waits for a worker.
    Ready,
    /// A worker has it.
    Running,
    /// Waits for its time: a delay, or the pause before another attempt.
    Scheduled,
    /// Waits for another job with the same limit key to end.
    Blocked,
    /// Ended well.
    Done,
    /// Given up: a dead letter, kept to be inspected and retried.
    Dead,
    /// Ended because somebody asked for it.
    Cancelled,
}

/// The number in the table. Ready and running jobs have the same one: only the
/// ready ones are in the ready table.
pub(crate) mod code {
    pub(crate) const PENDING: i64 = 2;
    pub(crate) const SCHEDULED: i64 = 3;
    pub(crate) const BLOCKED: i64 = 4;
    pub(crate) const DONE: i64 = 5;
    pub(crate) const DEAD: i64 = 6;
    pub(crate) const CANCELLED: i64 = 7;
}

impl State {
    /// All of them, in the order a job passes through them.
    pub const ALL: [Self; 7] = [
        Self::Ready,
        Self::Running,
        Self::Scheduled,
        Self::Blocked,
        Self::Done,
        Self::Dead,
        Self::Cancelled,
    ];

    /// True for done, dead and cancelled.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Done | Self::Dead | Self::Cancelled)
    }

    pub(crate) fn from_code(code: i64, ready: bool) -> Self {
        match code {
            code::SCHEDULED => Self::Scheduled,
            code::BLOCKED => Self::Blocked,
            code::DONE => Self::Done,
            code::DEAD => Self::Dead,
            code::CANCELLED => Self::Cancelled,
            _ if ready => Self::Ready,
            _ => Self::Running,
        }
    }

    /// Its name as the tables' view and the events write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Running => "running",
            Self::Scheduled => "scheduled",
            Self::Blocked => "blocked",
            Self::Done => "done",
            Self::Dead => "dead",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
