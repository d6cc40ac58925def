//! What hangs on tables: constraints and indexes (beside this), triggers, views.

use std::collections::HashMap;

use super::super::facts::{Facts, Object, Table, key};
use super::super::report::{Kind, Loss};
use super::super::text;
use super::tables::Matches;

/// Compares all of it.
pub(super) fn compare(
    before: &Facts,
    after: &Facts,
    matches: &Matches,
) -> (Vec<Loss>, Vec<String>) {
    let mut found = Found {
        before,
        after,
        matches,
        losses: Vec::new(),
        notes: Vec::new(),
    };
    for (was, now) in matches.pairs(before, after) {
        found.table(was, now);
        found.foreign_keys(was, now);
        found.checks(was, now);
        found.indexes(was, now);
    }
    found.triggers();
    found.views();
    (found.losses, found.notes)
}

pub(super) struct Found<'f> {
    pub(super) before: &'f Facts,
    pub(super) after: &'f Facts,
    pub(super) matches: &'f Matches,
    losses: Vec<Loss>,
    pub(super) notes: Vec<String>,
}

impl Found<'_> {
    pub(super) fn lose(&mut self, loss: Loss) {
        self.losses.push(loss);
    }

    fn triggers(&mut self) {
        for (name, was) in &self.before.triggers {
            let of = self.before.views.contains_key(&key(&was.table));
            let gone = match of {
                true => !self.after.views.contains_key(&key(&was.table)),
                false => self.is_gone(&was.table),
            };
            if gone {
                continue;
            }
            match self.after.triggers.get(name) {
                Some(now) if text::words(&now.sql) == text::words(&was.sql) => {}
                Some(now)
                    if !now.table.eq_ignore_ascii_case(&was.table)
                        && self
                            .matches
                            .of(&was.table)
                            .is_none_or(|to| !to.eq_ignore_ascii_case(&now.table)) =>
                {
                    let detail = format!("it is on {} now", now.table);
                    self.losses.push(
                        Loss::new(Kind::Trigger, Some(&was.table), Some(&was.name)).saying(detail),
                    );
                }
                Some(_) => self
                    .notes
                    .push(format!("trigger {}: its text is another now", was.name)),
                None if is_renamed(was, self.after.triggers.values()) => {}
                None => {
                    let loss = Loss::new(Kind::Trigger, Some(&was.table), Some(&was.name));
                    self.losses.push(loss.saying(one_line(&was.sql)));
                }
            }
        }
    }

    fn views(&mut self) {
        for (name, was) in &self.before.views {
            match self.after.views.get(name) {
                Some(now) if text::words(&now.sql) == text::words(&was.sql) => {}
                Some(_) => self
                    .notes
                    .push(format!("view {}: its text is another now", was.name)),
                // A table in its place, as a view that was given its own rows.
                None if self.after.tables.contains_key(name) => {
                    self.notes
                        .push(format!("view {}: it is a table now", was.name));
                }
                None if is_renamed(was, self.after.views.values()) => {}
                None => {
                    let loss = Loss::new(Kind::View, None, Some(&was.name));
                    self.losses.push(loss.saying(one_line(&was.sql)));
                }
            }
        }
    }

    /// Whether the table was there and is under no name any more.
    pub(super) fn is_gone(&self, table: &str) -> bool {
        self.before.table(table).is_some() && self.matches.of(table).is_none()
    }

    /// The words with the names that columns have now.
    pub(super) fn renamed(&self, table: &Table, words: &[String]) -> Vec<String> {
        let names: HashMap<String, String> = (table.columns.iter())
            .map(|column| {
                (
                    key(&column.name),
                    key(&self.matches.column(table, &column.name)),
                )
            })
            .collect();
        let now = |word: &String| names.get(word).unwrap_or(word).clone();
        words.iter().map(now).collect()
    }

    /// What is about a column that is gone went with it.
    pub(super) fn names_lost_column(&self, was: &Table, now: &Table, words: &[String]) -> bool {
        words.iter().any(|word| {
            was.column(word).is_some_and(|column| {
                now.column(&self.matches.column(was, &column.name))
                    .is_none()
            })
        })
    }
}

/// Whether one of these has the same text but for its own name.
fn is_renamed<'o>(was: &Object, mut now: impl Iterator<Item = &'o Object>) -> bool {
    let without = |object: &Object| {
        let mut words = text::words(&object.sql);
        words.retain(|word| *word != key(&object.name));
        words
    };
    let words = without(was);
    !words.is_empty() && now.any(|now| without(now) == words)
}

/// SQL on one line, not too long a one.
pub(super) fn one_line(sql: &str) -> String {
    const MOST: usize = 100;
    let line = sql.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(MOST) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line,
    }
}
