//! What hangs on tables: constraints and indexes (beside this), triggers, views.

use std::collections::HashMap;

use super::super::facts::{Facts, Object, Table, key};
use super::super::report::{About, Kind, Loss, Report};
use super::super::text;
use super::data::Look;
use super::tables::Matches;

/// What there was, what there is, and which is which.
#[derive(Clone, Copy)]
pub(super) struct Both<'f> {
    pub(super) before: &'f Facts,
    pub(super) after: &'f Facts,
    pub(super) matches: &'f Matches,
    pub(super) look: &'f Look<'f>,
}

/// Compares all of it.
pub(super) fn compare(both: Both<'_>, report: &mut Report) {
    let Both {
        before,
        after,
        matches,
        look,
    } = both;
    let mut found = Found {
        before,
        after,
        matches,
        look,
        report,
    };
    for (was, now) in matches.pairs(before, after) {
        found.table(was, now);
        found.foreign_keys(was, now);
        found.checks(was, now);
        found.indexes(was, now);
    }
    found.triggers();
    found.views();
}

pub(super) struct Found<'f> {
    pub(super) before: &'f Facts,
    pub(super) after: &'f Facts,
    pub(super) matches: &'f Matches,
    pub(super) look: &'f Look<'f>,
    report: &'f mut Report,
}

impl<'f> Found<'f> {
    pub(super) fn both(&self) -> Both<'f> {
        Both {
            before: self.before,
            after: self.after,
            matches: self.matches,
            look: self.look,
        }
    }
}

impl Found<'_> {
    pub(super) fn lose(&mut self, loss: Loss) {
        self.report.losses.push(loss);
    }

    pub(super) fn note(&mut self, text: String) {
        self.report.note(About::Definition, text);
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
                    let loss = Loss::new(Kind::Trigger, Some(&was.table), Some(&was.name));
                    self.lose(loss.saying(detail));
                }
                Some(_) => self.note(format!("trigger {}: its text is another now", was.name)),
                None if is_renamed(was, self.after.triggers.values()) => {}
                None => {
                    let loss = Loss::new(Kind::Trigger, Some(&was.table), Some(&was.name));
                    self.lose(loss.saying(one_line(&was.sql)));
                }
            }
        }
    }

    fn views(&mut self) {
        for (name, was) in &self.before.views {
            match self.after.views.get(name) {
                Some(now) if text::words(&now.sql) == text::words(&was.sql) => {}
                Some(_) => self.note(format!("view {}: its text is another now", was.name)),
                // A table in its place, as a view that was given its own rows.
                None if self.after.tables.contains_key(name) => {
                    self.note(format!("view {}: it is a table now", was.name));
                }
                None if is_renamed(was, self.after.views.values()) => {}
                None => {
                    let loss = Loss::new(Kind::View, None, Some(&was.name));
                    self.lose(loss.saying(one_line(&was.sql)));
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
        let mut renamed = words.to_vec();
        for (at, word) in text::names(words) {
            if let Some(now) = names.get(word) {
                renamed[at].clone_from(now);
            }
        }
        renamed
    }

    /// What is about a column that is gone went with it.
    pub(super) fn names_lost_column(&self, was: &Table, now: &Table, words: &[String]) -> bool {
        text::names(words).any(|(_, word)| {
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
