//! What a migration took away, in values that programs can read too.

use serde::{Deserialize, Serialize};

/// What kind of thing was lost. Its name in `--allow-loss kind:name` is the
/// one of [`Kind::name`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The whole database: its file is gone, or empty.
    Database,
    /// The file is there, and SQLite cannot read it.
    Unreadable,
    /// A table with rows in it.
    Table,
    /// Rows of a table that is still there.
    Rows,
    /// A column that held values.
    Column,
    /// Values of a column that is still there: they are NULL now.
    Values,
    /// The key by which a table's rows are told apart.
    PrimaryKey,
    /// An index, or what made it unique or partial.
    Index,
    /// A foreign key, or what it does on a delete or an update.
    ForeignKey,
    /// A CHECK constraint.
    Check,
    /// A trigger.
    Trigger,
    /// A view.
    View,
    /// The table was STRICT.
    Strict,
    /// The table's AUTOINCREMENT, or the number it had counted to.
    Autoincrement,
    /// Rows point to rows that are not there, and did not before.
    Violation,
    /// A view cannot be read, or a table not be written, any more.
    Broken,
    /// SQLite finds damage that was not there before.
    Integrity,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::Database,
        Self::Unreadable,
        Self::Table,
        Self::Rows,
        Self::Column,
        Self::Values,
        Self::PrimaryKey,
        Self::Index,
        Self::ForeignKey,
        Self::Check,
        Self::Trigger,
        Self::View,
        Self::Strict,
        Self::Autoincrement,
        Self::Violation,
        Self::Broken,
        Self::Integrity,
    ];

    /// As in `--allow-loss trigger:posts_search`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Database => "database",
            Self::Unreadable => "unreadable",
            Self::Table => "table",
            Self::Rows => "rows",
            Self::Column => "column",
            Self::Values => "values",
            Self::PrimaryKey => "primary_key",
            Self::Index => "index",
            Self::ForeignKey => "foreign_key",
            Self::Check => "check",
            Self::Trigger => "trigger",
            Self::View => "view",
            Self::Strict => "strict",
            Self::Autoincrement => "autoincrement",
            Self::Violation => "violation",
            Self::Broken => "broken",
            Self::Integrity => "integrity",
        }
    }
}

/// One thing that was there before the migration and is not after it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// What kind of thing.
    pub kind: Kind,
    /// Of which table, if of one; under its name before the migration.
    pub table: Option<String>,
    /// Its own name: of the column, the index, the trigger, the view.
    pub name: Option<String>,
    /// How many rows or values; 0 for what is not counted.
    pub count: u64,
    /// Of how many there were.
    pub of: u64,
    /// What there is to say besides: a definition, SQLite's own words.
    pub detail: String,
    /// The allowance that covers it.
    pub allowed_by: Option<String>,
}

impl Loss {
    pub(super) fn new(kind: Kind, table: Option<&str>, name: Option<&str>) -> Self {
        Self {
            kind,
            table: table.map(Into::into),
            name: name.map(Into::into),
            count: 0,
            of: 0,
            detail: String::new(),
            allowed_by: None,
        }
    }

    pub(super) fn counted(mut self, count: u64, of: u64) -> Self {
        (self.count, self.of) = (count, of);
        self
    }

    pub(super) fn saying(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into();
        self
    }

    /// Whether it was named as meant.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        self.allowed_by.is_some()
    }
}

/// What a migration did to one database.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The database, by its path in the volume.
    pub database: String,
    /// What it took away.
    pub losses: Vec<Loss>,
    /// What it did besides, as far as it may matter: renames, values that are
    /// others now, damage that was there before. For people.
    pub notes: Vec<String>,
}

impl Report {
    /// Losses that nobody allowed.
    pub fn refused(&self) -> impl Iterator<Item = &Loss> {
        self.losses.iter().filter(|loss| !loss.is_allowed())
    }
}
