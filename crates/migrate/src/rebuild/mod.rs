//! The safe rebuild: SQLite's whole procedure for changing a table in ways
//! `ALTER TABLE` cannot, as one statement of ours and as one call.
//!
//! ```sql
//! REBUILD TABLE posts (
//!   id INTEGER PRIMARY KEY,
//!   title TEXT NOT NULL DEFAULT '',   -- comments stay
//!   total INTEGER NOT NULL CHECK (total >= 0)
//! ) STRICT
//!   RENAME COLUMN name TO title
//!   SET total = coalesce(price, 0) * count
//!   DROP COLUMN price, DROP COLUMN count;
//! ```
//!
//! ```
//! # use monolite_migrate::rebuild::Rebuild;
//! # let db = rusqlite::Connection::open_in_memory()?;
//! db.execute_batch("CREATE TABLE posts (id INTEGER PRIMARY KEY, title TEXT)")?;
//! Rebuild::table("posts")
//!     .column("title", |title| title.not_null(true).default("''"))
//!     .strict(true)
//!     .run(&db)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Rows keep their rowids; indexes, triggers, the counter of `AUTOINCREMENT` and
//! what `ANALYZE` knew are as before; views and the foreign keys of other tables
//! are never touched. The table's text is the one that was given, byte for byte.
//!
//! **All of it is one transaction** (or a savepoint in the caller's): whoever
//! dies between any two lines here leaves the database as it was, and any error
//! does too. Foreign keys are off meanwhile, for otherwise `DROP TABLE` deletes
//! the rows of `ON DELETE CASCADE` children; as that setting does nothing inside
//! a transaction, a rebuild in one begun with foreign keys on is refused.

mod compiled;
mod copy;
mod edit;
mod error;
mod firing;
mod fulltext;
mod keep;
mod look;
mod names;
mod parse;
mod plan;
mod prove;
mod qualified;
mod run;
mod same;
mod session;
mod values;

pub(crate) use compiled::Compiled;
pub use edit::ColumnEdit;
pub use error::{Error, Result};
pub(crate) use names::broken_object;
pub(crate) use plan::needs_value;
pub use run::{Rebuilt, Step};

use edit::Edit;

/// One change of one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rebuild {
    table: String,
    /// `CREATE TABLE …`; without it, the present text with the edits.
    definition: Option<String>,
    edits: Vec<Edit>,
    renames: Vec<(String, String)>,
    sets: Vec<(String, String)>,
    drops: Vec<String>,
    threads: u32,
}

impl Rebuild {
    /// A rebuild of this table; without anything more it changes nothing.
    #[must_use]
    pub fn table(name: impl Into<String>) -> Self {
        Self {
            table: name.into(),
            definition: None,
            edits: Vec::new(),
            renames: Vec::new(),
            sets: Vec::new(),
            drops: Vec::new(),
            threads: 0,
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.table
    }

    /// Columns, from and to.
    pub(crate) fn renames(&self) -> &[(String, String)] {
        &self.renames
    }

    /// Columns, and what each is set to.
    pub(crate) fn sets(&self) -> &[(String, String)] {
        &self.sets
    }

    /// The whole wanted definition: from the parenthesis on, or from `CREATE
    /// TABLE` on. Every column of the table that is not in it must be renamed
    /// or dropped.
    #[must_use]
    pub fn definition(mut self, text: &str) -> Self {
        let text = text.trim().trim_end_matches(';');
        self.definition = Some(match text.starts_with('(') {
            true => format!(
                "CREATE TABLE {} {text}",
                crate::sql::quote_name(&self.table)
            ),
            false => text.to_owned(),
        });
        self
    }

    /// A column gets another name, in triggers, views, indexes and foreign keys
    /// too.
    #[must_use]
    pub fn rename(mut self, from: &str, to: &str) -> Self {
        self.renames.push((from.to_owned(), to.to_owned()));
        self
    }

    /// Where a column's values come from: an expression over the columns as
    /// they were, under the names they had.
    #[must_use]
    pub fn set(mut self, column: &str, expression: &str) -> Self {
        self.sets.push((column.to_owned(), expression.to_owned()));
        self
    }

    /// A column goes, with its values.
    #[must_use]
    pub fn drop(mut self, column: &str) -> Self {
        self.drops.push(column.to_owned());
        self
    }

    /// Threads that sort beside this one while indexes are built; none unless said.
    #[must_use]
    pub fn threads(mut self, threads: u32) -> Self {
        self.threads = threads;
        self
    }
}
