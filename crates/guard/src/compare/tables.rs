//! Which table after the migration is which before it.

use std::collections::{BTreeMap, BTreeSet};

use monolite_migrate::schema::{Schema, Table};
use monolite_migrate::sql::name_key;

/// Tables and columns before, and their names after.
#[derive(Debug, Default)]
pub(super) struct Matches {
    /// By the key of the name before.
    tables: BTreeMap<String, String>,
    /// By the keys of table and column before.
    columns: BTreeMap<(String, String), String>,
    taken: BTreeSet<String>,
}

impl Matches {
    pub(super) fn table(&mut self, before: &Table, after: &Table) {
        self.taken.insert(name_key(&after.name));
        self.tables
            .insert(name_key(&before.name), after.name.clone());
    }

    pub(super) fn rename_columns(&mut self, before: &Table, renamed: &[(String, String)]) {
        for (from, to) in renamed {
            let of = (name_key(&before.name), name_key(from));
            self.columns.insert(of, to.clone());
        }
    }

    /// The name now of the table that had this one.
    pub(super) fn of(&self, before: &str) -> Option<&str> {
        self.tables.get(&name_key(before)).map(String::as_str)
    }

    /// Whether a table of now is one of before.
    pub(super) fn is_taken(&self, after: &str) -> bool {
        self.taken.contains(&name_key(after))
    }

    /// The name now of a column, or what it would be.
    pub(super) fn column(&self, before: &Table, column: &str) -> String {
        let of = (name_key(&before.name), name_key(column));
        let renamed = self.columns.get(&of).cloned();
        renamed.unwrap_or_else(|| column.into())
    }

    pub(super) fn pairs<'f>(
        &self,
        before: &'f Schema,
        after: &'f Schema,
    ) -> Vec<(&'f Table, &'f Table)> {
        let pairs = self.tables.iter();
        pairs
            .filter_map(|(was, now)| Some((before.table(was)?, after.table(now)?)))
            .collect()
    }
}
