use rusqlite::Connection;

use super::copy::as_it_was;
use super::names::Names;
use super::plan::{Plan, Source};
use super::qualified::main_name;
use super::{Error, Result};
use crate::schema::{Affinity, Table};
use crate::sql::quote_name;

/// Refuses a new type that would change values nobody asked to change: `'007'`
/// in a column that becomes INTEGER is 7. A number that is merely stored in
/// another way, `'12'` as 12, is the same value.
pub(super) fn check(
    conn: &Connection,
    plan: &Plan,
    names: &Names,
    old: &Table,
    moved: &str,
    new: &Table,
) -> Result<()> {
    for (column, source) in &plan.columns {
        let is_key = new.column(column).is_some_and(|column| column.is_rowid);
        if let (true, Source::Expression(expression)) = (is_key, source) {
            let (with, from, _) = as_it_was(names, old, &main_name(moved));
            no_nulls(
                conn,
                column,
                &format!("({expression}\n)"),
                (&with, &from),
                new,
            )?;
        }
        let Source::Column(now) = source else {
            continue;
        };
        let Some(name) = names.by_now(now) else {
            continue;
        };
        let (Some(was), Some(is)) = (old.column(&name.was), new.column(column)) else {
            continue;
        };
        let value = quote_name(&name.moved);
        if is.is_rowid && !was.is_rowid {
            no_nulls(conn, column, &value, ("", &main_name(moved)), new)?;
        }
        let from = was.affinity;
        let to = is.affinity;
        if from == to {
            continue;
        }
        let Some((changes, becomes)) = changes(&value, to) else {
            continue;
        };
        let sql = format!(
            "SELECT count(*), quote(min({value})), quote({becomes}) FROM {} WHERE {changes}",
            main_name(moved),
        );
        let (count, before, after): (i64, String, String) = conn
            .query_row(&sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .map_err(Error::doing(&new.name, "the comparison of values"))?;
        if count > 0 {
            return Err(Error::ValuesChange {
                table: new.name.clone(),
                column: column.clone(),
                count: count.unsigned_abs(),
                example: format!("{before} to {after}"),
                type_: is.declared_type.clone(),
            });
        }
    }
    Ok(())
}

/// SQLite would give a row without one the next number.
fn no_nulls(
    conn: &Connection,
    column: &str,
    value: &str,
    (with, from): (&str, &str),
    new: &Table,
) -> Result<()> {
    let sql = format!("{with}SELECT count(*) FROM {from} WHERE {value} IS NULL");
    let count: u64 = conn
        .query_row(&sql, [], |row| row.get(0))
        .map(i64::unsigned_abs)
        .map_err(Error::doing(&new.name, "the comparison of values"))?;
    if count == 0 {
        return Ok(());
    }
    let have = if count == 1 { "row has" } else { "rows have" };
    Err(Error::clause(
        &new.name,
        format!(
            "{count} {have} no {column}, which cannot be NULL as the primary key, and SQLite would \
             invent one: say SET {column} = …"
        ),
    ))
}

/// Which values of `x` change by a new affinity, and what they become. Between
/// `CAST(… AS NUMERIC)` and a value without affinity, SQLite compares as a
/// numeric column would store it: text that is no number is never equal.
fn changes(x: &str, to: Affinity) -> Option<(String, String)> {
    let as_number = format!(
        "(typeof({x}) = 'text' AND CAST({x} AS NUMERIC) = +{x}
          AND CAST(CAST({x} AS NUMERIC) AS TEXT) <> +{x} COLLATE BINARY)"
    );
    Some(match to {
        Affinity::Blob => return None,
        Affinity::Integer | Affinity::Numeric => (as_number, format!("CAST({x} AS NUMERIC)")),
        Affinity::Real => (
            format!(
                "({as_number} OR (typeof({x}) <> 'blob' AND typeof(CAST({x} AS NUMERIC)) = 'integer'
                 AND CAST({x} AS NUMERIC) = +{x} AND CAST({x} AS REAL) <> CAST({x} AS NUMERIC)))"
            ),
            format!("CAST({x} AS REAL)"),
        ),
        Affinity::Text => (
            format!("(typeof({x}) = 'real' AND CAST(CAST({x} AS TEXT) AS REAL) <> +{x})"),
            format!("CAST({x} AS TEXT)"),
        ),
    })
}
