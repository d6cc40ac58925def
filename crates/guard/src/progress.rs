//! What a guarded migration is doing now, for whoever shows it.

use std::fmt;

/// An event of a guarded migration. [`messages`](crate::messages) has the words for people.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress {
    /// Another process holds the volume's migration lock; this migration waits for it.
    Waiting {
        /// The command and the process id of the holder, in words.
        holder: String,
    },
    /// A step with one database begins.
    Step {
        /// The database, by its path in the volume.
        database: String,
        /// What is done, as `comparing`.
        step: &'static str,
        /// Bytes that the step reads or writes, where known.
        total: Option<u64>,
    },
    /// That many more bytes of the step are done.
    Advance(u64),
    /// Something to know that stops nothing, in a sentence.
    Warning(String),
    /// No step is under way: the command runs next, or the migration has ended.
    Idle,
}

/// Reports the steps with one database.
pub struct DatabaseProgress<'p> {
    database: &'p str,
    report: &'p dyn Fn(Progress),
}

impl fmt::Debug for DatabaseProgress<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatabaseProgress")
            .field("database", &self.database)
            .finish_non_exhaustive()
    }
}

impl<'p> DatabaseProgress<'p> {
    /// Has the steps with `database`, named by its path in the volume, reported to `report`.
    pub fn new(database: &'p str, report: &'p dyn Fn(Progress)) -> Self {
        Self { database, report }
    }

    pub(crate) fn step(&self, step: &'static str, total: Option<u64>) {
        let database = self.database.to_owned();
        (self.report)(Progress::Step {
            database,
            step,
            total,
        });
    }

    pub(crate) fn advance(&self, bytes: u64) {
        (self.report)(Progress::Advance(bytes));
    }
}
