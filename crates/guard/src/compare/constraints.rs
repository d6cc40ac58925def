//! What a table's definition demands of its rows.

use super::super::report::{Kind, Loss};
use super::foreign;
use super::key::primary_key;
use super::objects::Found;
use monolite_migrate::schema::{ForeignKey, Index, Table};
use monolite_migrate::sql::{check_words, name_key, possible_columns, same_name};

impl Found<'_> {
    pub(super) fn table(&mut self, was: &Table, now: &Table) {
        let name = Some(was.name.as_str());
        if was.strict && !now.strict {
            self.lose(Loss::new(Kind::Strict, name, None));
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
                let detail = format!("({})", had.join(", "));
                self.lose(Loss::new(Kind::PrimaryKey, name, None).saying(detail));
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

    pub(super) fn foreign_keys(&mut self, was: &Table, now: &Table) {
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
                Some(has) => format!("{shown}{}; now{}", actions(one), actions(has)),
                None => format!("{shown}{}", actions(one)),
            };
            // One that does something else now was meant to.
            if instead.is_some_and(|has| does_something(one, has)) {
                self.note(format!("foreign key of {}: {detail}", was.name));
                continue;
            }
            let loss = Loss::new(
                Kind::ForeignKey,
                Some(&was.name),
                Some(&one.from().collect::<Vec<_>>().join(", ")),
            );
            self.lose(loss.saying(detail));
        }
    }

    pub(super) fn checks(&mut self, was: &Table, now: &Table) {
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
            self.lose(Loss::new(Kind::Check, Some(&was.name), None).saying(detail));
        }
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
