//! The indexes of a table, by what they are on.

use super::super::facts::{Index, Table, key};
use super::super::report::{Kind, Loss};
use super::objects::{Found, one_line};

impl Found<'_> {
    pub(super) fn indexes(&mut self, was: &Table, now: &Table) {
        for index in self.before.indexes_of(&was.name) {
            if index.is_primary || (index.sql.is_none() && !index.unique) {
                continue;
            }
            let pieces: Vec<Vec<String>> = (index.pieces.iter())
                .map(|piece| self.renamed(was, piece))
                .collect();
            let condition = index
                .condition
                .as_ref()
                .map(|words| self.renamed(was, words));
            let serves = |has: &Index| {
                let same = match index.unique {
                    // In any order they are as unique.
                    true => has.unique && is_same_set(&has.pieces, &pieces),
                    false => has.pieces == pieces,
                };
                let wider = !index.unique && has.pieces.starts_with(&pieces);
                (same || wider) && has.condition == condition
            };
            let primary: Vec<Vec<String>> =
                now.primary_key().iter().map(|c| vec![key(c)]).collect();
            let by_key = condition.is_none()
                && primary.starts_with(&pieces)
                && (!index.unique || primary == pieces);
            if by_key || self.after.indexes_of(&now.name).any(serves) {
                continue;
            }
            let all = index.pieces.iter().chain(&index.condition).flatten();
            let all: Vec<String> = all.cloned().collect();
            if self.names_lost_column(was, now, &all) {
                continue;
            }
            let detail = match self
                .after
                .indexes_of(&now.name)
                .find(|has| index.sql.is_some() && has.name.eq_ignore_ascii_case(&index.name))
            {
                None => definition(index),
                Some(has) if index.unique && !has.unique => "it is not UNIQUE any more".into(),
                Some(has) if condition.is_some() && has.condition.is_none() => {
                    "it has lost its WHERE".into()
                }
                // Made anew under its name: somebody meant that.
                Some(_) => {
                    self.notes
                        .push(format!("index {}: it is another now", index.name));
                    continue;
                }
            };
            // An index that a constraint made has a name nobody knows.
            let name = match &index.sql {
                Some(_) => index.name.clone(),
                None => index
                    .pieces
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
                .pieces
                .iter()
                .map(|p| p.join(" "))
                .collect::<Vec<_>>()
                .join(", ")
        ),
    }
}

fn is_same_set(one: &[Vec<String>], other: &[Vec<String>]) -> bool {
    one.len() == other.len() && one.iter().all(|piece| other.contains(piece))
}
