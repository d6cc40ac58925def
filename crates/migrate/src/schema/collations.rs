//! Collations of the app's own, which only the app has.

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

/// Stand-ins for as long as SQLite has to read texts that name such collations,
/// and no rows.
pub(crate) struct StandIns<'c> {
    conn: &'c Connection,
    names: Vec<String>,
}

impl<'c> StandIns<'c> {
    /// For those that only stand far from a table: neither in its text, nor in
    /// that of a table it refers to or that refers to it, nor of their indexes.
    pub(crate) fn beside(conn: &'c Connection, schema: &Schema, table: &str) -> Result<Self> {
        let own = |name: &str| {
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
            .map(|one| (own(&one.name), one.sql.as_str()));
        let indexes = schema
            .indexes
            .iter()
            .filter_map(|one| Some((own(&one.table), one.sql.as_deref()?)));
        let views = schema.views.iter().map(|one| (false, one.sql.as_str()));
        let triggers = schema
            .triggers
            .iter()
            .map(|one| (same_name(&one.table, table), one.sql.as_str()));
        let (mut near, mut far) = (BTreeSet::new(), BTreeSet::new());
        for (is_near, sql) in tables.chain(indexes).chain(views).chain(triggers) {
            let named = if is_near { &mut near } else { &mut far };
            named.extend(collations(sql));
        }
        let mut stand_ins = Self {
            conn,
            names: Vec::new(),
        };
        for name in far.difference(&near) {
            let used = format!("SELECT '' = '' COLLATE {}", quote_name(name));
            if conn.prepare(&used).is_err() {
                refuse_busy(conn, name)?;
                conn.create_collation(name.as_str(), |a: &str, b: &str| a.cmp(b))?;
                stand_ins.names.push(name.clone());
            }
        }
        Ok(stand_ins)
    }

    /// Takes them away.
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
            // It fails only while a statement runs, and none did at the beginning.
            let _ = self.conn.remove_collation(name.as_str());
        }
    }
}

/// SQLite takes no collation away while a statement runs: it would stay with the
/// caller, and the next row would be put into an index in a wrong place.
fn refuse_busy(conn: &Connection, name: &str) -> Result<()> {
    if !conn.is_busy() {
        return Ok(());
    }
    Err(Error::SqliteFailure(
        ffi::Error::new(ffi::SQLITE_BUSY),
        Some(format!(
            "the collation {name} is not there, and a statement of this connection still runs, so \
             that none can stand in for it: finish that statement first"
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
#[allow(clippy::unwrap_used)]
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
