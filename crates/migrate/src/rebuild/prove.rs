use rusqlite::Connection;

use super::names::Names;
use super::plan::Plan;
use super::qualified::main_name;
use super::{Error, Rebuild, Result};
use crate::schema::{Orphans, Table};
use crate::sql::{TokenType, quote_name, same_name, tokens, unquote_name};

impl Rebuild {
    /// A `CHECK` or a generated column that names a dropped column in quotes:
    /// SQLite would take it for text. A default is text anyway.
    pub(super) fn check_quoted(
        &self,
        conn: &Connection,
        names: &Names,
        wanted: &str,
    ) -> Result<()> {
        let strict = super::compiled::without_quoted_text(conn, || {
            Ok(conn.prepare(wanted).err().map(|error| error.to_string()))
        });
        let strict = strict.map_err(Error::doing(&self.table, "reading the new definition"))?;
        let (Some(_), Ok(all)) = (strict, tokens(wanted)) else {
            return Ok(());
        };
        let dropped = |name: &str| {
            let known = names.by_now(name).or_else(|| names.by_was(name));
            known.is_some_and(|known| self.drops.iter().any(|drop| same_name(drop, &known.was)))
        };
        let is_default = |at: usize| {
            let before = at.checked_sub(1).and_then(|at| all.get(at));
            before.is_some_and(|token| token.kind == TokenType::TK_DEFAULT)
        };
        let quoted = all
            .iter()
            .enumerate()
            .filter(|(at, _)| !is_default(*at))
            .map(|(_, token)| token.text(wanted))
            .filter(|text| text.starts_with('"'))
            .find(|text| dropped(&unquote_name(text)));
        match quoted {
            None => Ok(()),
            Some(quoted) => Err(Error::clause(
                &self.table,
                format!(
                    "its new definition names {quoted}, which is dropped, and SQLite would take that \
                     for text: take it out, or write '{}' if text is meant",
                    unquote_name(quoted).replace('\'', "''")
                ),
            )),
        }
    }

    /// What is cheap to know of rows that were moved: their rowids are as they
    /// were, and those moved unread into a STRICT table are of its types.
    pub(super) fn check_moved(
        &self,
        conn: &Connection,
        plan: &Plan,
        names: &Names,
        (old, moved): (&Table, &str),
        new: &Table,
    ) -> Result<()> {
        let doing = || Error::doing(&self.table, "the comparison of the tables");
        if plan.keeps_rowids(names, old, new)
            && let Some(was) = names.rowid()
        {
            let is = match new.rowid_column() {
                Some(key) => quote_name(&key.name),
                None => new.rowid_name().unwrap_or("rowid").to_owned(),
            };
            let before = ends(conn, moved, &was).map_err(doing())?;
            let after = ends(conn, &new.name, &is).map_err(doing())?;
            if before != after {
                return Err(Error::RowidsChange {
                    table: self.table.clone(),
                    before,
                    after,
                });
            }
        }
        if new.strict {
            let sql = format!("PRAGMA main.quick_check({})", quote_name(&new.name));
            let message: String = conn
                .query_row(&sql, [], |row| row.get(0))
                .map_err(doing())?;
            if message != "ok" {
                return Err(Error::Unsound {
                    table: self.table.clone(),
                    message,
                });
            }
        }
        Ok(())
    }

    /// # Errors
    /// When there are orphans that were none before; `mismatches` says if these
    /// count.
    pub(super) fn check_orphans(&self, new: &Orphans, mismatches: bool) -> Result<()> {
        if let Some(message) = new.mismatches().next().filter(|_| mismatches) {
            return Err(Error::Mismatch {
                table: self.table.clone(),
                message: message.to_owned(),
            });
        }
        match new.rows().next() {
            None => Ok(()),
            Some((child, parent, count, example)) => Err(Error::Orphans {
                table: self.table.clone(),
                child: child.to_owned(),
                parent: parent.to_owned(),
                count,
                example: example.to_owned(),
            }),
        }
    }
}

/// The least and the greatest rowid: the tree is read at its two ends only.
fn ends(conn: &Connection, table: &str, rowid: &str) -> rusqlite::Result<String> {
    let table = main_name(table);
    let sql = format!(
        "SELECT coalesce((SELECT min({rowid}) FROM {table}) || ' to ' || (SELECT max({rowid}) FROM {table}), 'none')"
    );
    conn.query_row(&sql, [], |row| row.get(0))
}
