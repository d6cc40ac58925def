//! One table before and after: changes that the running version of the app does not
//! expect, and constraints that are lost.

use std::collections::{BTreeMap, BTreeSet};

use super::definition_text::{check_texts, on};
use super::finding::{Found, Loses};
use super::rules::{CHANGES, DEMANDS_MORE, DROP_COLUMN, DROP_DEFINITION, RENAMES};
use super::running_code::KnownTable;
use crate::allowance::LossKind;
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
    /// Renamed tables, from and to; foreign keys follow them.
    pub(super) table_renames: &'c [(String, String)],
}

impl TableChange<'_> {
    /// All findings about the change.
    pub(super) fn found(&self) -> Vec<Found> {
        let mut found = self.without_lost_constraints();
        for lost in self.constraints_lost() {
            let table = &self.known.name;
            let loses = Loses::of(LossKind::Constraint, table);
            found.push(Found::new(DROP_DEFINITION, format!("{table} loses {lost}")).loses([loses]));
        }
        found
    }

    /// All findings but those of [`constraints_lost`](Self::constraints_lost).
    pub(super) fn without_lost_constraints(&self) -> Vec<Found> {
        let Self {
            known,
            old,
            new,
            renames,
            table_renames,
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
                let loses = Loses::column(LossKind::Column, table, name);
                found.push(
                    Found::new(DROP_COLUMN, format!("drops {table}.{name} and its values"))
                        .loses([loses]),
                );
                continue;
            };
            places.push(place);
            if !same_name(name, &now) {
                let loses = Loses::column(LossKind::Column, table, name);
                found.push(
                    Found::new(RENAMES, format!("renames {table}.{name} to {now}")).loses([loses]),
                );
            }
            column_changes(table, (old.table, column), (new.table, place), &mut found);
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
            let what = format!("the columns of {table} change their order");
            found.push(
                Found::new(CHANGES, what).instead("add columns at the end; name columns in code"),
            );
        }
        if new.table.strict && !old.table.strict {
            found.push(demands(format!("{table} becomes STRICT"), table, None));
        }
        key(table, old.table, new.table, &new_name, &mut found);
        let is_new = |column: &str| {
            let is_target = renames.iter().any(|(_, to)| same_name(to, column));
            old.table.column(column).is_none() && !is_target
        };
        checks(table, old.table, new.table, &is_new, &mut found);
        uniques(table, old, new, &new_name, &mut found);
        foreign_keys(table, old.table, new.table, table_renames, &mut found);
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
                .filter(|(words, check)| !kept.contains_key(words) && !names_gone(check));
            lost.extend(lost_checks.map(|(_, check)| check));
        }
        let parent = |name: &str| renamed_table(name, self.table_renames);
        for key in &old.foreign_keys {
            let leads_nowhere = self.old.schema.table(&key.parent).is_none();
            if leads_nowhere || !key.columns.iter().all(|(column, _)| is_there(column)) {
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
                // Another action is what somebody has written.
                if acts(was) && !acts(is) {
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

/// What is demanded of the table, or of one of its columns.
fn demands(what: String, table: &str, column: Option<&str>) -> Found {
    let loses = match column {
        Some(column) => Loses::column(LossKind::Constraint, table, column),
        None => Loses::of(LossKind::Constraint, table),
    };
    Found::new(DEMANDS_MORE, what).loses([loses])
}

fn column_changes(
    table: &str,
    (of, old): (&Table, &Column),
    (to, place): (&Table, usize),
    found: &mut Vec<Found>,
) {
    let Some(new) = to.columns.get(place) else {
        return;
    };
    let name = &new.name;
    let demands = |what| demands(what, table, Some(name));
    // SQLite only uses the affinity, but for a STRICT table.
    let is_same_type = match of.strict || to.strict {
        true => old.declared_type.eq_ignore_ascii_case(&new.declared_type),
        false => old.affinity == new.affinity,
    };
    if !is_same_type {
        let or_none = |type_: &str| match type_ {
            "" => "no type".to_owned(),
            type_ => type_.to_owned(),
        };
        let (from, to) = (or_none(&old.declared_type), or_none(&new.declared_type));
        let what = format!("{table}.{name} changes from {from} to {to}");
        found.push(Found::new(CHANGES, what));
    }
    // NULL written into a rowid becomes the next free number.
    let is_demanded = new.not_null && !new.is_rowid && new.generated == Generated::No;
    if is_demanded && !old.not_null {
        found.push(demands(format!("{table}.{name} becomes NOT NULL")));
    }
    let writes_itself = new.generated != Generated::No;
    if old.default.is_some() && new.default.is_none() && !writes_itself {
        let loses = Loses::column(LossKind::Constraint, table, name);
        let what = format!("{table}.{name} loses its default");
        found.push(Found::new(DROP_DEFINITION, what).loses([loses]));
    }
    if old.generated == Generated::No && new.generated != Generated::No {
        found.push(demands(format!(
            "{table}.{name} becomes a generated column"
        )));
    }
    if !old.collation.eq_ignore_ascii_case(&new.collation) {
        let (from, to) = (&old.collation, &new.collation);
        let what = format!("{table}.{name} is compared by {to} instead of {from}");
        found.push(Found::new(CHANGES, what).instead("COLLATE in the queries or in a new index"));
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
            found.push(demands(what, table, Some(&column.name)));
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
    found.push(Found::new(CHANGES, format!("{table}: {what}")));
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
    for (words, check) in check_texts(new, &was_there) {
        if !before.contains_key(&words) {
            found.push(demands(format!("{table} gets {check}"), table, None));
        }
    }
}

/// What a table is called now, in lower case.
fn renamed_table(name: &str, renames: &[(String, String)]) -> String {
    let renamed = renames.iter().find(|(from, _)| same_name(from, name));
    renamed
        .map_or(name, |(_, to)| to.as_str())
        .to_ascii_lowercase()
}

/// Whether the action of a foreign key changes rows of the table itself.
fn acts(action: &str) -> bool {
    let none = ["NO ACTION", "RESTRICT"];
    !none.iter().any(|none| action.eq_ignore_ascii_case(none))
}

fn foreign_keys(
    table: &str,
    old: &Table,
    new: &Table,
    renames: &[(String, String)],
    found: &mut Vec<Found>,
) {
    let now = |parent: &str| renamed_table(parent, renames);
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
            found.push(demands(what, table, None));
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
    let is_gone = |column: &str| new.table.column(&new_name(column)).is_none();
    let key: Vec<String> = (new.table.primary_key().iter())
        .map(|column| column.name.to_ascii_lowercase())
        .collect();
    let key = format!("({})", key.join(", "));
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
        // Not the table's name, which may be another one for a while.
        let text = text.as_deref().map_or(one, |text| {
            text.find('(')
                .map_or(text, |at| text.get(at..).unwrap_or(text))
        });
        format!("UNIQUE of {table}: {text}")
    };
    for (one, text) in after.iter().filter(|(one, _)| !before.contains_key(*one)) {
        let what = format!("{table} must be UNIQUE by {one}");
        found.push(demands(what, table, None).about(about(one, text)));
    }
    let goes_with_a_column = |one: &str| {
        let names = one.trim_start_matches('(').split([',', ')']);
        let mut names = names
            .map(str::trim)
            .filter(|name| old.table.column(name).is_some());
        names.any(is_gone)
    };
    let is_lost = |(one, _): &(&String, &Option<String>)| {
        // The primary key demands the same.
        !after.contains_key(*one) && **one != key && !goes_with_a_column(one)
    };
    for (one, text) in before.iter().filter(is_lost) {
        let what = format!("{table} need not be UNIQUE any more by {one}");
        let loses = Loses::of(LossKind::Index, table);
        let found_one = Found::new(DROP_DEFINITION, what).loses([loses]);
        found.push(found_one.about(about(one, text)));
    }
}
