//! What a migration took away, in values that programs can read too.

use crc_fast::{CrcAlgorithm, checksum};
use serde::{Deserialize, Serialize};

pub use monolite_migrate::allowance::LossKind as Kind;
use monolite_migrate::allowance::{Allowance, Lost};

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
    /// What to say to `--allow-loss` if this is meant, and no other loss.
    #[serde(default)]
    pub allow: String,
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
            allow: String::new(),
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

    /// What to say to `--allow-loss` if this is meant, and no other loss; of this `database` only,
    /// if that is given.
    #[must_use]
    pub fn allowance(&self, database: Option<&str>) -> String {
        self.as_lost(&self.exactly()).allowance(database)
    }

    /// How much was lost, so that an allowance for it is none for more of it, or for another one.
    fn exactly(&self) -> String {
        let is_definition = self.kind == Kind::Constraint;
        match (self.count, is_definition) {
            (0, true) => {
                let sum = checksum(CrcAlgorithm::Crc32IsoHdlc, self.detail.as_bytes());
                format!("{:04x}", sum & 0xffff)
            }
            (0, false) => String::new(),
            (count, _) => count.to_string(),
        }
    }

    pub(super) fn is_meant(&self, database: &str, by: &Allowance) -> bool {
        by.covers(database, self.as_lost(&self.exactly()))
    }

    fn as_lost<'l>(&'l self, exactly: &'l str) -> Lost<'l> {
        Lost {
            kind: self.kind,
            table: self.table.as_deref(),
            name: self.name.as_deref(),
            exactly,
        }
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

    pub(super) fn note(&mut self, about: About, text: impl Into<String>) {
        let text = text.into();
        self.notes.push(Note { about, text });
    }
}
