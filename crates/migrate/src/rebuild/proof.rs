use std::collections::BTreeMap;

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::qualified::main_name;
use super::{Error, Result};
use crate::schema::{Generated, Schema, TableKind};
use crate::sql::{quote_name, same_name};

/// Which views and triggers SQLite can compile; else what it says of them.
///
/// Each twice: once as SQLite does, once so that a quoted name which is no
/// column is an error and not text, for it may have been a column before.
#[derive(Debug, Default)]
pub(super) struct Compiled {
    all: BTreeMap<(String, bool), Option<String>>,
}

impl Compiled {
    pub(super) fn of(conn: &Connection, schema: &Schema) -> rusqlite::Result<Self> {
        let statements = statements(conn, schema);
        let mut compiled = Self::default();
        compiled.add(conn, false, &statements);
        let settings = [
            DbConfig::SQLITE_DBCONFIG_DQS_DML,
            DbConfig::SQLITE_DBCONFIG_DQS_DDL,
        ];
        let mut were = Vec::new();
        for setting in settings {
            were.push(conn.db_config(setting)?);
            conn.set_db_config(setting, false)?;
        }
        compiled.add(conn, true, &statements);
        for (setting, was) in settings.into_iter().zip(were) {
            conn.set_db_config(setting, was)?;
        }
        Ok(compiled)
    }

    fn add(&mut self, conn: &Connection, exact: bool, statements: &[(String, String)]) {
        for (what, sql) in statements {
            let message = conn.prepare(sql).err().map(|error| error.to_string());
            let known = self.all.entry((what.clone(), exact)).or_default();
            if known.is_none() {
                *known = message;
            }
        }
    }

    /// # Errors
    /// What could be compiled before and cannot now.
    pub(super) fn check(&self, table: &str, now: &Self) -> Result<()> {
        for (key, message) in &now.all {
            if let Some(message) = message
                && matches!(self.all.get(key), Some(None))
            {
                return Err(Error::Breaks {
                    table: table.to_owned(),
                    what: key.0.clone(),
                    message: message.clone(),
                });
            }
        }
        Ok(())
    }
}

/// Statements that need each view, and each trigger: that is compiled with what
/// would fire it.
fn statements(conn: &Connection, schema: &Schema) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for view in &schema.views {
        let sql = format!("SELECT * FROM {}", main_name(&view.name));
        all.push((format!("the view {}", view.name), sql));
    }
    let mut on: Vec<&str> = schema
        .triggers
        .iter()
        .map(|one| one.table.as_str())
        .collect();
    on.sort_unstable();
    on.dedup();
    for table in on {
        let name = main_name(table);
        let what = || format!("a trigger on {table}");
        all.push((what(), format!("INSERT INTO {name} DEFAULT VALUES")));
        all.push((what(), format!("DELETE FROM {name}")));
        let sets: Vec<String> = columns(conn, schema, table)
            .iter()
            .map(|column| format!("{0} = {0}", quote_name(column)))
            .collect();
        if !sets.is_empty() {
            all.push((what(), format!("UPDATE {name} SET {}", sets.join(", "))));
        }
    }
    all
}

fn columns(conn: &Connection, schema: &Schema, name: &str) -> Vec<String> {
    if let Some(table) = schema.table(name) {
        let own = table
            .columns
            .iter()
            .filter(|one| one.generated == Generated::No);
        return own.map(|column| column.name.clone()).collect();
    }
    let view = conn.prepare(&format!("SELECT * FROM {}", main_name(name)));
    view.map_or(Vec::new(), |view| {
        view.column_names().into_iter().map(str::to_owned).collect()
    })
}

/// Rows whose foreign keys name nothing: of which table, in which.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Orphans {
    /// The rowids; tables without have none.
    rows: BTreeMap<(String, String), BTreeMap<Option<i64>, u64>>,
    pub(super) mismatches: Vec<String>,
}

impl Orphans {
    /// Those of a table, and of the tables that name it.
    pub(super) fn around(
        conn: &Connection,
        schema: &Schema,
        table: &str,
    ) -> rusqlite::Result<Self> {
        let mut found = Self::default();
        let own = schema.tables.iter().filter(|one| {
            let names = one
                .foreign_keys
                .iter()
                .any(|key| same_name(&key.parent, table));
            let is = same_name(&one.name, table) && !one.foreign_keys.is_empty();
            (names || is) && one.kind == TableKind::Ordinary
        });
        for child in own {
            match found.of(conn, &child.name) {
                Err(rusqlite::Error::SqliteFailure(_, Some(message)))
                    if message.starts_with("foreign key mismatch") =>
                {
                    found.mismatches.push(message);
                }
                other => other?,
            }
        }
        Ok(found)
    }

    fn of(&mut self, conn: &Connection, child: &str) -> rusqlite::Result<()> {
        let mut all = conn.prepare(&format!(
            "PRAGMA main.foreign_key_check({})",
            quote_name(child)
        ))?;
        let mut rows = all.query([])?;
        while let Some(row) = rows.next()? {
            let rowid: Option<i64> = row.get(1)?;
            let key = (row.get(0)?, row.get::<_, String>(2)?.to_ascii_lowercase());
            *self.rows.entry(key).or_default().entry(rowid).or_default() += 1;
        }
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.mismatches.is_empty()
    }

    /// # Errors
    /// When there are more than before; `mismatches` says if these count.
    pub(super) fn check(&self, table: &str, before: &Self, mismatches: bool) -> Result<()> {
        let new = self
            .mismatches
            .iter()
            .find(|one| mismatches && !before.mismatches.contains(one));
        if let Some(message) = new {
            return Err(Error::Mismatch {
                table: table.to_owned(),
                message: message.clone(),
            });
        }
        for (key, rows) in &self.rows {
            let known = |rowid| before.rows.get(key).and_then(|rows| rows.get(rowid));
            let new: Vec<_> = rows
                .iter()
                .map(|(rowid, count)| (rowid, count.saturating_sub(*known(rowid).unwrap_or(&0))))
                .filter(|(_, count)| *count > 0)
                .collect();
            if let Some((rowid, _)) = new.first() {
                return Err(Error::Orphans {
                    table: table.to_owned(),
                    child: key.0.clone(),
                    parent: key.1.clone(),
                    count: new.iter().map(|(_, count)| count).sum(),
                    example: rowid.map_or(String::new(), |rowid| {
                        format!(", for instance the one with rowid {rowid}")
                    }),
                });
            }
        }
        Ok(())
    }
}
