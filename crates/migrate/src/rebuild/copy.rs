use rusqlite::Connection;

use super::plan::{Plan, Source};
use super::qualified::main_name;
use super::rename::Renamed;
use crate::schema::{Column, Generated, Table};
use crate::sql::quote_name;

/// The statement that moves the rows, in the order of their rowids.
///
/// `OR FAIL`: a conflict clause in the definition must not drop a row silently,
/// and what is half done is undone by the savepoint around it anyway.
pub(super) fn statement(
    plan: &Plan,
    names: &[Renamed],
    old: &Table,
    moved: &str,
    new: &Table,
) -> String {
    let into = main_name(&new.name);
    let moved = main_name(moved);
    if is_whole(plan, names, old, new) {
        // SQLite then moves the records as they are, if the columns are alike.
        return format!("INSERT OR FAIL INTO {into} SELECT * FROM {moved}");
    }
    let mut columns = Vec::new();
    let mut values = Vec::new();
    let rowid_in = new.rowid_name().filter(|_| new.rowid_column().is_none());
    if let (Some(to), Some(from)) = (rowid_in, old.rowid_name()) {
        columns.push(to.to_owned());
        values.push(from.to_owned());
    }
    let computes = plan.computes();
    for (column, source) in &plan.columns {
        columns.push(quote_name(column));
        values.push(match source {
            Source::Column(now) => {
                let was = names.iter().find(|name| name.now == *now);
                let was = was.filter(|_| computes).map_or(now, |name| &name.was);
                quote_name(was)
            }
            Source::Expression(expression) => format!("({expression}\n)"),
            Source::Rowid => old.rowid_name().unwrap_or("rowid").to_owned(),
        });
    }
    // Nothing to write into: every column is generated or has its default.
    let own = |one: &&Column| one.generated == Generated::No;
    if columns.is_empty()
        && let Some(first) = new.columns.iter().find(own)
    {
        columns.push(quote_name(&first.name));
        values.push(first.default.clone().unwrap_or_else(|| "NULL".into()));
    }
    let (with, from) = match computes {
        true => (as_it_was(names, old, &moved), quote_name(&old.name)),
        false => (String::new(), moved),
    };
    let order = order(new, old, &columns);
    format!(
        "{with}INSERT OR FAIL INTO {into} ({}) SELECT {} FROM {from}{order}",
        columns.join(", "),
        values.join(", "),
    )
}

/// Under the old table's name, with the names its columns had: also in
/// subqueries of an expression.
fn as_it_was(names: &[Renamed], old: &Table, moved: &str) -> String {
    let mut columns: Vec<String> = names
        .iter()
        .map(|name| format!("{} AS {}", quote_name(&name.now), quote_name(&name.was)))
        .collect();
    if let Some(rowid) = old.rowid_name() {
        for name in ["rowid", "_rowid_", "oid"] {
            if old.column(name).is_none() {
                columns.push(format!("{rowid} AS {name}"));
            }
        }
    }
    format!(
        "WITH {} AS NOT MATERIALIZED (SELECT {} FROM {moved}) ",
        quote_name(&old.name),
        columns.join(", ")
    )
}

/// The same columns in the same order, and rowids that are among them.
fn is_whole(plan: &Plan, names: &[Renamed], old: &Table, new: &Table) -> bool {
    let no_rowid = old.without_rowid && new.without_rowid;
    let same_rowid = matches!((old.rowid_column(), new.rowid_column()), (Some(was), Some(is))
        if names.iter().any(|name| name.was == was.name && name.now == is.name));
    (no_rowid || same_rowid)
        && plan.columns.len() == names.len()
        && new.columns.len() == names.len()
        && old.columns.iter().all(|one| one.generated == Generated::No)
        && plan
            .columns
            .iter()
            .zip(names)
            .all(|((_, source), name)| *source == Source::Column(name.now.clone()))
}

/// A tree that is sorted by another key grows at its end only if it is filled
/// in that order.
fn order(new: &Table, old: &Table, columns: &[String]) -> String {
    if !new.without_rowid {
        return String::new();
    }
    let mut key: Vec<_> = new.columns.iter().filter(|one| one.key > 0).collect();
    key.sort_by_key(|column| column.key);
    let was: Vec<_> = old.columns.iter().filter(|one| one.key > 0).collect();
    let same = old.without_rowid
        && was.len() == key.len()
        && key.iter().all(|one| {
            was.iter()
                .any(|was| was.name == one.name && was.key == one.key)
        });
    let place = |name: &str| columns.iter().position(|one| *one == quote_name(name));
    let places: Option<Vec<String>> = key
        .iter()
        .map(|column| Some((place(&column.name)? + 1).to_string()))
        .collect();
    match places {
        Some(places) if !same && !places.is_empty() => format!(" ORDER BY {}", places.join(", ")),
        _ => String::new(),
    }
}

/// Does the statement read from the new table? An expression may, through a
/// view: it would see the rows that are there already.
pub(super) fn reads_new(conn: &Connection, sql: &str, new: &Table) -> rusqlite::Result<bool> {
    let mut roots = conn.prepare(
        "SELECT rootpage FROM main.sqlite_schema WHERE tbl_name = ?1 COLLATE NOCASE AND rootpage > 0",
    )?;
    let roots = roots
        .query_map([&new.name], |row| row.get(0))?
        .collect::<rusqlite::Result<Vec<i64>>>()?;
    let mut explained = conn.prepare(&format!("EXPLAIN {sql}"))?;
    let mut rows = explained.query([])?;
    while let Some(row) = rows.next()? {
        let opcode: String = row.get("opcode")?;
        let (page, schema): (i64, i64) = (row.get("p2")?, row.get("p3")?);
        if opcode == "OpenRead" && schema == 0 && roots.contains(&page) {
            return Ok(true);
        }
    }
    Ok(false)
}
