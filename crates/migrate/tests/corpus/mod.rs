//! Schemas, and what a database holds as text.
#![allow(dead_code)]

mod schemas;

use rusqlite::Connection;
pub(crate) use schemas::SCHEMAS;

/// Each schema on its own: all that fail are named.
pub(crate) fn each(test: impl Fn(&str, &str)) {
    let mut failed = Vec::new();
    for (name, sql) in SCHEMAS {
        let run = std::panic::AssertUnwindSafe(|| test(name, sql));
        if std::panic::catch_unwind(run).is_err() {
            failed.push(name);
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

/// A database in memory with one of the schemas.
pub(crate) fn database(sql: &str) -> Connection {
    let conn = Connection::open_in_memory().unwrap();
    fill(&conn, sql);
    conn
}

pub(crate) fn fill(conn: &Connection, sql: &str) {
    series(conn);
    conn.execute_batch("PRAGMA foreign_keys = ON").unwrap();
    conn.execute_batch(sql)
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
}

/// `generate_series` is not in the library.
fn series(conn: &Connection) {
    conn.execute_batch(
        "CREATE TEMP TABLE generate_series_of (value INTEGER PRIMARY KEY);
         WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300)
         INSERT INTO generate_series_of SELECT i FROM n;",
    )
    .unwrap();
}

/// Everything there is: the text of the schema, all rows with their rowids,
/// counters and statistics.
pub(crate) fn dump(conn: &Connection) -> String {
    let mut out = schema_text(conn);
    for table in tables(conn, &["table", "shadow"]) {
        out.push_str(&rows(conn, &table));
    }
    for virtual_table in tables(conn, &["virtual"]) {
        out.push_str(&rows(conn, &virtual_table));
    }
    let check = query(conn, "PRAGMA integrity_check");
    out.push_str(&check);
    out
}

/// The text of `sqlite_schema`, in an order that does not depend on when
/// something was made.
pub(crate) fn schema_text(conn: &Connection) -> String {
    query(
        conn,
        "SELECT type, name, tbl_name, sql FROM main.sqlite_schema ORDER BY type, name",
    )
}

pub(crate) fn tables(conn: &Connection, kinds: &[&str]) -> Vec<String> {
    let mut all = conn
        .prepare("SELECT name, type FROM pragma_table_list WHERE schema = 'main' AND name <> 'sqlite_schema' ORDER BY name")
        .unwrap();
    let rows = all.query_map([], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
    });
    rows.unwrap()
        .map(Result::unwrap)
        .filter(|(_, kind)| kinds.contains(&kind.as_str()))
        .map(|(name, _)| name)
        .collect()
}

/// The tables that can be rebuilt.
pub(crate) fn ordinary(conn: &Connection) -> Vec<String> {
    let mut all = tables(conn, &["table"]);
    all.retain(|name| !name.starts_with("sqlite_"));
    all
}

fn rows(conn: &Connection, table: &str) -> String {
    let name = table.replace('"', "\"\"");
    let mut columns: Vec<String> = conn
        .prepare(&format!(
            "SELECT name FROM pragma_table_xinfo('{}') WHERE hidden <> 1",
            table.replace('\'', "''")
        ))
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let rowid = ["rowid", "_rowid_", "oid"]
        .into_iter()
        .filter(|name| {
            !columns
                .iter()
                .any(|column| column.eq_ignore_ascii_case(name))
        })
        .find(|rowid| {
            conn.prepare(&format!("SELECT {rowid} FROM \"{name}\""))
                .is_ok()
        });
    columns = columns
        .iter()
        .map(|column| {
            let column = column.replace('"', "\"\"");
            // The bytes of text too, for some is not UTF-8.
            format!("typeof(\"{column}\") || ' ' || hex(\"{column}\") || ' ' || iif(typeof(\"{column}\") = 'text', '', quote(\"{column}\"))")
        })
        .collect();
    if let Some(rowid) = rowid.filter(|_| !table.starts_with("sqlite_")) {
        columns.insert(0, rowid.to_owned());
    }
    let order = if rowid.is_some() && !table.starts_with("sqlite_") {
        "1"
    } else {
        "1, 2"
    };
    let order = if columns.len() == 1 { "1" } else { order };
    format!(
        "== {table}\n{}",
        query(
            conn,
            &format!(
                "SELECT {} FROM \"{name}\" ORDER BY {order}",
                columns.join(", ")
            )
        )
    )
}

pub(crate) fn query(conn: &Connection, sql: &str) -> String {
    let mut statement = conn
        .prepare(sql)
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
    let width = statement.column_count();
    let mut rows = statement.query([]).unwrap();
    let mut out = String::new();
    while let Some(row) = rows.next().unwrap() {
        for column in 0..width {
            let value = row.get_ref(column).unwrap();
            match value {
                rusqlite::types::ValueRef::Text(text) => {
                    out.push_str(&String::from_utf8_lossy(text));
                }
                other => out.push_str(&format!("{other:?}")),
            }
            out.push('|');
        }
        out.push('\n');
    }
    out
}
