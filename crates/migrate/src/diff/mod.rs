//! Writes the migration from the schema of a database to the schema in a file, as a person
//! would write it.
//!
//! Changes that SQLite does safely itself (`ADD COLUMN`, `RENAME`, `DROP COLUMN`) are
//! `ALTER TABLE`; all others are a `REBUILD TABLE`. Tables and columns that the file does
//! not have are not dropped unless that is allowed. Comments give renames, values and
//! drops:
//!
//! ```sql
//! -- was: posts
//! CREATE TABLE articles (
//!   id INTEGER PRIMARY KEY,
//!   title TEXT NOT NULL,      -- was: name
//!   total INTEGER NOT NULL    -- set: price * count
//! );
//! -- monolite: allow column:articles.price: it is in total
//! ```
//!
//! **Every migration has been tried**: each statement runs on an empty copy of the live
//! schema as it is written, and at the end the copy must have the wanted schema; otherwise
//! the result is an error.

mod annotation;
mod error;
mod normal;
mod objects;
mod renames;
mod scratch;
mod tables;
mod wanted;

use std::borrow::Cow;
use std::collections::BTreeMap;

use rusqlite::Connection;

use crate::lint::{Finding, Linter};

pub use error::{Error, Result};

use scratch::Scratch;
use wanted::Wanted;

/// What a migration may do.
#[derive(Debug, Clone, Default)]
pub struct Options {
    allow_loss: Vec<String>,
    any_order: bool,
}

impl Options {
    /// The defaults: nothing is dropped, and columns get the wanted order.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What may be dropped, each as [`allowance`](crate::allowance) has it: `table:posts`,
    /// `column:posts.price`, by its name before the migration or after its renames. The statements
    /// that drop it allow it in a comment.
    #[must_use]
    pub fn allow_loss<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.allow_loss.extend(names.into_iter().map(Into::into));
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
    /// The statements, each with its `;`, for a migration file. Empty if there is nothing to
    /// do.
    pub sql: String,
    /// What was left as it is, and how to change it.
    pub notes: Vec<String>,
}

impl Migration {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sql.is_empty()
    }
}

/// The migration from the schema of `live` to the schema that the text `wanted` creates.
/// `live` is only read.
///
/// # Errors
/// When `wanted` cannot be read, something would be dropped that is not allowed, or a new
/// column has no value for the existing rows.
pub fn diff(live: &Connection, wanted: &str, options: &Options) -> Result<Migration> {
    let mut migration = tried(live, wanted, options)?;
    let linted = lint_findings(live, &migration.sql);
    let findings = linted.map_err(Error::doing("look for what the migration drops"))?;
    migration.sql = with_allowances(&migration.sql, &findings);
    Ok(migration)
}

fn lint_findings(live: &Connection, sql: &str) -> rusqlite::Result<Vec<Finding>> {
    match sql.is_empty() {
        true => Ok(Vec::new()),
        false => Linter::uncounted(live)?.file("0001_diff.sql", sql),
    }
}

/// What the statements drop or overwrite was allowed, or written into the schema file: they say so.
fn with_allowances(sql: &str, findings: &[Finding]) -> String {
    let is_meant = |finding: &&Finding| {
        let rules = ["drop-table", "drop-column", "update-all"];
        finding.is_error() && rules.contains(&finding.rule.name)
    };
    // By the line of the statement.
    let mut names: BTreeMap<usize, Vec<&str>> = BTreeMap::new();
    for finding in findings.iter().filter(is_meant) {
        let of = names.entry(finding.line).or_default();
        of.extend(finding.allow.as_deref());
    }
    let mut lines: Vec<Cow<'_, str>> = sql.split('\n').map(Cow::from).collect();
    for (line, names) in names.into_iter().rev() {
        let comment = format!(
            "-- monolite: allow {}: as the schema file says",
            names.join(", ")
        );
        lines.insert(line.saturating_sub(1).min(lines.len()), comment.into());
    }
    lines.join("\n")
}

fn tried(live: &Connection, wanted: &str, options: &Options) -> Result<Migration> {
    let mut wanted = Wanted::read(wanted, options)?;
    let mut scratch = Scratch::of(live)?;
    if wanted.is_empty() && scratch.own_tables().next().is_some() {
        return Err(Error::Empty);
    }
    scratch.notes.clone_from(&wanted.notes);
    tables::compare_app_virtual(&mut scratch, &wanted)?;
    // Views and triggers work under new names only after the renames, which full-text
    // indexes do not follow: so both before and after them.
    let live = scratch.compiled()?;
    let names = options.allow_loss.iter();
    let mut unknown: Vec<&String> = names.filter(|name| !scratch.has_what(name)).collect();
    renames::rename(&mut scratch, &wanted)?;
    unknown.retain(|name| !scratch.has_what(name));
    for name in unknown {
        scratch
            .notes
            .push(format!("--allow-loss {name} names nothing that is there"));
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
