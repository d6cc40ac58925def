//! What holds for all rows of a table, before and after.

use std::collections::BTreeMap;

use super::finding::Found;
use super::rules::{DROP_UNIQUE, NEW_UNIQUE};
use super::shape::{Change, Shape};
use super::texts::{check_texts, on};
use crate::sql::{same_name, tokens, unquote_name};

impl Change<'_> {
    /// What kept rows right and does not any more, in words.
    pub(super) fn constraints_lost(&self) -> Vec<String> {
        let (old, new) = (self.old.table, self.new.table);
        // SQLite itself puts the new name into what names a column.
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

pub(super) fn uniques(
    table: &str,
    old: Shape<'_>,
    new: Shape<'_>,
    new_name: &dyn Fn(&str) -> String,
    found: &mut Vec<Found>,
) {
    let of = |shape: Shape<'_>,
              name: &dyn Fn(&str) -> String|
     -> BTreeMap<String, Option<String>> {
        let indexes = shape.schema.indexes_of(&shape.table.name);
        let unique = indexes
            .filter(|index| index.unique && index.origin != crate::schema::IndexOrigin::PrimaryKey);
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
