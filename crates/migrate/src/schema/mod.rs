//! What a database has: its tables, indexes, triggers and views, as SQLite
//! itself describes them.

mod affinity;
mod index;
mod object;
mod orphans;
mod parentless;
mod read;
mod stand_in;
mod table;

pub use affinity::Affinity;
pub use index::{Index, IndexColumn, Origin};
pub use object::{Trigger, View};
pub use orphans::Orphans;
pub(crate) use table::ROWID_NAMES;
pub use table::{Column, ForeignKey, Generated, Table, TableKind};

pub(crate) use stand_in::StandIns;
pub use stand_in::stand_in_collations;

use crate::sql::same_name;

/// Everything in the schema `main` of a database, as it is at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Schema {
    /// Tables of every kind, SQLite's own left out, in order of creation.
    pub tables: Vec<Table>,
    /// Indexes, those of constraints too, in order of creation.
    pub indexes: Vec<Index>,
    /// Triggers, in order of creation.
    pub triggers: Vec<Trigger>,
    /// Views, in order of creation.
    pub views: Vec<View>,
}

impl Schema {
    /// The table of this name, in any case.
    #[must_use]
    pub fn table(&self, name: &str) -> Option<&Table> {
        self.tables.iter().find(|one| same_name(&one.name, name))
    }

    /// The view of this name, in any case.
    #[must_use]
    pub fn view(&self, name: &str) -> Option<&View> {
        self.views.iter().find(|one| same_name(&one.name, name))
    }

    /// The indexes of a table.
    pub fn indexes_of<'s>(&'s self, table: &'s str) -> impl Iterator<Item = &'s Index> {
        self.indexes
            .iter()
            .filter(move |one| same_name(&one.table, table))
    }

    /// The triggers on a table or view.
    pub fn triggers_of<'s>(&'s self, table: &'s str) -> impl Iterator<Item = &'s Trigger> {
        self.triggers
            .iter()
            .filter(move |one| same_name(&one.table, table))
    }

    /// The tables whose foreign keys name this one, itself too.
    pub fn children_of<'s>(&'s self, parent: &'s str) -> impl Iterator<Item = &'s Table> {
        self.tables.iter().filter(move |one| {
            one.foreign_keys
                .iter()
                .any(|key| same_name(&key.parent, parent))
        })
    }
}
