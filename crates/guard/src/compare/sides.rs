//! A table before and after a migration, and the SQL that asks about both.

use monolite_migrate::schema::{Column, Table, TableKind};
use monolite_migrate::sql::{literal_default, qualified_name};
use rusqlite::{Connection, Result, Row};

use super::recreation::Proof;

/// Both tables of one, on their connection.
#[derive(Clone, Copy)]
pub(super) struct Sides<'s> {
    pub(super) conn: &'s Connection,
    pub(super) before: &'s Table,
    pub(super) after: &'s Table,
    pub(super) proof: Proof,
}

impl Sides<'_> {
    /// The number of the one query's one row.
    pub(super) fn number(&self, sql: &str) -> Result<u64> {
        self.conn.query_row(sql, [], |row| number(row, 0))
    }
}

/// That the two columns have one value, not to be looked up in an index.
pub(super) fn equal(was: &str, now: &str) -> String {
    format!("b.{was} = +a.{now} COLLATE BINARY")
}

pub(super) fn count(conn: &Connection, schema: &str, table: &Table) -> Result<u64> {
    let table_name = qualified_name(schema, &table.name);
    let sql = format!("SELECT count(*) FROM {table_name}");
    match (conn.query_row(&sql, [], |row| number(row, 0)), table.kind) {
        // The module of a virtual table may not be here.
        (Err(_), TableKind::Virtual) => Ok(0),
        (result, _) => result,
    }
}

/// A count.
pub(super) fn number(row: &Row<'_>, at: usize) -> Result<u64> {
    Ok(row.get::<_, i64>(at)?.unsigned_abs())
}

/// Whether a column has a default that says nothing, and which.
pub(super) fn default(column: &Column) -> Option<String> {
    literal_default(column.default.as_deref()?)
}
