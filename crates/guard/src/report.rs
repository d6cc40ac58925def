//! What a migration took away, in values that programs can read too.

use serde::{Deserialize, Serialize};

use crate::allow::Allowance;

/// The kinds, each with its one name for people, flags and programs.
macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $name:literal,)*) => {
        /// What kind of thing was lost. Its name in `--allow-loss kind:name` is
        /// the one of [`Kind::name`].
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Kind {
            $($(#[$doc])* #[serde(rename = $name)] $kind,)*
        }

        impl Kind {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$kind,)*];

            /// As in `--allow-loss trigger:posts_search`.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)*
                }
            }
        }
    };
}

kinds! {
    /// The whole database: its file is gone, or empty.
    Database = "database",
    /// It is there, and SQLite cannot read it: the whole file, or one table.
    Unreadable = "unreadable",
    /// A table with rows in it.
    Table = "table",
    /// Rows of a table that is still there.
    Rows = "rows",
    /// A column that held values.
    Column = "column",
    /// Values of a column that is still there: they are NULL now, or what the
    /// column has by default.
    Values = "values",
    /// The primary key of a table.
    PrimaryKey = "primary_key",
    /// An index, or what made it unique or partial.
    Index = "index",
    /// A foreign key, or what it did on a delete or an update.
    ForeignKey = "foreign_key",
    /// A CHECK constraint.
    Check = "check",
    /// A trigger.
    Trigger = "trigger",
    /// A view.
    View = "view",
    /// The table was STRICT.
    Strict = "strict",
    /// Rows point to rows that are not there, and did not before.
    Violation = "violation",
    /// A view cannot be read, or a table not be written, any more.
    Broken = "broken",
    /// SQLite finds damage that was not there before.
    Integrity = "integrity",
}

impl Kind {
    /// Whether it is of a table and what hangs on it, and not of the state that
    /// the table was left in.
    pub(super) fn is_of_table(self) -> bool {
        !matches!(
            self,
            Self::Database | Self::Unreadable | Self::Violation | Self::Broken | Self::Integrity
        )
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
    /// More about it: a definition, SQLite's own words.
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

/// What a note is about; the gravest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum About {
    /// Damage that was there before the migration.
    OlderDamage,
    /// What could not be looked at.
    Unseen,
    /// Something a definition demands or does no more, or otherwise.
    Definition,
    /// Rows and values that are others now.
    Data,
    /// Something that is there under another name, or is gone and held nothing.
    Name,
}

/// Something a migration did that is no loss.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Note {
    /// What it is about.
    pub about: About,
    /// For people.
    pub text: String,
}

/// What a migration did to one database.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The database, by its path in the volume.
    pub database: String,
    /// What it took away.
    pub losses: Vec<Loss>,
    /// What else it did, as far as it may matter; the gravest first.
    pub notes: Vec<Note>,
}

impl Report {
    /// Losses that nobody allowed.
    pub fn refused(&self) -> impl Iterator<Item = &Loss> {
        self.losses.iter().filter(|loss| !loss.is_allowed())
    }

    /// Marks the losses that are covered by one of these.
    pub fn allow<'a>(&mut self, allowances: impl IntoIterator<Item = &'a Allowance> + Clone) {
        for loss in &mut self.losses {
            let mut allow = allowances.clone().into_iter();
            let by = allow.find(|by| by.covers(&self.database, loss));
            loss.allowed_by = by.map(|by| by.text().into());
        }
    }

    pub(super) fn note(&mut self, about: About, text: impl Into<String>) {
        let text = text.into();
        self.notes.push(Note { about, text });
    }
}
