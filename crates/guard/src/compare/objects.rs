//! What hangs on tables: constraints and indexes (beside this), triggers, views.

use std::collections::HashMap;

use super::super::report::{About, Kind, Loss, Report};
use super::data::Look;
use super::tables::Matches;
use monolite_migrate::schema::{Schema, Table, Trigger, View};
use monolite_migrate::sql::{name_key, possible_columns, words};

/// What there was, what there is, and which is which.
#[derive(Clone, Copy)]
pub(super) struct Both<'f> {
    pub(super) before: &'f Schema,
    pub(super) after: &'f Schema,
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
    pub(super) before: &'f Schema,
    pub(super) after: &'f Schema,
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
        for was in in_name_order(&self.before.triggers) {
            let of = self.before.view(&was.table).is_some();
            let gone = match of {
                true => self.after.view(&was.table).is_none(),
                false => self.is_gone(&was.table),
            };
            if gone {
                continue;
            }
            match self.after.trigger(&was.name) {
                Some(now) if words(&now.sql) == words(&was.sql) => {}
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
                None if is_renamed(was, &self.after.triggers) => {}
                None => {
                    let loss = Loss::new(Kind::Trigger, Some(&was.table), Some(&was.name));
                    self.lose(loss.saying(one_line(&was.sql)));
                }
            }
        }
    }

    fn views(&mut self) {
        for was in in_name_order(&self.before.views) {
            match self.after.view(&was.name) {
                Some(now) if words(&now.sql) == words(&was.sql) => {}
                Some(_) => self.note(format!("view {}: its text is another now", was.name)),
                // A table in its place, as a view that was given its own rows.
                None if self.after.table(&was.name).is_some() => {
                    self.note(format!("view {}: it is a table now", was.name));
                }
                None if is_renamed(was, &self.after.views) => {}
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
        let names: HashMap<String, String> = (table.visible_columns())
            .map(|column| {
                (
                    name_key(&column.name),
                    name_key(&self.matches.column(table, &column.name)),
                )
            })
            .collect();
        let mut renamed = words.to_vec();
        for (at, word) in possible_columns(words) {
            if let Some(now) = names.get(word) {
                renamed[at].clone_from(now);
            }
        }
        renamed
    }

    /// What is about a column that is gone went with it.
    pub(super) fn names_lost_column(&self, was: &Table, now: &Table, words: &[String]) -> bool {
        possible_columns(words).any(|(_, word)| {
            was.column(word).is_some_and(|column| {
                now.column(&self.matches.column(was, &column.name))
                    .is_none()
            })
        })
    }
}

/// A trigger or a view.
pub(super) trait Object {
    fn name(&self) -> &str;
    fn sql(&self) -> &str;
}

impl Object for Trigger {
    fn name(&self) -> &str {
        &self.name
    }

    fn sql(&self) -> &str {
        &self.sql
    }
}

impl Object for View {
    fn name(&self) -> &str {
        &self.name
    }

    fn sql(&self) -> &str {
        &self.sql
    }
}

/// As reports list them.
pub(super) fn in_name_order<O: Object>(objects: &[O]) -> Vec<&O> {
    let mut objects: Vec<&O> = objects.iter().collect();
    objects.sort_by_key(|object| name_key(object.name()));
    objects
}

/// Whether one of these has the same text but for its own name.
fn is_renamed<O: Object>(was: &O, now: &[O]) -> bool {
    let without = |object: &O| {
        let mut words = words(object.sql());
        words.retain(|word| *word != name_key(object.name()));
        words
    };
    let words = without(was);
    !words.is_empty() && now.iter().any(|now| without(now) == words)
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
