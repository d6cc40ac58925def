use rusqlite::{Connection, ffi};

use super::names::Names;
use super::plan::{Plan, Source};
use super::qualified::main_name;
use super::{Error, Rebuild, Result};
use crate::schema::{Column, Generated, ROWID_NAMES, Table};
use crate::sql::{quote_name, same_name};

/// A value that a column of a STRICT table does not take.
const CONSTRAINT_DATATYPE: i32 = ffi::SQLITE_CONSTRAINT | (12 << 8);

impl Rebuild {
    /// Moves the rows; says how many.
    pub(super) fn copy(
        &self,
        conn: &Connection,
        sql: &str,
        plan: &Plan,
        new: &Table,
    ) -> Result<u64> {
        let failed = |source: rusqlite::Error| {
            let mend = mend(&source, new);
            Error::Sqlite {
                table: self.table.clone(),
                doing: "copying the rows".to_owned(),
                source: Box::new(source),
                mend,
            }
        };
        if plan.computes() && reads_new(conn, sql, new).map_err(failed)? {
            return Err(Error::clause(
                &self.table,
                "SET reads the table through a view, or as main.…, and would not see its rows: \
                 compute the values by a statement before the rebuild",
            ));
        }
        let copied = conn.execute(sql, []).map_err(failed)?;
        Ok(u64::try_from(copied).unwrap_or(u64::MAX))
    }
}

/// The statement that moves the rows, in the order of their rowids.
///
/// `OR FAIL`: a conflict clause in the definition must not drop a row silently,
/// and what is half done is undone by the savepoint around it anyway.
pub(super) fn statement(
    plan: &Plan,
    names: &Names,
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
    let computes = plan.computes();
    let (with, from, rowid) = match computes {
        true => as_it_was(names, old, &moved),
        false => (String::new(), moved, names.rowid()),
    };
    let rowid_in = new.rowid_name().filter(|_| new.rowid_column().is_none());
    if let (Some(to), Some(from)) = (rowid_in, &rowid) {
        columns.push(to.to_owned());
        values.push(from.clone());
    }
    for (column, source) in &plan.columns {
        columns.push(quote_name(column));
        values.push(match source {
            Source::Column(now) => {
                let name = names.by_now(now);
                let name = name.map(|name| if computes { &name.was } else { &name.moved });
                quote_name(name.unwrap_or(now))
            }
            Source::Expression(expression) => format!("({expression}\n)"),
            Source::Rowid => rowid.clone().unwrap_or_else(|| "NULL".into()),
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
    let order = order(new, old, &columns);
    format!(
        "{with}INSERT OR FAIL INTO {into} ({}) SELECT {} FROM {from}{order}",
        columns.join(", "),
        values.join(", "),
    )
}

/// Under the old table's name, with the names its columns had: also in
/// subqueries of an expression. Then that name, and what is the rowid there.
pub(super) fn as_it_was(
    names: &Names,
    old: &Table,
    moved: &str,
) -> (String, String, Option<String>) {
    let mut columns: Vec<String> = names
        .iter()
        .map(|name| format!("{} AS {}", quote_name(&name.moved), quote_name(&name.was)))
        .collect();
    let mut reached = None;
    if let Some(rowid) = names.rowid() {
        let mut free: Vec<String> = ROWID_NAMES.map(str::to_owned).into();
        free.retain(|name| old.column(name).is_none());
        if free.is_empty() {
            free.push(free_column(old));
        }
        for name in free {
            columns.push(format!("{rowid} AS {}", quote_name(&name)));
            reached = Some(quote_name(&name));
        }
    }
    let with = format!(
        "WITH {} AS NOT MATERIALIZED (SELECT {} FROM {moved}) ",
        quote_name(&old.name),
        columns.join(", ")
    );
    (with, quote_name(&old.name), reached)
}

fn free_column(table: &Table) -> String {
    let mut name = String::from("_monolite_rowid");
    while table.column(&name).is_some() {
        name.push('_');
    }
    name
}

/// The same columns in the same order, and rowids that are among them.
///
/// SQLite then does not look at the values, and only at affinities of the types:
/// for a STRICT table they have to be the same types.
fn is_whole(plan: &Plan, names: &Names, old: &Table, new: &Table) -> bool {
    let no_rowid = old.without_rowid && new.without_rowid;
    let same_rowid = matches!((old.rowid_column(), new.rowid_column()), (Some(was), Some(is))
        if names.by_was(&was.name).is_some_and(|name| same_name(&name.now, &is.name)));
    let same_type = |name: &str, now: &str| {
        matches!((old.column(name), new.column(now)), (Some(was), Some(is))
            if was.declared_type.eq_ignore_ascii_case(&is.declared_type))
    };
    (no_rowid || same_rowid)
        && plan.columns.len() == names.len()
        && new.columns.len() == names.len()
        && old.columns.iter().all(|one| one.generated == Generated::No)
        && plan
            .columns
            .iter()
            .zip(names.iter())
            .all(|((_, source), name)| *source == Source::Column(name.now.clone()))
        && (!new.strict || names.iter().all(|name| same_type(&name.was, &name.now)))
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
fn reads_new(conn: &Connection, sql: &str, new: &Table) -> rusqlite::Result<bool> {
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

fn mend(source: &rusqlite::Error, new: &Table) -> String {
    let rusqlite::Error::SqliteFailure(error, message) = source else {
        return String::new();
    };
    let message = message.as_deref().unwrap_or_default();
    let column = message.rsplit(['.', ' ']).next().unwrap_or_default();
    let column = new.column(column).map_or("column", |column| &column.name);
    match error.extended_code {
        ffi::SQLITE_CONSTRAINT_NOTNULL => {
            format!("; some rows have no {column}: say SET {column} = coalesce({column}, …)")
        }
        ffi::SQLITE_CONSTRAINT_CHECK | CONSTRAINT_DATATYPE => {
            "; some rows do not fit the new definition: mend them first, or by SET".to_owned()
        }
        ffi::SQLITE_CONSTRAINT_UNIQUE
        | ffi::SQLITE_CONSTRAINT_PRIMARYKEY
        | ffi::SQLITE_CONSTRAINT_ROWID => {
            "; some rows are the same there: mend them first, or by SET".to_owned()
        }
        _ => String::new(),
    }
}
