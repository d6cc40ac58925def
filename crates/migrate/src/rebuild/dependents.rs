//! What is dropped with a table and created again: indexes, triggers, the counter of
//! `AUTOINCREMENT`, statistics.

use rusqlite::types::Value;
use rusqlite::{Connection, Result, params_from_iter};

use crate::schema::{Index, Schema, Table};
use crate::sql::same_name;

/// What `DROP TABLE` removes with a table.
pub(super) struct Dependents {
    /// Name and text, in order of creation.
    pub(super) indexes: Vec<(String, String)>,
    pub(super) triggers: Vec<(String, String)>,
    /// The last rowid that `AUTOINCREMENT` gave; an app may have written any value.
    sequence: Option<Value>,
    statistics: Vec<Statistics>,
    all_indexes: Vec<Index>,
}

/// The rows about one table in one of the tables of `ANALYZE`.
struct Statistics {
    of: &'static str,
    rows: Vec<Vec<Value>>,
}

impl Dependents {
    pub(super) fn of(conn: &Connection, schema: &Schema, table: &Table) -> Result<Self> {
        let of_this = |index: &&Index| same_name(&index.table, &table.name);
        let all_indexes: Vec<Index> = schema.indexes.iter().filter(of_this).cloned().collect();
        let indexes = all_indexes
            .iter()
            .filter_map(|index| Some((index.name.clone(), index.sql.clone()?)));
        let triggers = schema
            .triggers_of(&table.name)
            .map(|trigger| (trigger.name.clone(), trigger.sql.clone()));
        let mut statistics = Vec::new();
        for of in ["sqlite_stat1", "sqlite_stat4"] {
            if exists(conn, of)? {
                let sql = format!("SELECT * FROM main.{of} WHERE tbl = ?1 COLLATE NOCASE");
                statistics.push(Statistics {
                    of,
                    rows: rows(conn, &sql, &table.name)?,
                });
            }
        }
        Ok(Self {
            indexes: indexes.collect(),
            triggers: triggers.collect(),
            sequence: sequence(conn, table)?,
            statistics,
            all_indexes,
        })
    }

    /// Restores the counter, or the larger one of old and new if the rows have new
    /// rowids; `table` is the new one.
    pub(super) fn put_sequence(
        &self,
        conn: &Connection,
        was: &Table,
        table: &Table,
        same_rowids: bool,
    ) -> Result<()> {
        if !was.autoincrement || !table.autoincrement {
            return Ok(());
        }
        let last = match (same_rowids, sequence(conn, table)?) {
            (false, Some(Value::Integer(new))) => match self.sequence {
                Some(Value::Integer(old)) => Some(Value::Integer(old.max(new))),
                _ => Some(Value::Integer(new)),
            },
            _ => self.sequence.clone(),
        };
        conn.execute(
            "DELETE FROM main.sqlite_sequence WHERE name = ?1",
            [&table.name],
        )?;
        if let Some(last) = last {
            conn.execute(
                "INSERT INTO main.sqlite_sequence (name, seq) VALUES (?1, ?2)",
                (&table.name, last),
            )?;
        }
        Ok(())
    }

    /// Restores the statistics of the table and of unchanged indexes.
    pub(super) fn put_statistics(
        &self,
        conn: &Connection,
        now: &Schema,
        table: &Table,
    ) -> Result<()> {
        let same = |name: &str| {
            let was = self
                .all_indexes
                .iter()
                .find(|index| same_name(&index.name, name));
            let is = now
                .indexes
                .iter()
                .find(|index| same_name(&index.name, name));
            matches!((was, is), (Some(was), Some(is)) if was.columns == is.columns)
        };
        let had_samples = exists(conn, "sqlite_stat4")?;
        let mut put = false;
        for Statistics { of, rows } in &self.statistics {
            conn.execute(
                &format!("DELETE FROM main.{of} WHERE tbl = ?1 COLLATE NOCASE"),
                [&table.name],
            )?;
            for row in rows {
                let known = match row.get(1) {
                    // A WITHOUT ROWID table has statistics under its own name.
                    Some(Value::Text(index)) => same_name(index, &table.name) || same(index),
                    _ => true,
                };
                if known {
                    let marks = vec!["?"; row.len()].join(", ");
                    conn.execute(
                        &format!("INSERT INTO main.{of} VALUES ({marks})"),
                        params_from_iter(row),
                    )?;
                    put = true;
                }
            }
        }
        if put {
            // Makes SQLite read them; nothing is analyzed. It creates missing tables of
            // statistics.
            conn.execute_batch("ANALYZE main.sqlite_schema")?;
            if !had_samples && exists(conn, "sqlite_stat4")? {
                conn.execute_batch("DROP TABLE main.sqlite_stat4")?;
            }
        }
        Ok(())
    }
}

fn exists(conn: &Connection, table: &str) -> Result<bool> {
    let sql = "SELECT count(*) FROM main.sqlite_schema WHERE type = 'table' AND name = ?1";
    conn.query_row(sql, [table], |row| row.get::<_, i64>(0))
        .map(|count| count > 0)
}

fn sequence(conn: &Connection, table: &Table) -> Result<Option<Value>> {
    if !table.autoincrement || !exists(conn, "sqlite_sequence")? {
        return Ok(None);
    }
    let sql = "SELECT seq FROM main.sqlite_sequence WHERE name = ?1";
    let mut found = conn.prepare(sql)?;
    let mut found = found.query([&table.name])?;
    found.next()?.map(|row| row.get(0)).transpose()
}

fn rows(conn: &Connection, sql: &str, table: &str) -> Result<Vec<Vec<Value>>> {
    let mut statement = conn.prepare(sql)?;
    let width = statement.column_count();
    let rows = statement.query_map([table], |row| (0..width).map(|at| row.get(at)).collect())?;
    rows.collect()
}
