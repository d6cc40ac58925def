//! Tables, views and triggers that a file drops or renames. They are judged at the
//! end of the file: it may have created them again by then.

use super::children::Children;
use super::definition_text::body;
use super::finding::Found;
use super::manual_rebuild::CopiedRows;
use super::rules::{
    CASCADE_TRAP, CHANGED_VIEW, DROP_COLUMN, DROP_CONSTRAINT, DROP_TABLE, DROP_TRIGGER, DROP_VIEW,
    HAND_REBUILD, ORPHANS, RENAME_TABLE, SLOW_REBUILD,
};
use super::running_code::{KnownTable, RunningCode};
use super::scratch_schema::ScratchSchema;
use super::slow_ops::{TableSizes, Work, many_or_all};
use super::table_change::{TableChange, TableIn};
use crate::schema::{Column, Generated, Schema, Table};
use crate::sql::same_name;

/// An object that was dropped or renamed, as it was before.
pub(super) enum Removed {
    Table(Box<Dropped>),
    Renamed {
        from: String,
        to: String,
        known: KnownTable,
    },
    View {
        name: String,
        columns: Vec<String>,
        body: String,
    },
    Trigger {
        name: String,
        table: String,
        body: String,
    },
}

/// What the file has led to.
pub(super) struct FileEnd<'e> {
    pub(super) schema: &'e Schema,
    pub(super) scratch: &'e ScratchSchema,
    pub(super) copied_rows: &'e CopiedRows,
}

/// A dropped table.
pub(super) struct Dropped {
    /// The schema just before the drop.
    pub(super) schema: Schema,
    pub(super) table: Table,
    pub(super) known: KnownTable,
    pub(super) children: Children,
    /// Whether some of its rows were copied to another table before.
    pub(super) copied: bool,
}

impl Removed {
    /// The findings, by what exists at the end of the file.
    pub(super) fn found(
        self,
        end: &FileEnd<'_>,
        all: &mut RunningCode,
        sizes: &TableSizes<'_>,
    ) -> Vec<Found> {
        match self {
            Self::Table(dropped) => dropped.found(end, all, sizes),
            Self::Renamed { from, to, known } => renamed(&from, &to, &known, end, all),
            Self::View {
                name,
                columns,
                body: was,
            } => {
                let now = end.scratch.columns(&name);
                let is_gone = |column: &&String| !now.iter().any(|one| same_name(one, column));
                let gone: Vec<&str> = columns.iter().filter(is_gone).map(String::as_str).collect();
                match (end.schema.view(&name), gone.as_slice()) {
                    (None, _) => vec![Found::new(DROP_VIEW, format!("drops the view {name}"))],
                    (Some(view), []) if body(&view.sql) == was => Vec::new(),
                    (Some(_), []) => vec![Found::new(
                        CHANGED_VIEW,
                        format!("makes the view {name} again with another text"),
                    )],
                    (Some(_), gone) => vec![Found::new(
                        DROP_VIEW,
                        format!("makes the view {name} again without {}", gone.join(", ")),
                    )],
                }
            }
            Self::Trigger {
                name,
                table,
                body: was,
            } => {
                let triggers = &end.schema.triggers;
                if triggers.iter().any(|one| body(&one.sql) == was) {
                    return Vec::new();
                }
                let what = match triggers.iter().any(|one| same_name(&one.name, &name)) {
                    true => format!("makes the trigger {name} on {table} again with another text"),
                    false => format!("drops the trigger {name} on {table}"),
                };
                vec![Found::new(DROP_TRIGGER, what)]
            }
        }
    }
}

fn renamed(
    from: &str,
    to: &str,
    known: &KnownTable,
    end: &FileEnd<'_>,
    all: &RunningCode,
) -> Vec<Found> {
    let name = &known.name;
    let is_itself = all
        .table(name)
        .is_some_and(|now| same_name(&now.name, name));
    if is_itself || end.copied_rows.columns(name, name).is_some() {
        return Vec::new();
    }
    let with = match end.schema.table(name) {
        Some(_) => format!("; {name} is another table then"),
        None => String::new(),
    };
    vec![Found::new(
        RENAME_TABLE,
        format!("renames {from} to {to}{with}"),
    )]
}

impl Dropped {
    fn found(self, end: &FileEnd<'_>, all: &mut RunningCode, sizes: &TableSizes<'_>) -> Vec<Found> {
        let name = &self.known.name;
        let Some(now) = end.schema.table(name) else {
            return dropped(&self.table, &self.known, &self.children, sizes, "");
        };
        let Some(copied_rows) = end.copied_rows.columns(name, name) else {
            let some = match self.copied {
                true => ", of which not all are copied",
                false => "",
            };
            let found = dropped(&self.table, &self.known, &self.children, sizes, some);
            if self.copied {
                all.recreated(&now.name, self.known, now);
            }
            return found;
        };
        let old = TableIn {
            schema: &self.schema,
            table: &self.table,
        };
        let new = TableIn {
            schema: end.schema,
            table: now,
        };
        let mut found = rebuilt(old, new, &self.known, &self.children, sizes);
        for column in &self.table.columns {
            let is_data = |of: &Column| of.generated == Generated::No;
            let is_kept = copied_rows.contains(&column.name.to_ascii_lowercase());
            let is_there = now.column(&column.name).is_some_and(is_data);
            if self.known.has(&column.name) && is_data(column) && is_there && !is_kept {
                let what = format!("does not copy the values of {name}.{}", column.name);
                found.push(Found::new(DROP_COLUMN, what));
            }
        }
        all.recreated(&now.name, self.known, now);
        found
    }
}

fn dropped(
    table: &Table,
    known: &KnownTable,
    children: &Children,
    sizes: &TableSizes<'_>,
    some: &str,
) -> Vec<Found> {
    let rows = many_or_all(sizes.rows(&known.name), "row");
    let mut found = vec![Found::new(
        DROP_TABLE,
        format!("drops {} and {rows}{some}", table.name),
    )];
    found.extend(trap(table, children));
    found
}

fn trap(table: &Table, children: &Children) -> Vec<Found> {
    let mut found = Vec::new();
    if !children.lost.is_empty() {
        let what = format!(
            "where foreign keys are on, DROP TABLE {} deletes or empties {}",
            table.name,
            children.lost.join(", ")
        );
        found.push(Found::new(CASCADE_TRAP, what));
    }
    if !children.left.is_empty() {
        let what = format!(
            "leaves {} without their parent rows",
            children.left.join(", ")
        );
        found.push(Found::new(ORPHANS, what));
    }
    found
}

/// A table that was dropped and created again, with its rows copied.
fn rebuilt(
    old: TableIn<'_>,
    new: TableIn<'_>,
    known: &KnownTable,
    children: &Children,
    sizes: &TableSizes<'_>,
) -> Vec<Found> {
    let mut found: Vec<Found> = trap(old.table, children);
    found.retain(|found| found.rule == CASCADE_TRAP);
    if new.schema.table(&old.table.name).is_none() {
        // Renamed first: foreign keys of other tables followed the new name.
        let stray = new.schema.children_of(&old.table.name);
        let stray: Vec<&str> = stray.map(|child| child.name.as_str()).collect();
        if !stray.is_empty() {
            let (children, name) = (stray.join(", "), &old.table.name);
            let what =
                format!("leaves {children} with a foreign key to {name}, which no longer exists");
            found.push(Found::new(ORPHANS, what));
        }
    }
    let change = TableChange {
        known,
        old,
        new,
        renames: &[],
        table_rename: None,
    };
    let mut lost = lost(old, new);
    lost.extend(change.constraints_lost());
    if found.is_empty() || !lost.is_empty() {
        let with = match lost.is_empty() {
            true => String::new(),
            false => format!("; not made again: {}", lost.join(", ")),
        };
        let what = format!("rebuilds {} by hand{with}", known.name);
        found.push(Found::new(HAND_REBUILD, what));
    }
    let indexes = old.schema.indexes_of(&old.table.name).count();
    if let Some(slow) = sizes.slow(&known.name, Work::Copy { indexes }) {
        found.push(Found::new(
            SLOW_REBUILD,
            format!("copies {}: {slow}", known.name),
        ));
    }
    // Lost constraints are named in the finding above.
    let is_named = |found: &Found| found.rule == DROP_CONSTRAINT;
    found.extend(change.found().into_iter().filter(|one| !is_named(one)));
    found
}

/// Indexes and triggers of the old table that the new one does not have.
fn lost(old: TableIn<'_>, new: TableIn<'_>) -> Vec<String> {
    let indexes = old.schema.indexes_of(&old.table.name);
    let indexes = indexes.filter(|index| index.sql.is_some()).filter(|index| {
        let mut now = new.schema.indexes_of(&new.table.name);
        !now.any(|one| same_name(&one.name, &index.name))
    });
    let triggers = old.schema.triggers_of(&old.table.name).filter(|trigger| {
        let mut now = new.schema.triggers_of(&new.table.name);
        !now.any(|one| same_name(&one.name, &trigger.name))
    });
    indexes
        .map(|index| format!("the index {}", index.name))
        .chain(triggers.map(|trigger| format!("the trigger {}", trigger.name)))
        .collect()
}
