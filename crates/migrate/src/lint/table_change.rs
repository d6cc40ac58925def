//! One table before and after: changes that the running version of the app does not
//! expect, and constraints that are lost.

use std::collections::{BTreeMap, BTreeSet};

use super::definition_text::{check_texts, on};
use super::finding::Found;
use super::rules::{
    CHANGED_COLLATION, CHANGED_KEY, CHANGED_TYPE, DROP_COLUMN, DROP_CONSTRAINT, DROP_UNIQUE,
    DROPPED_DEFAULT, MADE_STRICT, NEW_CHECK, NEW_FOREIGN_KEY, NEW_UNIQUE, NO_MORE_NULL, NOT_NULL,
    NOW_GENERATED, RENAME_COLUMN, REORDERED_COLUMNS,
};
use super::running_code::KnownTable;
use crate::schema::{Column, Generated, IndexOrigin, Schema, Table};
use crate::sql::{same_name, tokens, unquote_name};

/// A table in a schema.
#[derive(Clone, Copy)]
pub(super) struct TableIn<'s> {
    pub(super) schema: &'s Schema,
    pub(super) table: &'s Table,
}

/// A table before and after a statement, or a file.
pub(super) struct TableChange<'c> {
    /// The columns that the running code knows; others may change freely.
    pub(super) known: &'c KnownTable,
    pub(super) old: TableIn<'c>,
    pub(super) new: TableIn<'c>,
    /// Renamed columns, from and to.
    pub(super) renames: &'c [(String, String)],
    /// A renamed table, from and to; foreign keys follow it.
    pub(super) table_rename: Option<(&'c str, &'c str)>,
}

impl TableChange<'_> {
    /// All findings about the change.
    pub(super) fn found(&self) -> Vec<Found> {
        let Self {
            known,
            old,
            new,
            renames,
            table_rename,
        } = *self;
        let mut found = Vec::new();
        let table = &known.name;
        let new_name = |column: &str| {
            let renamed = renames.iter().find(|(from, _)| same_name(from, column));
            renamed.map_or(column.to_owned(), |(_, to)| to.clone())
        };
        let mut places = Vec::new();
        for column in &old.table.columns {
            if !known.has(&column.name) {
                continue;
            }
            let (name, now) = (&column.name, new_name(&column.name));
            let Some(place) = new
                .table
                .columns
                .iter()
                .position(|one| same_name(&one.name, &now))
            else {
                found.push(Found::new(
                    DROP_COLUMN,
                    format!("drops {table}.{name} and its values"),
                ));
                continue;
            };
            places.push(place);
            if !same_name(name, &now) {
                found.push(Found::new(
                    RENAME_COLUMN,
                    format!("renames {table}.{name} to {now}"),
                ));
            }
            column_changes(table, column, &new.table.columns[place], &mut found);
        }
        added(table, old.table, new.table, renames, &mut found);
        let last_known = places.iter().max().copied().unwrap_or(0);
        let is_in_between = |(place, column): (usize, &Column)| {
            place < last_known
                && !places.contains(&place)
                && old.table.column(&column.name).is_none()
        };
        let in_between = new.table.columns.iter().enumerate().any(is_in_between);
        if !places.is_sorted() || in_between {
            found.push(Found::new(
                REORDERED_COLUMNS,
                format!("the columns of {table} change their order"),
            ));
        }
        if new.table.strict && !old.table.strict {
            found.push(Found::new(MADE_STRICT, format!("{table} becomes STRICT")));
        }
        key(table, old.table, new.table, &new_name, &mut found);
        let is_new = |column: &str| {
            let is_target = renames.iter().any(|(_, to)| same_name(to, column));
            old.table.column(column).is_none() && !is_target
        };
        checks(table, old.table, new.table, &is_new, &mut found);
        uniques(table, old, new, &new_name, &mut found);
        foreign_keys(table, old.table, new.table, table_rename, &mut found);
        for lost in self.constraints_lost() {
            found.push(Found::new(DROP_CONSTRAINT, format!("{table} loses {lost}")));
        }
        found
    }

    /// Constraints that the new table does not have, in words.
    pub(super) fn constraints_lost(&self) -> Vec<String> {
        let (old, new) = (self.old.table, self.new.table);
        // SQLite writes new names of columns into CHECK constraints itself.
        let now = |column: &str| {
            let renamed = self
                .renames
                .iter()
                .find(|(from, _)| same_name(from, column));
            renamed
                .map_or(column, |(_, to)| to.as_str())
                .to_ascii_lowercase()
        };
        let is_there = |column: &str| new.column(&now(column)).is_some();
        let mut lost = Vec::new();
        if self.renames.is_empty() {
            let gone: Vec<&str> = (old.columns.iter().map(|column| column.name.as_str()))
                .filter(|column| !is_there(column))
                .collect();
            let names_gone = |check: &String| {
                let words = tokens(check).unwrap_or_default();
                let mut names = words.iter().map(|word| unquote_name(word.text(check)));
                names.any(|name| gone.iter().any(|gone| same_name(gone, &name)))
            };
            let kept = check_texts(new, &|_| true);
            let checks = check_texts(old, &|_| true);
            let lost_checks = checks
                .into_iter()
                .filter(|(says, check)| !kept.contains_key(says) && !names_gone(check));
            lost.extend(lost_checks.map(|(_, check)| check));
        }
        let parent = |name: &str| match self.table_rename {
            Some((from, to)) if same_name(from, name) => to.to_ascii_lowercase(),
            _ => name.to_ascii_lowercase(),
        };
        for key in &old.foreign_keys {
            if !key.columns.iter().all(|(column, _)| is_there(column)) {
                continue;
            }
            let columns: Vec<String> = key.columns.iter().map(|(column, _)| now(column)).collect();
            let mut same = new.foreign_keys.iter().filter(|one| {
                let is = one
                    .columns
                    .iter()
                    .map(|(column, _)| column.to_ascii_lowercase());
                is.eq(columns.iter().cloned()) && parent(&one.parent) == parent(&key.parent)
            });
            let Some(first) = same.next() else {
                lost.push(format!("the foreign key to {}", key.parent));
                continue;
            };
            for (when, was, is) in [
                ("DELETE", &key.on_delete, &first.on_delete),
                ("UPDATE", &key.on_update, &first.on_update),
            ] {
                if !was.eq_ignore_ascii_case(is) {
                    let parent = &key.parent;
                    lost.push(format!(
                        "ON {when} {was} of the foreign key to {parent}, which is {is} now"
                    ));
                }
            }
        }
        if old.strict && !new.strict {
            lost.push("STRICT".into());
        }
        lost
    }
}

fn column_changes(table: &str, old: &Column, new: &Column, found: &mut Vec<Found>) {
    let name = &new.name;
    let mut add = |rule, what| found.push(Found::new(rule, what));
    if !old.declared_type.eq_ignore_ascii_case(&new.declared_type) {
        let or_none = |type_: &str| match type_ {
            "" => "no type".to_owned(),
            type_ => type_.to_owned(),
        };
        let (from, to) = (or_none(&old.declared_type), or_none(&new.declared_type));
        add(
            CHANGED_TYPE,
            format!("{table}.{name} changes from {from} to {to}"),
        );
    }
    // NULL written into a rowid becomes the next free number.
    let is_demanded = new.not_null && !new.is_rowid && new.generated == Generated::No;
    if is_demanded && !old.not_null {
        let rule = match new.default {
            Some(_) => NO_MORE_NULL,
            None => NOT_NULL,
        };
        add(rule, format!("{table}.{name} becomes NOT NULL"));
    }
    let writes_itself = new.generated != Generated::No;
    if old.default.is_some() && new.default.is_none() && !writes_itself {
        add(DROPPED_DEFAULT, format!("{table}.{name} loses its default"));
    }
    if old.generated == Generated::No && new.generated != Generated::No {
        add(
            NOW_GENERATED,
            format!("{table}.{name} becomes a generated column"),
        );
    }
    if !old.collation.eq_ignore_ascii_case(&new.collation) {
        let (from, to) = (&old.collation, &new.collation);
        add(
            CHANGED_COLLATION,
            format!("{table}.{name} is compared by {to} instead of {from}"),
        );
    }
}

fn added(
    table: &str,
    old: &Table,
    new: &Table,
    renames: &[(String, String)],
    found: &mut Vec<Found>,
) {
    for column in &new.columns {
        let was_there = old.column(&column.name).is_some()
            || renames.iter().any(|(_, to)| same_name(to, &column.name));
        let is_demanded = column.not_null
            && !column.is_rowid
            && column.default.is_none()
            && column.generated == Generated::No;
        if !was_there && is_demanded {
            let what = format!(
                "the new column {table}.{} is NOT NULL and has no default",
                column.name
            );
            found.push(Found::new(NOT_NULL, what));
        }
    }
}

fn key(
    table: &str,
    old: &Table,
    new: &Table,
    new_name: &dyn Fn(&str) -> String,
    found: &mut Vec<Found>,
) {
    let of = |table: &Table, name: &dyn Fn(&str) -> String| {
        let mut columns: Vec<(u32, String)> = (table.columns.iter())
            .filter(|column| column.key > 0)
            .map(|column| (column.key, name(&column.name).to_ascii_lowercase()))
            .collect();
        columns.sort();
        columns
    };
    let what = match () {
        () if of(old, new_name) != of(new, &str::to_owned) => "the primary key changes",
        () if old.without_rowid != new.without_rowid => {
            "it becomes WITHOUT ROWID, or is so no longer"
        }
        () if old.autoincrement && !new.autoincrement => {
            "it loses AUTOINCREMENT, so that the numbers of deleted rows are given again"
        }
        () => return,
    };
    found.push(Found::new(CHANGED_KEY, format!("{table}: {what}")));
}

fn checks(
    table: &str,
    old: &Table,
    new: &Table,
    is_new: &dyn Fn(&str) -> bool,
    found: &mut Vec<Found>,
) {
    let before = check_texts(old, &|_| true);
    // Code that does not know a column leaves it NULL or at its default.
    let was_there = |name: &str| !is_new(name);
    for (says, check) in check_texts(new, &was_there) {
        if !before.contains_key(&says) {
            found.push(Found::new(NEW_CHECK, format!("{table} gets {check}")));
        }
    }
}

fn foreign_keys(
    table: &str,
    old: &Table,
    new: &Table,
    rename: Option<(&str, &str)>,
    found: &mut Vec<Found>,
) {
    let now = |parent: &str| match rename {
        Some((from, to)) if same_name(from, parent) => to.to_ascii_lowercase(),
        _ => parent.to_ascii_lowercase(),
    };
    let of = |table: &Table| -> BTreeSet<(String, String)> {
        let keys = table.foreign_keys.iter();
        keys.map(|key| {
            let columns = key
                .columns
                .iter()
                .map(|(column, _)| column.to_ascii_lowercase());
            let columns = columns.collect::<Vec<_>>().join(", ");
            (columns, now(&key.parent))
        })
        .collect()
    };
    // The running code writes no values into a new column.
    let is_new = |columns: &str| {
        columns
            .split(", ")
            .all(|column| old.column(column).is_none())
    };
    for (columns, parent) in of(new).difference(&of(old)) {
        if !is_new(columns) {
            let what = format!("{table} ({columns}) must refer to a row of {parent}");
            found.push(Found::new(NEW_FOREIGN_KEY, what));
        }
    }
}

fn uniques(
    table: &str,
    old: TableIn<'_>,
    new: TableIn<'_>,
    new_name: &dyn Fn(&str) -> String,
    found: &mut Vec<Found>,
) {
    let of =
        |shape: TableIn<'_>, name: &dyn Fn(&str) -> String| -> BTreeMap<String, Option<String>> {
            let indexes = shape.schema.indexes_of(&shape.table.name);
            let unique =
                indexes.filter(|index| index.unique && index.origin != IndexOrigin::PrimaryKey);
            unique
                .map(|index| {
                    let columns = index.columns.iter().map(|column| match &column.name {
                        Some(column) => name(column).to_ascii_lowercase(),
                        None => "an expression".into(),
                    });
                    let columns = columns.collect::<Vec<_>>().join(", ");
                    let part = if index.is_partial() {
                        ", of some rows"
                    } else {
                        ""
                    };
                    (format!("({columns}){part}"), index.sql.as_deref().map(on))
                })
                .collect()
        };
    let (before, after) = (of(old, new_name), of(new, &str::to_owned));
    let about = |one: &str, text: &Option<String>| {
        let text = text.as_deref().unwrap_or(one);
        format!("UNIQUE of {table}: {text}")
    };
    for (one, text) in after.iter().filter(|(one, _)| !before.contains_key(*one)) {
        let what = format!("{table} must be UNIQUE by {one}");
        found.push(Found::new(NEW_UNIQUE, what).about(about(one, text)));
    }
    for (one, text) in before.iter().filter(|(one, _)| !after.contains_key(*one)) {
        let what = format!("{table} need not be UNIQUE any more by {one}");
        found.push(Found::new(DROP_UNIQUE, what).about(about(one, text)));
    }
}
