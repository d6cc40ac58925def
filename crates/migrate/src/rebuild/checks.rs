//! Checks around a rebuild: what is refused before it, and what must hold after it.

use rusqlite::Connection;

use super::column_names::Names;
use super::move_aside::main_name;
use super::plan::CopyPlan;
use super::{Error, Rebuild, Result};
use crate::schema::{Orphans, Schema, Table, TableKind};
use crate::sql::{TableText, Token, TokenType, quote_name, same_name, tokens, unquote_name};

/// The table, if it can be rebuilt.
pub(super) fn present<'s>(
    rebuild: &Rebuild,
    conn: &Connection,
    schema: &'s Schema,
) -> Result<&'s Table> {
    let not = |what: &str| Error::NotATable {
        table: rebuild.table.clone(),
        what: what.to_owned(),
    };
    if rebuild.table.to_ascii_lowercase().starts_with("sqlite_") {
        return Err(not("SQLite's own"));
    }
    if schema.view(&rebuild.table).is_some() {
        return Err(not("a view: drop it and create it again"));
    }
    let Some(table) = schema.table(&rebuild.table) else {
        return Err(Error::NoSuchTable {
            table: rebuild.table.clone(),
        });
    };
    match table.kind {
        TableKind::Virtual => {
            return Err(not(
                "a virtual table: create one under another name, fill it, drop this one and \
                 rename",
            ));
        }
        TableKind::Shadow => return Err(not("where a virtual table stores its content")),
        TableKind::Ordinary => {}
    }
    let temporary: i64 = conn
        .query_row(
            "SELECT count(*) FROM temp.sqlite_schema WHERE tbl_name = ?1 COLLATE NOCASE",
            [&rebuild.table],
            |row| row.get(0),
        )
        .map_err(Error::doing(&rebuild.table, "reading the schema"))?;
    if temporary > 0 {
        return Err(not(
            "hidden by a temporary table of this connection, or has temporary triggers that would \
             be lost: drop them first",
        ));
    }
    Ok(table)
}

/// Refuses an index on a dropped column. SQLite would take a quoted name as text.
pub(super) fn check_indexes(
    rebuild: &Rebuild,
    schema: &Schema,
    names: &Names,
    wanted: &TableText,
) -> Result<()> {
    let gone = |name: &str| {
        let now = names.by_now(name);
        let dropped = |was: &str| rebuild.drops.iter().any(|drop| same_name(drop, was));
        now.is_some_and(|one| dropped(&one.was))
            && !wanted.columns().any(|one| same_name(one, name))
    };
    for index in schema.indexes_of(&rebuild.table) {
        let Some(sql) = &index.sql else { continue };
        let Ok(all) = tokens(sql) else { continue };
        // Not a table before a dot, and not a text; a text that is all of an index
        // column is found by its name below.
        let is_name = |at: usize, token: &Token| {
            let next = all.get(at + 1).map(|next| next.kind);
            token.kind != TokenType::TK_STRING && next != Some(TokenType::TK_DOT)
        };
        let named = all
            .iter()
            .enumerate()
            .skip_while(|(_, token)| token.kind != TokenType::TK_LP)
            .any(|(at, token)| is_name(at, token) && gone(&unquote_name(token.text(sql))));
        let mut indexed = index.columns.iter().filter_map(|one| one.name.as_deref());
        if named || indexed.any(gone) {
            let name = &index.name;
            return Err(Error::clause(
                &rebuild.table,
                format!(
                    "the index {name} is on a column that is dropped: DROP INDEX {} first, and \
                     create what you want instead after it",
                    quote_name(name)
                ),
            ));
        }
    }
    Ok(())
}

/// Refuses a `CHECK` or generated column with a dropped column in double quotes:
/// SQLite would take it as text. In a default it is text anyway.
pub(super) fn check_quoted(
    rebuild: &Rebuild,
    conn: &Connection,
    names: &Names,
    wanted: &str,
) -> Result<()> {
    let strict = super::compiled::without_quoted_text(conn, || {
        Ok(conn.prepare(wanted).err().map(|error| error.to_string()))
    });
    let strict = strict.map_err(Error::doing(&rebuild.table, "reading the new definition"))?;
    let (Some(_), Ok(all)) = (strict, tokens(wanted)) else {
        return Ok(());
    };
    let dropped = |name: &str| {
        let known = names.by_now(name).or_else(|| names.by_was(name));
        known.is_some_and(|known| rebuild.drops.iter().any(|drop| same_name(drop, &known.was)))
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
            &rebuild.table,
            format!(
                "its new definition names {quoted}, which is dropped, and SQLite would take that \
                 for text: take it out, or write '{}' if text is meant",
                unquote_name(quoted).replace('\'', "''")
            ),
        )),
    }
}

/// Cheap checks of the copied rows: their rowids are the old ones, and values copied
/// unread into a STRICT table have its types.
pub(super) fn check_moved(
    rebuild: &Rebuild,
    conn: &Connection,
    plan: &CopyPlan,
    names: &Names,
    (old, moved): (&Table, &str),
    new: &Table,
) -> Result<()> {
    let doing = || Error::doing(&rebuild.table, "the comparison of the tables");
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
                table: rebuild.table.clone(),
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
                table: rebuild.table.clone(),
                message,
            });
        }
    }
    Ok(())
}

/// # Errors
/// When `new` has any; foreign keys without a key to refer to only with
/// `mismatches`.
pub(super) fn check_orphans(rebuild: &Rebuild, new: &Orphans, mismatches: bool) -> Result<()> {
    if let Some(message) = new.mismatches().next().filter(|_| mismatches) {
        return Err(Error::Mismatch {
            table: rebuild.table.clone(),
            message: message.to_owned(),
        });
    }
    match new.rows().next() {
        None => Ok(()),
        Some((child, parent, count, example)) => Err(Error::Orphans {
            table: rebuild.table.clone(),
            child: child.to_owned(),
            parent: parent.to_owned(),
            count,
            example: example.to_owned(),
        }),
    }
}

/// The least and the greatest rowid: only the two ends of the b-tree are read.
fn ends(conn: &Connection, table: &str, rowid: &str) -> rusqlite::Result<String> {
    let table = main_name(table);
    let sql = format!(
        "SELECT coalesce((SELECT min({rowid}) FROM {table}) || ' to ' || (SELECT max({rowid}) FROM {table}), 'none')"
    );
    conn.query_row(&sql, [], |row| row.get(0))
}
