//! The values of a table's columns. Neither NULL, nor a blank text, nor what a
//! column has by default says anything.

use rusqlite::{Connection, Result};

use super::sides::{default, number};
use monolite_migrate::schema::Table;
use monolite_migrate::sql::qualified_name;
use monolite_migrate::sql::quote_name;

/// How many values the column has.
pub(super) fn of(conn: &Connection, schema: &str, table: &Table, name: &str) -> Result<u64> {
    let (from, quoted) = (qualified_name(schema, &table.name), quote_name(name));
    let said = said(&quoted, table.column(name).and_then(default).as_slice());
    let sql = format!("SELECT count(*) FROM {from} WHERE {said}");
    conn.query_row(&sql, [], |row| number(row, 0))
}

/// That a column's value says something.
fn said(column: &str, defaults: &[String]) -> String {
    let mut said = format!("{column} NOT NULL AND trim({column}) <> ''");
    for default in defaults {
        said += &format!(" AND {column} IS NOT {default}");
    }
    said
}
