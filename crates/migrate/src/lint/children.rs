//! Rows of other tables that are deleted or changed with the rows of a table.

use super::finding::Loses;
use super::running_code::RunningCode;
use super::slow_ops::{TableSizes, many_or_all};
use crate::allowance::LossKind;
use crate::schema::{ForeignKey, Schema};
use crate::sql::same_name;

/// Tables with a foreign key to one table, by what deleting its rows does to them.
#[derive(Debug, Default)]
pub(super) struct Children {
    /// Rows that are deleted or whose reference is emptied.
    pub(super) lost: Vec<Child>,
    /// Rows that would be left without a parent.
    pub(super) left: Vec<Child>,
}

/// Rows of one table that refer to another.
#[derive(Debug)]
pub(super) struct Child {
    pub(super) table: String,
    /// How many, and what becomes of them.
    words: String,
    /// How many.
    rows: String,
    loses: Loses,
}

impl Children {
    /// The rows that are lost, in words.
    pub(super) fn lost_words(&self) -> String {
        let words = self.lost.iter().map(|child| child.words.as_str());
        words.collect::<Vec<_>>().join(", ")
    }

    pub(super) fn losses(&self) -> impl Iterator<Item = Loses> {
        self.lost.iter().map(|child| child.loses.clone())
    }

    /// The rows of tables that are `there` which would be left without a parent if nothing is
    /// deleted with it, in words; empty if there are none.
    pub(super) fn without_parent(&self, there: &dyn Fn(&str) -> bool) -> String {
        let all = self.lost.iter().chain(&self.left);
        let all = all.filter(|child| there(&child.table));
        let words = all.map(|child| child.rows.as_str());
        words.collect::<Vec<_>>().join(", ")
    }

    /// The children of `table` in `schema`, directly and through `CASCADE`. Only
    /// tables that the running code knows: others have no rows yet.
    pub(super) fn of(
        table: &str,
        schema: &Schema,
        known: &RunningCode,
        sizes: &TableSizes<'_>,
    ) -> Self {
        let mut children = Self::default();
        let mut seen = vec![table.to_ascii_lowercase()];
        let mut parents = vec![table.to_owned()];
        while let Some(parent) = parents.pop() {
            let is_first = same_name(&parent, table);
            for child in schema.children_of(&parent) {
                let Some(known) = known.table(&child.name) else {
                    continue;
                };
                let keys = child.foreign_keys.iter();
                for key in keys.filter(|key| same_name(&key.parent, &parent)) {
                    let rows = sizes.referring(&known.name, key);
                    if rows == Some(0) || (same_name(&child.name, table) && !is_first) {
                        continue;
                    }
                    let rows = format!("{} of {}", many_or_all(rows, "row"), child.name);
                    let add = |words: String, loses| Child {
                        table: child.name.clone(),
                        words,
                        rows: rows.clone(),
                        loses,
                    };
                    let action = key.on_delete.to_ascii_uppercase();
                    match action.as_str() {
                        // The rows of the table itself are deleted anyway.
                        _ if same_name(&child.name, table) => {}
                        "CASCADE" => {
                            let loses = Loses::of(LossKind::Rows, &child.name);
                            let words = format!("{rows} (ON DELETE CASCADE)");
                            children.lost.push(add(words, loses));
                            if !seen.contains(&child.name.to_ascii_lowercase()) {
                                seen.push(child.name.to_ascii_lowercase());
                                parents.push(child.name.clone());
                            }
                        }
                        "SET NULL" | "SET DEFAULT" => {
                            let columns = names(key);
                            let words = format!("{columns} in {rows} (ON DELETE {action})");
                            let loses = Loses::of(LossKind::Values, &child.name);
                            children.lost.push(add(words, loses));
                        }
                        _ => {
                            let loses = Loses::of(LossKind::Links, &child.name);
                            children.left.push(add(rows.clone(), loses));
                        }
                    }
                }
            }
        }
        children
    }
}

fn names(key: &ForeignKey) -> String {
    let names: Vec<&str> = key
        .columns
        .iter()
        .map(|(column, _)| column.as_str())
        .collect();
    names.join(", ")
}
