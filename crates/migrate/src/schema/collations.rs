//! Collations that only the app defines, and stand-ins for them.

use std::collections::BTreeSet;

use rusqlite::{Connection, Error, Result, ffi};

use super::Schema;
use crate::sql::{TokenType, quote_name, same_name, tokens, unquote_name};

/// Whether this is one of SQLite's own collations.
pub(crate) fn is_builtin_collation(name: &str) -> bool {
    ["BINARY", "NOCASE", "RTRIM"]
        .iter()
        .any(|own| same_name(own, name))
}

/// Lets statements on `conn` name collations that it does not have: each one
/// compares as `BINARY`. Enough for reading a schema and for comparing values;
/// writing to an index with such a collation would break its order.
///
/// # Errors
/// When SQLite does not take the callback.
pub fn stand_in_collations(conn: &Connection) -> Result<()> {
    conn.collation_needed(|conn, name| conn.create_collation(name, |a: &str, b: &str| a.cmp(b)))
}

/// Stand-ins while SQLite reads definitions that name such collations, and no rows.
pub(crate) struct StandIns<'c> {
    conn: &'c Connection,
    names: Vec<String>,
}

impl<'c> StandIns<'c> {
    /// For missing collations that neither `table`, nor its parents and children, nor their
    /// indexes name.
    pub(crate) fn for_other_tables(
        conn: &'c Connection,
        schema: &Schema,
        table: &str,
    ) -> Result<Self> {
        let is_related = |name: &str| {
            let is_child = schema
                .children_of(table)
                .any(|child| same_name(&child.name, name));
            let is_parent = schema.table(table).is_some_and(|table| {
                let mut keys = table.foreign_keys.iter();
                keys.any(|key| same_name(&key.parent, name))
            });
            same_name(name, table) || is_child || is_parent
        };
        let tables = schema
            .tables
            .iter()
            .map(|one| (is_related(&one.name), one.sql.as_str()));
        let indexes = schema
            .indexes
            .iter()
            .filter_map(|one| Some((is_related(&one.table), one.sql.as_deref()?)));
        let views = schema.views.iter().map(|one| (false, one.sql.as_str()));
        let triggers = schema
            .triggers
            .iter()
            .map(|one| (same_name(&one.table, table), one.sql.as_str()));
        let (mut related, mut unrelated) = (BTreeSet::new(), BTreeSet::new());
        for (is_of_related, sql) in tables.chain(indexes).chain(views).chain(triggers) {
            let named = if is_of_related {
                &mut related
            } else {
                &mut unrelated
            };
            named.extend(collations(sql));
        }
        let mut stand_ins = Self {
            conn,
            names: Vec::new(),
        };
        for name in unrelated.difference(&related) {
            let used = format!("SELECT '' = '' COLLATE {}", quote_name(name));
            if conn.prepare(&used).is_err() {
                refuse_busy(conn, name)?;
                conn.create_collation(name.as_str(), |a: &str, b: &str| a.cmp(b))?;
                stand_ins.names.push(name.clone());
            }
        }
        Ok(stand_ins)
    }

    /// Removes them.
    pub(crate) fn end(mut self) -> Result<()> {
        while let Some(name) = self.names.last() {
            self.conn.remove_collation(name.as_str())?;
            self.names.pop();
        }
        Ok(())
    }
}

impl Drop for StandIns<'_> {
    fn drop(&mut self) {
        for name in self.names.drain(..) {
            // It fails only while a statement runs, and none ran at the beginning.
            let _ = self.conn.remove_collation(name.as_str());
        }
    }
}

/// SQLite removes no collation while a statement runs: a stand-in would stay on the
/// caller's connection, and corrupt the order of an index at the next write.
fn refuse_busy(conn: &Connection, name: &str) -> Result<()> {
    if !conn.is_busy() {
        return Ok(());
    }
    Err(Error::SqliteFailure(
        ffi::Error::new(ffi::SQLITE_BUSY),
        Some(format!(
            "the collation {name} is missing, and cannot be replaced while a statement of this \
             connection runs: finish that statement first"
        )),
    ))
}

/// The collations a text names, in lower case.
fn collations(sql: &str) -> Vec<String> {
    let all = tokens(sql).unwrap_or_default();
    let named = all.windows(2).filter_map(|pair| {
        matches!(pair, [word, _] if word.kind == TokenType::TK_COLLATE)
            .then(|| pair.last())
            .flatten()
    });
    named
        .map(|name| unquote_name(name.text(sql)).to_ascii_lowercase())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_names_an_unknown_collation_can_be_read() {
        let conn = Connection::open_in_memory().unwrap();
        conn.create_collation("icu", |a: &str, b: &str| a.cmp(b))
            .unwrap();
        conn.execute_batch(
            "CREATE TABLE t (a TEXT COLLATE icu); INSERT INTO t VALUES ('b'), ('a')",
        )
        .unwrap();
        conn.remove_collation("icu").unwrap();
        let first = || conn.query_row("SELECT a FROM t ORDER BY a", [], |row| row.get(0));
        assert!(first().is_err());
        stand_in_collations(&conn).unwrap();
        let first: String = first().unwrap();
        assert_eq!(first, "a");
    }
}
