//! What takes long, or cannot be done to rows that are there.

use super::finding::Found;
use super::known::Known;
use super::op::Op;
use super::rules::{FAILS, REBUILDS, SLOW_INDEX, SLOW_REBUILD};
use super::sizes::{Sizes, Work, many, many_or_all};
use crate::schema::Schema;

pub(super) fn found(op: &Op, before: &Schema, known: &Known, sizes: &Sizes<'_>) -> Vec<Found> {
    let slow = |table: &str, work| sizes.slow(&known.table(table)?.name, work);
    let indexes = |table: &str| before.indexes_of(table).count();
    let mut found = Vec::new();
    match op {
        Op::CreateIndex { table } => {
            if let Some(slow) = slow(table, Work::Index) {
                found.push(Found::new(
                    SLOW_INDEX,
                    format!("an index on {table}: {slow}"),
                ));
            }
        }
        Op::RenameColumns {
            table,
            rebuild: true,
            ..
        } => {
            let rows = known.table(table).map(|of| sizes.rows(&of.name));
            if let Some(rows) = rows {
                let rows = many_or_all(rows, "row");
                found.push(Found::new(REBUILDS, format!("copies {rows} of {table}")));
            }
            let work = Work::Copy {
                indexes: indexes(table),
            };
            if let Some(slow) = slow(table, work) {
                found.push(Found::new(SLOW_REBUILD, format!("copies {table}: {slow}")));
            }
        }
        Op::DropColumn { table } => {
            if let Some(slow) = slow(table, Work::Copy { indexes: 0 }) {
                found.push(Found::new(
                    SLOW_REBUILD,
                    format!("rewrites {table}: {slow}"),
                ));
            }
        }
        Op::AddColumn {
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
