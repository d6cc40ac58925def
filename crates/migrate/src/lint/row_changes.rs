//! Findings about statements that delete, change or copy rows.

use std::collections::BTreeSet;

use super::children::Children;
use super::effect::{Effect, rebuild_sets};
use super::finding::{Found, Loses};
use super::manual_rebuild::CopiedRows;
use super::reads::computed_from_itself;
use super::rules::{CHANGES, DELETE_ALL, Level, REPLACE_CASCADES, SLOW, UPDATE_ALL};
use super::running_code::{KnownTable, RunningCode};
use super::slow_ops::{TableSizes, Work, many_or_all};
use crate::allowance::LossKind;
use crate::schema::{Schema, Table};
use crate::sql::{TokenType, same_name, tokens, unquote_name};

pub(super) fn found(
    effect: &Effect,
    sql: &str,
    schema: &Schema,
    known: &RunningCode,
    copied: &CopiedRows,
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
                let computed = computed_from_itself(sql);
                found.extend(overwritten(table, of, columns, &computed, copied, sizes));
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
            let slow = slowest.and_then(|of| {
                let slow = sizes.slow(&of.name, Work::Copy { indexes: 0 })?;
                Some(Found::new(SLOW, format!("copies from {}: {slow}", of.name)))
            });
            let mut found: Vec<Found> = slow.into_iter().collect();
            if *replaces && known.table(table).is_some() {
                found.extend(replaced(table, schema, known, sizes));
            }
            if let Some((table, of)) = known_table(table) {
                let none = BTreeSet::new();
                found.extend(overwritten(table, of, overwrites, &none, copied, sizes));
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
            let (mut columns, mut computed) = (Vec::new(), BTreeSet::new());
            for (to, names) in rebuild_sets(sql) {
                let renamed = pairs.iter().find(|(_, new)| same_name(new, &to));
                let column = renamed.map_or(&to, |(from, _)| from);
                if names.iter().any(|name| same_name(name, column)) {
                    computed.insert(column.to_ascii_lowercase());
                }
                // Only NULLs get a value then.
                if names.first().is_none_or(|name| !fills_null(name)) {
                    columns.push(column.clone());
                }
            }
            overwritten(table, of, &columns, &computed, copied, sizes)
        }
        _ => Vec::new(),
    }
}

/// Whether a function of this name, the first of an expression, only fills in NULLs.
pub(super) fn fills_null(function: &str) -> bool {
    same_name(function, "coalesce") || same_name(function, "ifnull")
}

/// Findings if columns that were there before are overwritten in every row: those whose new value is
/// computed from the old one, and the others.
fn overwritten(
    table: &Table,
    of: &KnownTable,
    columns: &[String],
    computed: &BTreeSet<String>,
    copied: &CopiedRows,
    sizes: &TableSizes<'_>,
) -> Vec<Found> {
    let rows = || many_or_all(sizes.rows(&of.name), "row");
    let old = || columns.iter().filter(|column| of.has(column));
    let is_soft = |column: &String| {
        let column = column.to_ascii_lowercase();
        computed.contains(&column) || copied.is_read(&of.name, &column)
    };
    let found = |columns: Vec<&str>, does: &str| {
        let names = columns.join(", ");
        let loses = columns.into_iter();
        let loses = loses.map(|column| Loses::column(LossKind::Values, &table.name, column));
        Found::new(
            UPDATE_ALL,
            format!("{does} {names} in {} of {}", rows(), table.name),
        )
        .loses(loses)
    };
    let hard: Vec<&str> = old()
        .filter(|one| !is_soft(one))
        .map(String::as_str)
        .collect();
    let soft: Vec<&str> = old()
        .filter(|one| is_soft(one))
        .map(String::as_str)
        .collect();
    let mut all = Vec::new();
    if !hard.is_empty() {
        all.push(found(hard, "overwrites"));
    }
    if !soft.is_empty() {
        let soft = found(soft, "changes");
        all.push(soft.level(Level::Warning).instead(
            "nothing, if no value is lost that is needed: `monolite migrate up` compares them",
        ));
    }
    all
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
        children.lost_words()
    );
    Some(Found::new(REPLACE_CASCADES, what).loses(children.losses()))
}

/// `DELETE FROM sqlite_sequence`, the counters of `AUTOINCREMENT`.
fn counters(all: bool) -> Found {
    match all {
        true => Found::new(
            CHANGES,
            "deletes the counters of all AUTOINCREMENT tables: the numbers of deleted rows are given again",
        ),
        false => Found::new(
            CHANGES,
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
        false => format!(", and with them {}", children.lost_words()),
    };
    let loses = Loses::of(LossKind::Rows, &table.name);
    Found::new(
        DELETE_ALL,
        format!("deletes {rows} of {}{with}", table.name),
    )
    .loses([loses])
    .loses(children.losses())
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
        Found::new(SLOW, format!("{does} {up_to}{slow} ({})", table.name))
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
