//! Definitions: what a table's definition demands of its rows, its indexes, triggers and views.

use std::collections::HashMap;

use monolite_migrate::schema::{ForeignKey, Index, IndexOrigin, Schema, Table, Trigger, View};
use monolite_migrate::sql::{check_words, name_key, possible_columns, same_name, words};

use super::foreign;
use super::key::primary_key;
use super::matches::{Both, Matches};
use super::recreation::Look;
use crate::report::{About, Kind, Loss, Report};

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

struct Found<'f> {
    before: &'f Schema,
    after: &'f Schema,
    matches: &'f Matches,
    look: &'f Look<'f>,
    report: &'f mut Report,
}

impl<'f> Found<'f> {
    fn both(&self) -> Both<'f> {
        Both {
            before: self.before,
            after: self.after,
            matches: self.matches,
            look: self.look,
        }
    }
}

impl Found<'_> {
    fn lose(&mut self, loss: Loss) {
        self.report.losses.push(loss);
    }

    fn note(&mut self, text: String) {
        self.report.note(About::Definition, text);
    }

    fn table(&mut self, was: &Table, now: &Table) {
        let name = Some(was.name.as_str());
        if was.strict && !now.strict {
            self.lose(Loss::new(Kind::Constraint, name, None).saying("STRICT"));
        }
        if was.without_rowid && !now.without_rowid {
            self.note(format!("{}: it is WITHOUT ROWID no more", was.name));
        }
        let keys = [primary_key(was), primary_key(now)];
        let [had, has] = keys;
        let had_now: Vec<String> = had.iter().map(|c| self.matches.column(was, c)).collect();
        let same = had_now
            .iter()
            .map(String::as_str)
            .eq(has.iter().map(|c| c as &str));
        let lost_column = had_now.iter().any(|column| now.column(column).is_none());
        if !had.is_empty() && !same && !lost_column {
            let words: Vec<Vec<String>> = had_now.iter().map(|c| vec![name_key(c)]).collect();
            let unique = |index: &Index| index.unique && index.condition.is_none();
            let kept = self
                .after
                .indexes_of(&now.name)
                .any(|i| unique(i) && i.terms == words);
            if !kept {
                let detail = format!("PRIMARY KEY ({})", had.join(", "));
                self.lose(Loss::new(Kind::Constraint, name, None).saying(detail));
            }
        }
        self.autoincrement(was, now);
        for column in &was.columns {
            let at = format!("{}.{}", was.name, column.name);
            let Some(now) = now.column(&self.matches.column(was, &column.name)) else {
                if column.is_generated() {
                    self.note(format!("{at}: the generated column is gone"));
                }
                continue;
            };
            if column.is_generated() && !now.is_generated() {
                self.note(format!("{at}: it is no generated column any more"));
            }
            if !same_name(&column.collation, &now.collation) {
                let shown = |name: &str| name.to_ascii_uppercase();
                let (was, is) = (shown(&column.collation), shown(&now.collation));
                self.note(format!("{at}: its collation was {was}, it is {is} now"));
            }
            if column.not_null && !now.not_null && now.key == 0 {
                self.note(format!("{at}: it may be NULL now"));
            }
            if column.default != now.default
                && let Some(default) = &column.default
            {
                let instead = match &now.default {
                    Some(now) => format!("it is {now} now"),
                    None => "it has none now".into(),
                };
                self.note(format!("{at}: its default was {default}, {instead}"));
            }
            if !column
                .declared_type
                .eq_ignore_ascii_case(&now.declared_type)
            {
                let shown = |declared: &str| match declared.is_empty() {
                    true => "none".to_owned(),
                    false => declared.to_owned(),
                };
                let (was, is) = (shown(&column.declared_type), shown(&now.declared_type));
                self.note(format!("{at}: its type was {was}, it is {is} now"));
            }
        }
    }

    /// Frameworks lose it whenever they copy a table, and nothing that is there
    /// goes with it.
    fn autoincrement(&mut self, was: &Table, now: &Table) {
        if !was.autoincrement {
            return;
        }
        if !now.autoincrement {
            let text = "it has no AUTOINCREMENT now: numbers of deleted rows may come again";
            return self.note(format!("{}: {text}", was.name));
        }
        let Some(had) = was.sequence else {
            return;
        };
        let has = now.sequence;
        if has.unwrap_or(0) < had {
            let has = has.map_or("none".into(), |has| has.to_string());
            self.note(format!(
                "{}: its AUTOINCREMENT had counted to {had}, and is at {has} now",
                was.name
            ));
        }
    }

    fn foreign_keys(&mut self, was: &Table, now: &Table) {
        let both = self.both();
        let mut left: Vec<&ForeignKey> = now.foreign_keys.iter().collect();
        let mut missing = Vec::new();
        for one in &was.foreign_keys {
            match left
                .iter()
                .position(|has| foreign::is_same(both, was, one, has) && acts_alike(one, has))
            {
                Some(at) => drop(left.remove(at)),
                None => missing.push(one),
            }
        }
        for one in missing {
            let from: Vec<String> = one.from().map(|c| self.matches.column(was, c)).collect();
            // With its column, or with what it points to, it goes unnoticed.
            if from.iter().any(|column| now.column(column).is_none()) || self.is_gone(&one.parent) {
                continue;
            }
            let shown = shown(one);
            let instead = left
                .iter()
                .position(|has| foreign::is_same(both, was, one, has))
                .map(|at| left.remove(at));
            let detail = match instead {
                Some(has) => format!("FOREIGN KEY {shown}{}; now{}", actions(one), actions(has)),
                None => format!("FOREIGN KEY {shown}{}", actions(one)),
            };
            // One that does something else now was meant to.
            if instead.is_some_and(|has| does_something(one, has)) {
                self.note(format!("{}: {detail}", was.name));
                continue;
            }
            let loss = Loss::new(
                Kind::Constraint,
                Some(&was.name),
                Some(&one.from().collect::<Vec<_>>().join(", ")),
            );
            self.lose(loss.saying(detail));
        }
    }

    fn checks(&mut self, was: &Table, now: &Table) {
        let mut left = check_words(&now.sql);
        let mut missing = Vec::new();
        for one in check_words(&was.sql) {
            let renamed = self.renamed(was, &one);
            let found = left.iter().position(|has| *has == one || *has == renamed);
            if let Some(at) = found {
                left.remove(at);
            } else if !self.names_lost_column(was, now, &one) {
                missing.push((one, renamed));
            }
        }
        for (one, renamed) in missing {
            // Another one of the same columns: somebody meant that.
            let columns = |words: &[String]| -> Vec<String> {
                let names = possible_columns(words).map(|(_, word)| word.clone());
                names.filter(|name| now.column(name).is_some()).collect()
            };
            let of = columns(&renamed);
            let another = |has: &Vec<String>| columns(has).iter().any(|name| of.contains(name));
            let detail = one.join(" ");
            if let Some(at) = left.iter().position(another) {
                let has = left.remove(at).join(" ");
                self.note(format!(
                    "CHECK of {}: it was {detail}, it is {has} now",
                    was.name
                ));
                continue;
            }
            self.lose(
                Loss::new(Kind::Constraint, Some(&was.name), None)
                    .saying(format!("CHECK ({detail})")),
            );
        }
    }

    fn indexes(&mut self, was: &Table, now: &Table) {
        for index in self.before.indexes_of(&was.name) {
            if index.origin == IndexOrigin::PrimaryKey || (index.sql.is_none() && !index.unique) {
                continue;
            }
            let pieces: Vec<Vec<String>> = (index.terms.iter())
                .map(|piece| self.renamed(was, piece))
                .collect();
            let condition = index
                .condition
                .as_ref()
                .map(|words| self.renamed(was, words));
            let serves = |has: &Index| {
                let same = match index.unique {
                    true => has.unique && is_implied(&pieces, &has.terms),
                    false => has.terms == pieces,
                };
                let wider = !index.unique && has.terms.starts_with(&pieces);
                (same || wider) && has.condition == condition
            };
            let primary: Vec<Vec<String>> =
                primary_key(now).iter().map(|c| vec![name_key(c)]).collect();
            let by_key = condition.is_none()
                && match index.unique {
                    true => is_implied(&pieces, &primary),
                    false => primary.starts_with(&pieces),
                };
            if by_key || self.after.indexes_of(&now.name).any(serves) {
                continue;
            }
            // It holds all rows now: only room was lost.
            let whole = |has: &Index| {
                !index.unique && has.condition.is_none() && has.terms.starts_with(&pieces)
            };
            if let Some(has) = self.after.indexes_of(&now.name).find(|has| whole(has)) {
                let name = has.name.clone();
                self.note(format!("index {name}: it has lost its WHERE"));
                continue;
            }
            let is_lost = |words: &Vec<String>| self.names_lost_column(was, now, words);
            let went_along = index.terms.iter().any(is_lost);
            // What is unique without that column could have stayed so.
            if went_along || (!index.unique && index.condition.iter().any(is_lost)) {
                self.note(format!(
                    "index {}: it is gone with a column that it named",
                    index.name
                ));
                continue;
            }
            let detail = match self
                .after
                .indexes_of(&now.name)
                .find(|has| index.sql.is_some() && has.name.eq_ignore_ascii_case(&index.name))
            {
                None if index.sql.is_some() && self.look.stayed_in_place(was, now) => {
                    let text = definition(index);
                    self.note(format!("index {}: it was dropped: {text}", index.name));
                    continue;
                }
                None => definition(index),
                Some(has) if index.unique && !has.unique => "it is not UNIQUE any more".into(),
                Some(has) if condition.is_some() && has.condition.is_none() => {
                    "it has lost its WHERE".into()
                }
                // Created again under its name: somebody meant that.
                Some(_) => {
                    self.note(format!("index {}: it is another now", index.name));
                    continue;
                }
            };
            // An index that a constraint made has a name nobody knows.
            let name = match &index.sql {
                Some(_) => index.name.clone(),
                None => index
                    .terms
                    .iter()
                    .map(|piece| piece.join(" "))
                    .collect::<Vec<_>>()
                    .join(", "),
            };
            self.lose(Loss::new(Kind::Index, Some(&was.name), Some(&name)).saying(detail));
        }
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
                None if self.stays(&was.table) => {
                    let text = one_line(&was.sql);
                    self.note(format!("trigger {}: it was dropped: {text}", was.name));
                }
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
                None if !self.is_lost_with_a_table(was) => {
                    let text = one_line(&was.sql);
                    self.note(format!("view {}: it was dropped: {text}", was.name));
                }
                None => {
                    let loss = Loss::new(Kind::View, None, Some(&was.name));
                    self.lose(loss.saying(one_line(&was.sql)));
                }
            }
        }
    }

    /// Whether the table surely was never dropped: what hung on it was dropped by its name.
    fn stays(&self, table: &str) -> bool {
        let was = self.before.table(table);
        let now = self
            .matches
            .of(table)
            .and_then(|name| self.after.table(name));
        was.zip(now)
            .is_some_and(|(was, now)| self.look.stayed_in_place(was, now))
    }

    /// Whether a view shows a table that was made again, as whoever makes a table again drops the
    /// views on it; unless it shows what is there no more, and had to go.
    fn is_lost_with_a_table(&self, view: &View) -> bool {
        let words = words(&view.sql);
        let mut is_made_again = false;
        for was in &self.before.tables {
            if !words.contains(&name_key(&was.name)) {
                continue;
            }
            let now = self
                .matches
                .of(&was.name)
                .and_then(|name| self.after.table(name));
            let Some(now) = now else { return false };
            if self.names_lost_column(was, now, &words) {
                return false;
            }
            is_made_again |= !self.look.stayed_in_place(was, now);
        }
        is_made_again
    }

    /// Whether the table was there and is under no name any more.
    fn is_gone(&self, table: &str) -> bool {
        self.before.table(table).is_some() && self.matches.of(table).is_none()
    }

    /// The words with the names that columns have now.
    fn renamed(&self, table: &Table, words: &[String]) -> Vec<String> {
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
    fn names_lost_column(&self, was: &Table, now: &Table, words: &[String]) -> bool {
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
fn one_line(sql: &str) -> String {
    const MOST: usize = 100;
    let line = sql.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(MOST) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line,
    }
}

fn acts_alike(one: &ForeignKey, other: &ForeignKey) -> bool {
    one.on_delete == other.on_delete && one.on_update == other.on_update
}

/// Whether the second does something wherever the first did.
fn does_something(was: &ForeignKey, now: &ForeignKey) -> bool {
    let kept = |was: &str, now: &str| was == "NO ACTION" || now != "NO ACTION";
    kept(&was.on_delete, &now.on_delete) && kept(&was.on_update, &now.on_update)
}

fn shown(one: &ForeignKey) -> String {
    let to = match one.to().as_slice() {
        [] => String::new(),
        to => format!(" ({})", to.join(", ")),
    };
    let from: Vec<&str> = one.from().collect();
    format!("({}) REFERENCES {}{to}", from.join(", "), one.parent)
}

fn actions(one: &ForeignKey) -> String {
    let mut text = String::new();
    if one.on_delete != "NO ACTION" {
        text += &format!(" ON DELETE {}", one.on_delete);
    }
    if one.on_update != "NO ACTION" {
        text += &format!(" ON UPDATE {}", one.on_update);
    }
    if text.is_empty() {
        text += " NO ACTION";
    }
    text
}

fn definition(index: &Index) -> String {
    match &index.sql {
        Some(sql) => one_line(sql),
        None => format!(
            "UNIQUE ({})",
            index
                .terms
                .iter()
                .map(|p| p.join(" "))
                .collect::<Vec<_>>()
                .join(", ")
        ),
    }
}

/// Whether rows that differ by the first list of terms differ by the second, too, or by some of it:
/// what is unique by less is unique by more. Under a collation or a function that takes more values
/// for equal, all that differ differed before.
fn is_implied(was: &[Vec<String>], now: &[Vec<String>]) -> bool {
    let is_stricter = |had: &[String], has: &[String]| match has {
        [rest @ .., collate, name] if collate == "collate" => {
            ["nocase", "rtrim"].contains(&name.as_str()) && rest == had
        }
        _ => {
            let is_name = |word: &str| word.starts_with(|c: char| c.is_alphabetic() || c == '_');
            let names = possible_columns(has).map(|(_, word)| word);
            let mut names = names.filter(|word| is_name(word)).peekable();
            let is_call = has.get(1).is_some_and(|word| word == "(");
            is_call && had.len() == 1 && names.peek().is_some() && names.all(|word| *word == had[0])
        }
    };
    !now.is_empty()
        && (now.iter()).all(|has| was.iter().any(|had| has == had || is_stricter(had, has)))
}
