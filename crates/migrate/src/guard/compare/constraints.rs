//! What a table's definition demands of its rows.

use super::super::facts::{ForeignKey, Index, Table, key};
use super::super::report::{Kind, Loss};
use super::super::text;
use super::objects::Found;

impl Found<'_> {
    pub(super) fn table(&mut self, was: &Table, now: &Table) {
        let name = Some(was.name.as_str());
        if was.strict && !now.strict {
            self.lose(Loss::new(Kind::Strict, name, None));
        }
        if was.without_rowid && !now.without_rowid {
            self.notes
                .push(format!("{}: it is WITHOUT ROWID no more", was.name));
        }
        let keys = [was.primary_key(), now.primary_key()];
        let [had, has] = keys;
        let had_now: Vec<String> = had.iter().map(|c| self.matches.column(was, c)).collect();
        let same = had_now
            .iter()
            .map(String::as_str)
            .eq(has.iter().map(|c| c as &str));
        let lost_column = had_now.iter().any(|column| now.column(column).is_none());
        if !had.is_empty() && !same && !lost_column {
            let words: Vec<Vec<String>> = had_now.iter().map(|c| vec![key(c)]).collect();
            let unique = |index: &Index| index.unique && index.condition.is_none();
            let kept = self
                .after
                .indexes_of(&now.name)
                .any(|i| unique(i) && i.pieces == words);
            if !kept {
                let detail = format!("({})", had.join(", "));
                self.lose(Loss::new(Kind::PrimaryKey, name, None).saying(detail));
            }
        }
        self.autoincrement(was, now);
        for column in &was.columns {
            let Some(now) = now.column(&self.matches.column(was, &column.name)) else {
                continue;
            };
            let at = format!("{}.{}", was.name, column.name);
            if column.not_null && !now.not_null && now.primary == 0 {
                self.notes.push(format!("{at}: it may be NULL now"));
            }
            if column.default != now.default
                && let Some(default) = &column.default
            {
                let instead = match &now.default {
                    Some(now) => format!("it is {now} now"),
                    None => "it has none now".into(),
                };
                self.notes
                    .push(format!("{at}: its default was {default}, {instead}"));
            }
            if !column.declared.eq_ignore_ascii_case(&now.declared) {
                let (was, is) = (&column.declared, &now.declared);
                self.notes
                    .push(format!("{at}: its type was {was}, it is {is} now"));
            }
        }
    }

    fn autoincrement(&mut self, was: &Table, now: &Table) {
        if !was.is_autoincrement() {
            return;
        }
        let name = Some(was.name.as_str());
        if !now.is_autoincrement() {
            return self.lose(Loss::new(Kind::Autoincrement, name, None));
        }
        let Some(had) = self.before.counters.get(&key(&was.name)) else {
            return;
        };
        let has = self.after.counters.get(&key(&now.name)).copied();
        if has.unwrap_or(0) < *had {
            let has = has.map_or("none".into(), |has| has.to_string());
            let detail = format!("it had counted to {had}, and is at {has} now");
            self.lose(Loss::new(Kind::Autoincrement, name, None).saying(detail));
        }
    }

    pub(super) fn foreign_keys(&mut self, was: &Table, now: &Table) {
        let mut left: Vec<&ForeignKey> = now.foreign_keys.iter().collect();
        let mut missing = Vec::new();
        for one in &was.foreign_keys {
            match left
                .iter()
                .position(|has| self.is_same_key(was, one, has, true))
            {
                Some(at) => drop(left.remove(at)),
                None => missing.push(one),
            }
        }
        for one in missing {
            let from: Vec<String> = one
                .from
                .iter()
                .map(|c| self.matches.column(was, c))
                .collect();
            // With its column, or with what it points to, it goes unnoticed.
            if from.iter().any(|column| now.column(column).is_none()) || self.is_gone(&one.table) {
                continue;
            }
            let shown = shown(one);
            let instead = left
                .iter()
                .position(|has| self.is_same_key(was, one, has, false));
            let detail = match instead {
                Some(at) => {
                    let has = left.remove(at);
                    format!("{shown}{}; now{}", actions(one), actions(has))
                }
                None => format!("{shown}{}", actions(one)),
            };
            let loss = Loss::new(
                Kind::ForeignKey,
                Some(&was.name),
                Some(&one.from.join(", ")),
            );
            self.lose(loss.saying(detail));
        }
    }

    fn is_same_key(&self, of: &Table, was: &ForeignKey, now: &ForeignKey, actions: bool) -> bool {
        let from = was
            .from
            .iter()
            .map(|column| self.matches.column(of, column));
        let same_from = from.len() == now.from.len()
            && from
                .zip(&now.from)
                .all(|(was, now)| was.eq_ignore_ascii_case(now));
        let parent = self.matches.of(&was.table).unwrap_or(&was.table);
        let parent_before = self.before.table(&was.table);
        let to = |columns: &[String], table: Option<&Table>| -> Vec<String> {
            match (columns.is_empty(), table) {
                (true, Some(table)) => table.primary_key().iter().map(|c| key(c)).collect(),
                _ => columns.iter().map(|c| key(c)).collect(),
            }
        };
        let had: Vec<String> = to(&was.to, parent_before)
            .iter()
            .map(|column| match parent_before {
                Some(table) => key(&self.matches.column(table, column)),
                None => column.clone(),
            })
            .collect();
        let has = to(&now.to, self.after.table(&now.table));
        same_from
            && parent.eq_ignore_ascii_case(&now.table)
            && had == has
            && (!actions || (was.on_delete == now.on_delete && was.on_update == now.on_update))
    }

    pub(super) fn checks(&mut self, was: &Table, now: &Table) {
        let mut left = text::checks(&now.sql);
        for one in text::checks(&was.sql) {
            let renamed = self.renamed(was, &one);
            let found = left.iter().position(|has| *has == one || *has == renamed);
            if let Some(at) = found {
                left.remove(at);
            } else if !self.names_lost_column(was, now, &one) {
                let detail = one.join(" ");
                self.lose(Loss::new(Kind::Check, Some(&was.name), None).saying(detail));
            }
        }
    }
}

fn shown(one: &ForeignKey) -> String {
    let to = match one.to.is_empty() {
        true => String::new(),
        false => format!(" ({})", one.to.join(", ")),
    };
    format!("({}) REFERENCES {}{to}", one.from.join(", "), one.table)
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
