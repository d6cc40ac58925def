//! What is told to whoever waits, and how it is ended.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::error::{Error, Result};

/// Asks for the end of what waits; clones are the same one.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// What waits for the lock, or takes a snapshot, ends soon after with
    /// [`Error::Cancelled`]. What comes after the command is never cut short.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// True once [`Cancel::cancel`] was called.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn check(&self) -> Result<()> {
        match self.is_cancelled() {
            true => Err(Error::Cancelled),
            false => Ok(()),
        }
    }
}

/// What is going on, for whoever wants to show it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum News {
    /// Another migration has the lock; this one runs after it.
    Waiting {
        /// Whose it is.
        behind: String,
    },
    /// A step with a database begins; `total` is its bytes, where known.
    Step {
        /// The database, by its path in the volume.
        database: String,
        /// In a word or two, as `comparing`.
        step: &'static str,
        /// How many bytes it will be.
        total: Option<u64>,
    },
    /// That many more bytes of the step are done.
    Advance(u64),
    /// Something to know that stops nothing, in a sentence.
    Said(String),
    /// The steps are done for now: what comes next is not ours to show.
    Idle,
}

/// Where the progress of one database goes.
pub struct Tell<'t> {
    database: &'t str,
    to: &'t dyn Fn(News),
}

impl fmt::Debug for Tell<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tell")
            .field("database", &self.database)
            .finish_non_exhaustive()
    }
}

impl<'t> Tell<'t> {
    /// Tells `to` of `database`.
    pub fn new(database: &'t str, to: &'t dyn Fn(News)) -> Self {
        Self { database, to }
    }

    pub(super) fn step(&self, step: &'static str, total: Option<u64>) {
        let database = self.database.to_owned();
        (self.to)(News::Step {
            database,
            step,
            total,
        });
    }

    pub(super) fn advance(&self, bytes: u64) {
        (self.to)(News::Advance(bytes));
    }
}
