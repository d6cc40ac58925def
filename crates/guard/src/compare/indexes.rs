//! The indexes of a table, by what they are on.

use super::super::report::{Kind, Loss};
use super::key::primary_key;
use super::objects::{Found, one_line};
use monolite_migrate::schema::{Index, IndexOrigin, Table};
use monolite_migrate::sql::name_key;

impl Found<'_> {
    pub(super) fn indexes(&mut self, was: &Table, now: &Table) {
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
                    // In any order they are as unique.
                    true => has.unique && is_same_set(&pieces, &has.terms),
                    false => has.terms == pieces,
                };
                let wider = !index.unique && has.terms.starts_with(&pieces);
                (same || wider) && has.condition == condition
            };
            let primary: Vec<Vec<String>> =
                primary_key(now).iter().map(|c| vec![name_key(c)]).collect();
            let by_key = condition.is_none()
                && primary.starts_with(&pieces)
                && (!index.unique || primary == pieces);
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
                // Made anew under its name: somebody meant that.
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

/// Whether what is told apart by the second was by the first. Under a collation
/// that takes more for the same, all that differs did before.
fn is_same_set(was: &[Vec<String>], now: &[Vec<String>]) -> bool {
    let is_stricter = |had: &[String], has: &[String]| match has {
        [rest @ .., collate, name] => {
            collate == "collate" && ["nocase", "rtrim"].contains(&name.as_str()) && rest == had
        }
        _ => false,
    };
    was.len() == now.len()
        && (was.iter()).all(|had| now.iter().any(|has| has == had || is_stricter(had, has)))
}
