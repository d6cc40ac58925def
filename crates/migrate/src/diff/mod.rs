//! From the schema a database has to the one a file says, as a migration a
//! person would have written.
//!
//! What SQLite does safely itself (`ADD COLUMN`, `RENAME`, `DROP COLUMN`) is left
//! to it, everything else is a `REBUILD TABLE`. Tables and columns that the file
//! does not have are not dropped unless that is said; a rename is said by a
//! comment:
//!
//! ```sql
//! -- was: posts
//! CREATE TABLE articles (
//!   id INTEGER PRIMARY KEY,
//!   title TEXT NOT NULL,      -- was: name
//!   total INTEGER NOT NULL    -- set: price * count
//! );
//! -- monolite: drop articles.price
//! ```
//!
//! **What is given out has been tried**: each statement runs on an empty copy of
//! the live schema while it is written, and at the end the copy must have the
//! wanted schema, or there is an error instead of a migration.

mod annotation;
mod error;
mod foreign;
mod normal;
mod objects;
mod renames;
mod scratch;
mod table;
mod tables;
mod wanted;

use rusqlite::Connection;

pub use error::{Error, Result};

use scratch::Scratch;
use wanted::Wanted;

/// What a migration may do.
#[derive(Debug, Clone, Default)]
pub struct Options {
    allow_drop: Vec<String>,
    any_order: bool,
}

impl Options {
    /// The defaults: nothing is dropped, and columns get the wanted order.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What may be dropped: each a `table` or `table.column`, by its name before the
    /// migration or after its renames.
    #[must_use]
    pub fn allow_drop<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.allow_drop.extend(names.into_iter().map(Into::into));
        self
    }

    /// Do not rebuild a table only for the order of its columns. Default: do.
    #[must_use]
    pub fn any_order(mut self, any_order: bool) -> Self {
        self.any_order = any_order;
        self
    }
}

/// The way from one schema to another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Migration {
    /// The statements, each with its `;`, ready for a migration file. Empty when
    /// there is nothing to do.
    pub sql: String,
    /// What was left as it is, and how to say otherwise.
    pub notes: Vec<String>,
}

impl Migration {
    /// Is there nothing to do?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sql.is_empty()
    }
}

/// What takes `live` to the schema that `wanted` makes. `live` is only read.
///
/// # Errors
/// When `wanted` cannot be read, when something would have to be dropped that
/// nobody allowed, when a new column has no value for the rows there are.
pub fn diff(live: &Connection, wanted: &str, options: &Options) -> Result<Migration> {
    let mut wanted = Wanted::read(wanted, options)?;
    let mut scratch = Scratch::of(live)?;
    if wanted.is_empty() && scratch.own_tables().next().is_some() {
        return Err(Error::Empty);
    }
    scratch.notes.clone_from(&wanted.notes);
    foreign::compare(&mut scratch, &wanted)?;
    // What is named by a table is so by its new name only after the renames, and
    // these are not told to full-text indexes.
    let live = scratch.compiled()?;
    let names = options.allow_drop.iter();
    let mut unknown: Vec<&String> = names.filter(|name| !scratch.has_what(name)).collect();
    renames::rename(&mut scratch, &wanted)?;
    unknown.retain(|name| !scratch.has_what(name));
    if let Some(name) = unknown.first() {
        return Err(Error::NothingToDrop {
            name: (*name).clone(),
        });
    }
    let renamed = scratch.compiled()?;
    let meant = scratch.meant(&mut wanted);
    let plans = tables::plan(&mut scratch, &wanted)?;
    objects::drop_changed(&mut scratch, &wanted)?;
    tables::change(&mut scratch, plans)?;
    objects::create_missing(&mut scratch, &wanted)?;
    scratch.prove(&wanted)?;
    scratch.unbroken(&[live, renamed], &meant)?;
    Ok(Migration {
        sql: scratch.statements.join("\n"),
        notes: scratch.notes,
    })
}
