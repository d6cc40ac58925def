//! Findings about statements that delete, change or copy rows.

use super::children::Children;
use super::effect::{Effect, rebuild_sets};
use super::finding::Found;
use super::rules::{CHANGED_KEY, DELETE_ALL, REPLACE_CASCADES, SLOW_CHANGE, UPDATE_ALL};
use super::running_code::{KnownTable, RunningCode};
use super::slow_ops::{TableSizes, Work, many_or_all};
use crate::schema::{Schema, Table};
use crate::sql::{TokenType, same_name, tokens, unquote_name};

pub(super) fn found(
    effect: &Effect,
    sql: &str,
    schema: &Schema,
    known: &RunningCode,
    sizes: &TableSizes<'_>,
) -> Vec<Found> {
    let known_table = |name: &str| Some((schema.table(name)?, known.table(name)?));
    match effect {
        // SQLite's own table, which no schema lists.
        Effect::Delete { table, all } if same_name(table, "sqlite_sequence") => {
            vec![counters(*all)]
        }
        Effect::Delete { table, all } => {
            let Some((table, of)) = known_table(table) else {
                return Vec::new();
            };
            let mut found = slow(table, of, sql, *all, schema, sizes, "deletes");
            if *all {
                found.push(delete_all(table, of, schema, known, sizes));
            }
            found
        }
        Effect::Update {
            table,
            columns,
            all,
            replaces,
        } => {
            let Some((table, of)) = known_table(table) else {
                return Vec::new();
            };
            let mut found = slow(table, of, sql, *all, schema, sizes, "changes");
            if *all {
                found.extend(overwritten(table, of, columns, sizes));
            }
            if *replaces {
                found.extend(replaced(&table.name, schema, known, sizes));
            }
            found
        }
        Effect::Insert {
            table,
            from,
            replaces,
            overwrites,
        } => {
            let sources = from.iter().filter_map(|from| known.table(from));
            let slowest = sources.max_by_key(|of| sizes.rows(&of.name));
            let copied = slowest.and_then(|of| {
                let slow = sizes.slow(&of.name, Work::Copy { indexes: 0 })?;
                Some(Found::new(
                    SLOW_CHANGE,
                    format!("copies from {}: {slow}", of.name),
                ))
            });
            let mut found: Vec<Found> = copied.into_iter().collect();
            if *replaces && known.table(table).is_some() {
                found.extend(replaced(table, schema, known, sizes));
            }
            if let Some((table, of)) = known_table(table) {
                found.extend(overwritten(table, of, overwrites, sizes));
            }
            found
        }
        Effect::RenameColumns {
            table,
            pairs,
            rebuild: true,
        } => {
            let Some((table, of)) = known_table(table) else {
                return Vec::new();
            };
            let mut columns = Vec::new();
            for (to, names) in rebuild_sets(sql) {
                let renamed = pairs.iter().find(|(_, new)| same_name(new, &to));
                let column = renamed.map_or(&to, |(from, _)| from);
                if !names.iter().any(|name| same_name(name, column)) {
                    columns.push(column.clone());
                }
            }
            overwritten(table, of, &columns, sizes)
                .into_iter()
                .collect()
        }
        _ => Vec::new(),
    }
}

/// A finding if columns that the running code knows are overwritten in every row.
fn overwritten(
    table: &Table,
    of: &KnownTable,
    columns: &[String],
    sizes: &TableSizes<'_>,
) -> Option<Found> {
    let columns = columns.iter().map(String::as_str);
    let old: Vec<&str> = columns.filter(|column| of.has(column)).collect();
    if old.is_empty() {
        return None;
    }
    let rows = many_or_all(sizes.rows(&of.name), "row");
    let what = format!("overwrites {} in {rows} of {}", old.join(", "), table.name);
    Some(Found::new(UPDATE_ALL, what))
}

fn replaced(
    table: &str,
    schema: &Schema,
    known: &RunningCode,
    sizes: &TableSizes<'_>,
) -> Option<Found> {
    let children = Children::of(table, schema, known, sizes);
    if children.lost.is_empty() {
        return None;
    }
    let what = format!(
        "a row of {table} that is replaced is deleted first, and with it what refers to it among {}",
        children.lost.join(", ")
    );
    Some(Found::new(REPLACE_CASCADES, what))
}

/// `DELETE FROM sqlite_sequence`, the counters of `AUTOINCREMENT`.
fn counters(all: bool) -> Found {
    match all {
        true => Found::new(
            DELETE_ALL,
            "deletes the counters of all AUTOINCREMENT tables: the numbers of deleted rows are given again",
        ),
        false => Found::new(
            CHANGED_KEY,
            "deletes a counter of AUTOINCREMENT: the numbers of deleted rows are given again",
        ),
    }
}

fn delete_all(
    table: &Table,
    of: &KnownTable,
    schema: &Schema,
    known: &RunningCode,
    sizes: &TableSizes<'_>,
) -> Found {
    let rows = many_or_all(sizes.rows(&of.name), "row");
    let children = Children::of(&table.name, schema, known, sizes);
    let with = match children.lost.is_empty() {
        true => String::new(),
        false => format!(", and with them {}", children.lost.join(", ")),
    };
    Found::new(
        DELETE_ALL,
        format!("deletes {rows} of {}{with}", table.name),
    )
}

/// A finding if the statement writes so many rows that other writers wait. One
/// with the primary key in its `WHERE` is taken to write few.
fn slow(
    table: &Table,
    of: &KnownTable,
    sql: &str,
    all: bool,
    schema: &Schema,
    sizes: &TableSizes<'_>,
    does: &str,
) -> Vec<Found> {
    if !all && names_the_key(sql, table) {
        return Vec::new();
    }
    let indexes = schema.indexes_of(&table.name).count();
    let work = Work::Change {
        indexes: if does == "deletes" { indexes } else { 0 },
    };
    let slow = sizes.slow(&of.name, work).map(|slow| {
        let up_to = if all { "" } else { "up to " };
        Found::new(
            SLOW_CHANGE,
            format!("{does} {up_to}{slow} ({})", table.name),
        )
    });
    slow.into_iter().collect()
}

fn names_the_key(sql: &str, table: &Table) -> bool {
    let all = tokens(sql).unwrap_or_default();
    let after = all
        .iter()
        .skip_while(|token| token.kind != TokenType::TK_WHERE)
        .skip(1);
    let names = after.map(|token| unquote_name(token.text(sql)));
    let keys: Vec<&str> = (table.columns.iter())
        .filter(|column| column.key > 0)
        .map(|column| column.name.as_str())
        .chain(table.rowid_name())
        .chain(["LIMIT"])
        .collect();
    names
        .into_iter()
        .any(|name| keys.iter().any(|key| same_name(key, &name)))
}
