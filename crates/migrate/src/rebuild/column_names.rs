//! The names of the old table's columns: before, during and after a rebuild.

use rusqlite::Connection;

use super::move_aside::{main_name, writable};
use super::{Error, Rebuild, Result};
use crate::schema::{ROWID_NAMES, Table};
use crate::sql::{quote_name, same_name};

/// Prefix of a temporary name of a column; a number follows.
const TEMPORARY: &str = "_monolite_was_";

/// A column of the old table.
#[derive(Debug, Clone)]
pub(super) struct Name {
    /// Its name before the rebuild.
    pub(super) was: String,
    /// Its name in the new table, if it is in that.
    pub(super) now: String,
    /// Its name in the old table once that is moved aside.
    pub(super) moved: String,
}

/// The names of the old table's columns, in order.
#[derive(Debug, Clone)]
pub(super) struct Names {
    all: Vec<Name>,
    /// The position of the column that is the rowid.
    key: Option<usize>,
    has_rowid: bool,
}

impl Names {
    pub(super) fn of(table: &Table) -> Self {
        let all = table.columns.iter().map(|column| Name {
            was: column.name.clone(),
            now: column.name.clone(),
            moved: column.name.clone(),
        });
        Self {
            all: all.collect(),
            key: table.columns.iter().position(|column| column.is_rowid),
            has_rowid: !table.without_rowid,
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Name> {
        self.all.iter()
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// The column with this name in the new table.
    pub(super) fn by_now(&self, now: &str) -> Option<&Name> {
        self.all.iter().find(|name| same_name(&name.now, now))
    }

    /// The column with this name before the rebuild.
    pub(super) fn by_was(&self, was: &str) -> Option<&Name> {
        self.all.iter().find(|name| same_name(&name.was, was))
    }

    /// SQLite's message with the old names in place of temporary ones.
    pub(super) fn with_old_names(&self, message: &str) -> String {
        let mut text = message.to_owned();
        let temporary = |name: &&Name| name.now.starts_with(TEMPORARY);
        for name in self.all.iter().filter(temporary) {
            text = text.replace(&name.now, &name.was);
        }
        text
    }

    /// SQL for the rowid of the table that is moved aside.
    pub(super) fn rowid(&self) -> Option<String> {
        if !self.has_rowid {
            return None;
        }
        if let Some(key) = self.key.and_then(|at| self.all.get(at)) {
            return Some(quote_name(&key.moved));
        }
        let free = ROWID_NAMES
            .into_iter()
            .find(|free| !self.all.iter().any(|name| same_name(&name.moved, free)));
        free.map(str::to_owned)
    }

    /// Renames columns by `ALTER TABLE`, which changes triggers, views, indexes and other
    /// tables' foreign keys too. A column that has the new name of another gets a
    /// temporary name.
    pub(super) fn rename(conn: &Connection, rebuild: &Rebuild, table: &Table) -> Result<Self> {
        let mut names = Self::of(table);
        for (count, (from, to)) in rebuild.renames.iter().enumerate() {
            let source = names.all.iter().position(|name| same_name(&name.was, from));
            let Some(source) = source else {
                let what = format!("it has no column {from} to rename to {to}");
                return Err(Error::clause(&table.name, what));
            };
            let in_the_way = names
                .all
                .iter()
                .position(|name| same_name(&name.now, to))
                .filter(|&at| at != source);
            if let Some(at) = in_the_way {
                names.rename_one(conn, table, at, &format!("{TEMPORARY}{count}"))?;
            }
            names.rename_one(conn, table, source, to)?;
        }
        Ok(names)
    }

    fn rename_one(&mut self, conn: &Connection, table: &Table, at: usize, to: &str) -> Result<()> {
        let Some(name) = self.all.get_mut(at) else {
            return Ok(());
        };
        let sql = renaming(&table.name, &name.now, to);
        conn.execute_batch(&sql).map_err(|source| Error::Sqlite {
            table: table.name.clone(),
            doing: format!("the renaming of {} to {to}", name.was),
            advice: broken_object(&source).to_owned(),
            source: Box::new(source),
        })?;
        to.clone_into(&mut name.now);
        to.clone_into(&mut name.moved);
        Ok(())
    }

    /// Makes the rowid of the table that is moved aside reachable, where columns have all
    /// three of its names. Nothing refers to that table: with a writable schema SQLite
    /// ignores other objects that do not compile.
    pub(super) fn free_rowid(&mut self, conn: &Connection, moved: &str) -> rusqlite::Result<()> {
        if !self.has_rowid || self.rowid().is_some() {
            return Ok(());
        }
        let hides = |name: &&mut Name| same_name(&name.moved, "oid");
        let Some(name) = self.all.iter_mut().find(hides) else {
            return Ok(());
        };
        let sql = renaming(moved, &name.moved, "_monolite_oid");
        writable(conn, || conn.execute_batch(&sql))?;
        "_monolite_oid".clone_into(&mut name.moved);
        Ok(())
    }
}

fn renaming(table: &str, from: &str, to: &str) -> String {
    format!(
        "ALTER TABLE {} RENAME COLUMN {} TO {}",
        main_name(table),
        quote_name(from),
        quote_name(to)
    )
}

/// Advice if a rename fails because of another object that does not compile; or
/// nothing.
pub(crate) fn broken_object(error: &rusqlite::Error) -> &'static str {
    let message = error.to_string();
    if message.starts_with("error in view") || message.starts_with("error in trigger") {
        "; it does not work as it is, and SQLite reads all of them to rename anything: correct it or \
         drop it first"
    } else {
        ""
    }
}
