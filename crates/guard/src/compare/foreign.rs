//! Which foreign key is which.

use super::key::primary_key;
use super::objects::Both;
use monolite_migrate::schema::{ForeignKey, Table};
use monolite_migrate::sql::name_key;

/// Whether a foreign key of now is one of before, whatever it does on a delete
/// or an update.
pub(super) fn is_same(both: Both<'_>, of: &Table, was: &ForeignKey, now: &ForeignKey) -> bool {
    let from = was.from().map(|column| both.matches.column(of, column));
    let same_from = from.len() == now.from().len()
        && from
            .zip(now.from())
            .all(|(was, now)| was.eq_ignore_ascii_case(now));
    let parent = both.matches.of(&was.parent).unwrap_or(&was.parent);
    let parent_before = both.before.table(&was.parent);
    let to = |columns: &[&str], table: Option<&Table>| -> Vec<String> {
        match (columns.is_empty(), table) {
            (true, Some(table)) => primary_key(table).iter().map(|c| name_key(c)).collect(),
            _ => columns.iter().map(|c| name_key(c)).collect(),
        }
    };
    let had: Vec<String> = to(&was.to(), parent_before)
        .iter()
        .map(|column| match parent_before {
            Some(table) => name_key(&both.matches.column(table, column)),
            None => column.clone(),
        })
        .collect();
    let has = to(&now.to(), both.after.table(&now.parent));
    same_from && parent.eq_ignore_ascii_case(&now.parent) && had == has
}
