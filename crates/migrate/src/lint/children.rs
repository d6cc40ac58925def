//! Rows of other tables that are deleted or changed with the rows of a table.

use super::running_code::RunningCode;
use super::slow_ops::{TableSizes, many_or_all};
use crate::schema::{ForeignKey, Schema};
use crate::sql::same_name;

/// Tables with a foreign key to one table, by what deleting its rows does to them.
#[derive(Debug, Default)]
pub(super) struct Children {
    /// Rows that are deleted or whose reference is emptied, in words.
    pub(super) lost: Vec<String>,
    /// Rows that would be left without a parent, in words.
    pub(super) left: Vec<String>,
}

impl Children {
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
                    let rows = many_or_all(rows, "row");
                    let action = key.on_delete.to_ascii_uppercase();
                    match action.as_str() {
                        // The rows of the table itself are deleted anyway.
                        _ if same_name(&child.name, table) => {}
                        "CASCADE" => {
                            children
                                .lost
                                .push(format!("{rows} of {} (ON DELETE CASCADE)", child.name));
                            if !seen.contains(&child.name.to_ascii_lowercase()) {
                                seen.push(child.name.to_ascii_lowercase());
                                parents.push(child.name.clone());
                            }
                        }
                        "SET NULL" | "SET DEFAULT" => {
                            let columns = names(key);
                            children.lost.push(format!(
                                "{columns} in {rows} of {} (ON DELETE {action})",
                                child.name
                            ));
                        }
                        _ => children.left.push(format!("{rows} of {}", child.name)),
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
