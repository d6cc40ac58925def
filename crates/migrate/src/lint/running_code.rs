//! The tables and columns that the running version of the app knows, under their
//! present names.

use std::collections::BTreeMap;

use crate::schema::{Schema, Table, TableKind};
use crate::sql::same_name;

/// What the running version of the app knows.
#[derive(Debug, Clone, Default)]
pub(super) struct RunningCode {
    /// By present name in lower case.
    tables: BTreeMap<String, KnownTable>,
    views: Vec<String>,
}

#[derive(Debug, Clone)]
pub(super) struct KnownTable {
    /// The name that the running code uses: that in the database.
    pub(super) name: String,
    /// Its columns, by present name in lower case.
    columns: Vec<String>,
}

impl RunningCode {
    pub(super) fn of(schema: &Schema) -> Self {
        let tables = schema
            .tables
            .iter()
            .filter(|table| table.kind != TableKind::Shadow && !is_monolites_own(&table.name));
        Self {
            tables: tables
                .map(|table| (lower(&table.name), KnownTable::of(table)))
                .collect(),
            views: schema.views.iter().map(|view| view.name.clone()).collect(),
        }
    }

    pub(super) fn table(&self, name: &str) -> Option<&KnownTable> {
        self.tables.get(&lower(name))
    }

    /// Its tables, by present name in lower case.
    pub(super) fn tables(&self) -> impl Iterator<Item = (&str, &KnownTable)> {
        self.tables.iter().map(|(name, of)| (name.as_str(), of))
    }

    /// The tables that have another name now than in the database: that, and the one there.
    pub(super) fn renamed(&self) -> Vec<(String, String)> {
        let all = self.tables.iter();
        all.filter(|(now, of)| !same_name(now, &of.name))
            .map(|(now, of)| (now.clone(), of.name.clone()))
            .collect()
    }

    pub(super) fn view(&self, name: &str) -> Option<&str> {
        let mut views = self.views.iter().map(String::as_str);
        views.find(|view| same_name(view, name))
    }

    pub(super) fn rename_table(&mut self, from: &str, to: &str) {
        if let Some(table) = self.tables.remove(&lower(from)) {
            self.tables.insert(lower(to), table);
        }
    }

    pub(super) fn rename_column(&mut self, table: &str, from: &str, to: &str) {
        if let Some(table) = self.tables.get_mut(&lower(table)) {
            let columns = table.columns.iter_mut();
            columns
                .filter(|column| **column == lower(from))
                .for_each(|column| *column = lower(to));
        }
    }

    pub(super) fn drop_column(&mut self, table: &str, column: &str) {
        if let Some(table) = self.tables.get_mut(&lower(table)) {
            table.columns.retain(|known| *known != lower(column));
        }
    }

    pub(super) fn drop_table(&mut self, name: &str) -> Option<KnownTable> {
        self.tables.remove(&lower(name))
    }

    /// A table was created again under the name of a known one.
    pub(super) fn recreated(&mut self, name: &str, mut table: KnownTable, now: &Table) {
        table.columns.retain(|column| now.column(column).is_some());
        self.tables.insert(lower(name), table);
    }
}

impl KnownTable {
    fn of(table: &Table) -> Self {
        Self {
            name: table.name.clone(),
            columns: table
                .columns
                .iter()
                .map(|column| lower(&column.name))
                .collect(),
        }
    }

    /// By present name in lower case.
    pub(super) fn columns(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(String::as_str)
    }

    pub(super) fn has(&self, column: &str) -> bool {
        self.columns.contains(&lower(column))
    }
}

fn lower(name: &str) -> String {
    name.to_ascii_lowercase()
}

/// Monolite's own tables are not part of the app.
fn is_monolites_own(name: &str) -> bool {
    name.starts_with("_monolite_")
}
