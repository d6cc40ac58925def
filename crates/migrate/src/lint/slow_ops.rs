//! Statements that hold the write lock for long, or that SQLite refuses where a
//! table has rows: how many rows and bytes a table has, and how long it takes to
//! write them.

use std::cell::RefCell;
use std::collections::HashMap;

use rusqlite::Connection;

use super::effect::Effect;
use super::finding::Found;
use super::rules::{FAILS, SLOW};
use super::running_code::RunningCode;
use crate::schema::{ForeignKey, Schema};
use crate::sql::quote_name;

/// A statement that takes longer than this, in microseconds, is slow.
const SLOW_US: u64 = 1_000_000;

/// Microseconds per thousand rows, measured with rows of 100 bytes: precise enough
/// to tell a moment from a minute.
const COPY_US: u64 = 900;
const INDEX_US: u64 = 900;
const CHANGE_US: u64 = 1_500;
/// Bytes written per microsecond.
const BYTES_PER_US: u64 = 150;

/// Numbers of rows and bytes in the database, read once per table.
pub(super) struct TableSizes<'c> {
    live: Option<&'c Connection>,
    /// Whether rows may be counted, which reads whole tables.
    counts: bool,
    rows: RefCell<HashMap<String, Option<u64>>>,
    bytes: RefCell<HashMap<String, Option<u64>>>,
}

/// What a statement writes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Work {
    /// A copy of the table, and this many new indexes.
    Copy { indexes: usize },
    /// One new index.
    Index,
    /// Every row, and this many indexes.
    Change { indexes: usize },
}

impl<'c> TableSizes<'c> {
    pub(super) fn new(live: Option<&'c Connection>, counts: bool) -> Self {
        Self {
            live,
            counts,
            rows: RefCell::default(),
            bytes: RefCell::default(),
        }
    }

    /// Rows of a table, by its name in the database; `None` if unknown.
    pub(super) fn rows(&self, table: &str) -> Option<u64> {
        let count = || match self.counts {
            true => {
                let sql = format!("SELECT count(*) FROM main.{}", quote_name(table));
                self.number(&sql, [])
            }
            false => self.if_empty(table),
        };
        let mut known = self.rows.borrow_mut();
        *known.entry(table.to_owned()).or_insert_with(count)
    }

    /// `Some(0)` if there is no row, `None` otherwise: reads one row only.
    fn if_empty(&self, table: &str) -> Option<u64> {
        let sql = format!("SELECT EXISTS (SELECT 1 FROM main.{})", quote_name(table));
        self.number(&sql, []).filter(|any| *any == 0)
    }

    fn bytes(&self, table: &str) -> Option<u64> {
        // Without its indexes. Some builds of SQLite have no dbstat.
        let count = || {
            let sql = "SELECT sum(pgsize) FROM dbstat WHERE name = ?1 AND aggregate = 1";
            self.number(sql, [table])
        };
        let mut known = self.bytes.borrow_mut();
        *known.entry(table.to_owned()).or_insert_with(count)
    }

    /// Rows of `child` in which this foreign key is not NULL.
    pub(super) fn referring(&self, child: &str, key: &ForeignKey) -> Option<u64> {
        if !self.counts {
            return self.rows(child);
        }
        let columns = key.columns.iter();
        let filled: Vec<String> = columns
            .map(|(column, _)| format!("{} IS NOT NULL", quote_name(column)))
            .collect();
        let sql = format!(
            "SELECT count(*) FROM main.{} WHERE {}",
            quote_name(child),
            filled.join(" AND ")
        );
        self.number(&sql, [])
    }

    fn number(&self, sql: &str, parameters: impl rusqlite::Params) -> Option<u64> {
        let number: i64 = self
            .live?
            .query_row(sql, parameters, |row| row.get(0))
            .ok()?;
        u64::try_from(number).ok()
    }

    /// How long writers wait, in words; `None` if that is less than a second.
    pub(super) fn slow(&self, table: &str, work: Work) -> Option<String> {
        if !self.counts {
            return None;
        }
        let rows = self.rows(table)?;
        let per_thousand = match work {
            Work::Copy { indexes } => COPY_US + INDEX_US * indexes as u64,
            Work::Index => INDEX_US,
            Work::Change { indexes } => CHANGE_US + INDEX_US * indexes as u64,
        };
        let us = rows.saturating_mul(per_thousand) / 1000;
        let bytes = match work {
            Work::Index => 0,
            _ => self.bytes(table).unwrap_or(0),
        };
        let us = us + bytes / BYTES_PER_US;
        (us >= SLOW_US).then(|| {
            let size = match bytes {
                0 => String::new(),
                bytes => format!(", {} MiB", bytes >> 20),
            };
            format!(
                "{}{size}; writers wait for about {} s",
                many(rows, "row"),
                us.div_ceil(1_000_000)
            )
        })
    }
}

/// `1 row`, `1,200 rows`.
pub(super) fn many(count: u64, one: &str) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    let s = if count == 1 { "" } else { "s" };
    format!("{text} {one}{s}")
}

/// The same, or `its rows` if the number is unknown.
pub(super) fn many_or_all(count: Option<u64>, one: &str) -> String {
    count.map_or_else(|| format!("its {one}s"), |count| many(count, one))
}

/// Findings about slow statements, and about columns that SQLite adds to empty
/// tables only.
pub(super) fn found(
    effect: &Effect,
    before: &Schema,
    known: &RunningCode,
    sizes: &TableSizes<'_>,
) -> Vec<Found> {
    let slow = |table: &str, work| sizes.slow(&known.table(table)?.name, work);
    let indexes = |table: &str| before.indexes_of(table).count();
    let mut found = Vec::new();
    match effect {
        Effect::CreateIndex { table } => {
            if let Some(slow) = slow(table, Work::Index) {
                found.push(Found::new(SLOW, format!("an index on {table}: {slow}")));
            }
        }
        Effect::RenameColumns {
            table,
            rebuild: true,
            ..
        } => {
            let work = Work::Copy {
                indexes: indexes(table),
            };
            if let Some(slow) = slow(table, work) {
                found.push(Found::new(SLOW, format!("copies {table}: {slow}")));
            }
        }
        Effect::DropColumn { table } => {
            if let Some(slow) = slow(table, Work::Copy { indexes: 0 }) {
                found.push(Found::new(SLOW, format!("rewrites {table}: {slow}")));
            }
        }
        Effect::AddColumn {
            table,
            column,
            needs_no_rows: Some(why),
        } => {
            let rows = known.table(table).map(|of| sizes.rows(&of.name));
            if let Some(rows) = rows.filter(|rows| *rows != Some(0)) {
                let has = match rows {
                    Some(rows) => format!("has {}", many(rows, "row")),
                    None => "may have rows".into(),
                };
                let what = format!(
                    "{table} {has}, and only to an empty table SQLite adds {column}, {why}"
                );
                found.push(Found::new(FAILS, what));
            }
        }
        _ => {}
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!(many(0, "row"), "0 rows");
        assert_eq!(many(1, "row"), "1 row");
        assert_eq!(many(999, "row"), "999 rows");
        assert_eq!(many(1_000, "row"), "1,000 rows");
        assert_eq!(many(1_234_567, "row"), "1,234,567 rows");
        assert_eq!(many_or_all(None, "row"), "its rows");
    }
}
