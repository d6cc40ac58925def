//! Which foreign key is which.

use super::super::facts::{ForeignKey, Table, key};
use super::objects::Both;

/// Whether a foreign key of now is one of before, whatever it does on a delete
/// or an update.
pub(super) fn is_same(both: Both<'_>, of: &Table, was: &ForeignKey, now: &ForeignKey) -> bool {
    let from = was
        .from
        .iter()
        .map(|column| both.matches.column(of, column));
    let same_from = from.len() == now.from.len()
        && from
            .zip(&now.from)
            .all(|(was, now)| was.eq_ignore_ascii_case(now));
    let parent = both.matches.of(&was.table).unwrap_or(&was.table);
    let parent_before = both.before.table(&was.table);
    let to = |columns: &[String], table: Option<&Table>| -> Vec<String> {
        match (columns.is_empty(), table) {
            (true, Some(table)) => table.primary_key().iter().map(|c| key(c)).collect(),
            _ => columns.iter().map(|c| key(c)).collect(),
        }
    };
    let had: Vec<String> = to(&was.to, parent_before)
        .iter()
        .map(|column| match parent_before {
            Some(table) => key(&both.matches.column(table, column)),
            None => column.clone(),
        })
        .collect();
    let has = to(&now.to, both.after.table(&now.table));
    same_from && parent.eq_ignore_ascii_case(&now.table) && had == has
}
