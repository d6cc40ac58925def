//! Tables, views and triggers that a file drops or renames. They are judged at the
//! end of the file: it may have created them again by then.

use super::children::Children;
use super::definition_text::body;
use super::finding::{Found, Loses};
use super::manual_rebuild::CopiedRows;
use super::rules::{
    CHANGES, DROP_COLUMN, DROP_DEFINITION, DROP_TABLE, Level, NEW_KEYS, ORPHANS, RENAMES, SLOW,
    UPDATE_ALL,
};
use super::running_code::{KnownTable, RunningCode};
use super::scratch_schema::ScratchSchema;
use super::slow_ops::{TableSizes, Work, many_or_all};
use super::table_change::{TableChange, TableIn};
use crate::allowance::LossKind;
use crate::schema::{Column, Generated, Index, Schema, Table};
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
    /// Tables that had another name than in the database: that, and the one in the database.
    pub(super) renamed: Vec<(String, String)>,
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
                let what = match (end.schema.view(&name), gone.as_slice()) {
                    (None, _) => format!("drops the view {name}"),
                    (Some(view), []) if body(&view.sql) == was => return Vec::new(),
                    (Some(_), []) => format!("makes the view {name} again with another text"),
                    (Some(_), gone) => {
                        format!("makes the view {name} again without {}", gone.join(", "))
                    }
                };
                let loses = Loses::named(LossKind::View, &name);
                vec![Found::new(DROP_DEFINITION, what).loses([loses])]
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
                let loses = Loses::named(LossKind::Trigger, &name);
                vec![Found::new(DROP_DEFINITION, what).loses([loses])]
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
    let loses = Loses::of(LossKind::Table, name);
    vec![Found::new(RENAMES, format!("renames {from} to {to}{with}")).loses([loses])]
}

impl Dropped {
    fn found(self, end: &FileEnd<'_>, all: &mut RunningCode, sizes: &TableSizes<'_>) -> Vec<Found> {
        let name = self.known.name.clone();
        let Some(now) = end.schema.table(&name) else {
            return self.gone(end, sizes);
        };
        let found = match end.copied_rows.columns(&name, &name) {
            Some(_) => self.rebuilt(now, end, sizes),
            None => {
                let found = self.gone(end, sizes);
                if !self.copied {
                    return found;
                }
                found
            }
        };
        all.recreated(&now.name, self.known, now);
        found
    }

    /// It is not there any more with all of its rows.
    fn gone(&self, end: &FileEnd<'_>, sizes: &TableSizes<'_>) -> Vec<Found> {
        let name = &self.known.name;
        let rows = many_or_all(sizes.rows(name), "row");
        let is_there = end.schema.table(name).is_some();
        let (what, loses) = match (self.copied, is_there) {
            (true, true) => (
                format!(
                    "drops {} and {rows}, of which not all are copied",
                    self.table.name
                ),
                Loses::of(LossKind::Rows, name),
            ),
            (false, true) => (
                format!(
                    "drops {} and {rows}, and makes it again without them",
                    self.table.name
                ),
                Loses::of(LossKind::Rows, name),
            ),
            (_, false) => (
                format!("drops {} and {rows}", self.table.name),
                Loses::of(LossKind::Table, name),
            ),
        };
        let is_key = |column: &str| {
            let column = self.table.column(column);
            column.is_some_and(|column| column.is_rowid)
        };
        // That all rows are among them the guard has to see.
        let mut columns = self.known.columns();
        let is_moved =
            !is_there && columns.all(|one| is_key(one) || end.copied_rows.is_read(name, one));
        let mut found = Found::new(DROP_TABLE, what).loses([loses]);
        if is_moved {
            found.what += "; a statement before it copies them";
            found = found.level(Level::Warning);
        }
        let mut found = vec![found];
        let refers = |child: &str| {
            let child = end.schema.table(child);
            child.is_some_and(|child| {
                let mut keys = child.foreign_keys.iter();
                keys.any(|key| same_name(&key.parent, &self.table.name))
            })
        };
        let left = self.children.without_parent(&refers);
        if !left.is_empty() && !is_there {
            let what = format!("leaves {left} without their parent rows");
            let loses = Loses::of(LossKind::Links, name);
            found.push(Found::new(ORPHANS, what).loses([loses]));
        }
        found
    }

    /// It was dropped and created again, with its rows copied.
    fn rebuilt(&self, now: &Table, end: &FileEnd<'_>, sizes: &TableSizes<'_>) -> Vec<Found> {
        let old = TableIn {
            schema: &self.schema,
            table: &self.table,
        };
        let new = TableIn {
            schema: end.schema,
            table: now,
        };
        let name = &self.known.name;
        let mut found = self.stray(end);
        let change = TableChange {
            known: &self.known,
            old,
            new,
            renames: &[],
            table_renames: &self.renamed,
        };
        found.extend(forgotten(old, new, &change));
        let indexes = old.schema.indexes_of(&old.table.name).count();
        if let Some(slow) = sizes.slow(name, Work::Copy { indexes }) {
            found.push(Found::new(SLOW, format!("copies {name}: {slow}")));
        }
        let differences = change.without_lost_constraints().into_iter();
        found.extend(differences.map(|one| match one.rule == DROP_DEFINITION {
            true => one.forgotten(),
            false => end.copied_rows.softened(one),
        }));
        found.extend(self.not_copied(now, end));
        let (changed, but_null) = end.copied_rows.changed(name, name);
        if !changed.is_empty() {
            let loses = changed.iter();
            let loses = loses.map(|column| Loses::column(LossKind::Values, name, column));
            let what = format!("copies {} of {name} by expressions", changed.join(", "));
            let one = Found::new(UPDATE_ALL, what).loses(loses);
            found.push(one.level(Level::Warning).instead(
                "nothing, if no value is lost that is needed: `monolite migrate up` compares them",
            ));
        }
        if but_null {
            let what = format!(
                "leaves out rows of {name} that have a NULL in a column, or are there twice"
            );
            let one = Found::new(DROP_TABLE, what).loses([Loses::of(LossKind::Rows, name)]);
            found.push(one.level(Level::Warning));
        }
        found
    }

    /// Columns that are in both tables and whose values are not copied.
    fn not_copied(&self, now: &Table, end: &FileEnd<'_>) -> Vec<Found> {
        let name = &self.known.name;
        let kept = end.copied_rows.columns(name, name);
        let is_kept =
            |column: &str| kept.is_some_and(|kept| kept.contains(&column.to_ascii_lowercase()));
        let is_data = |of: &Column| of.generated == Generated::No;
        let mut found = Vec::new();
        for column in self.table.columns.iter().filter(|one| is_data(one)) {
            let is_there = now.column(&column.name).is_some_and(is_data);
            if !self.known.has(&column.name) || !is_there || is_kept(&column.name) {
                continue;
            }
            if column.is_rowid {
                found.push(self.new_keys(column));
                continue;
            }
            let loses = Loses::column(LossKind::Values, name, &column.name);
            let what = format!("does not copy the values of {name}.{}", column.name);
            let one = Found::new(DROP_COLUMN, what).loses([loses]);
            let copied = end.copied_rows;
            found.push(match copied.is_read_elsewhere(name, &column.name, name) {
                true => one.level(Level::Warning),
                false => one,
            });
        }
        found
    }

    /// Rows get numbers of their own again: rows that refer to them refer to others then.
    fn new_keys(&self, key: &Column) -> Found {
        let name = &self.known.name;
        let refers = |child: &&Table| {
            let mut keys = child.foreign_keys.iter();
            keys.any(|of| {
                let to_key = |(_, to): &(String, Option<String>)| {
                    to.as_ref().is_none_or(|to| same_name(to, &key.name))
                };
                same_name(&of.parent, &self.table.name) && of.columns.iter().any(to_key)
            })
        };
        let children = self.schema.children_of(&self.table.name);
        let children: Vec<&str> = children
            .filter(refers)
            .map(|child| child.name.as_str())
            .collect();
        if children.is_empty() {
            let what = format!("does not copy {name}.{}: rows get other numbers", key.name);
            return Found::new(CHANGES, what);
        }
        let what = format!(
            "does not copy {name}.{}, to which {} refers: its rows belong to others then",
            key.name,
            children.join(", ")
        );
        let loses = children
            .iter()
            .map(|child| Loses::of(LossKind::Links, child));
        Found::new(NEW_KEYS, what).loses(loses)
    }

    /// It was renamed first: foreign keys of other tables followed the new name.
    fn stray(&self, end: &FileEnd<'_>) -> Vec<Found> {
        let name = &self.table.name;
        if end.schema.table(name).is_some() {
            return Vec::new();
        }
        let stray = end.schema.children_of(name);
        let stray: Vec<&str> = stray.map(|child| child.name.as_str()).collect();
        if stray.is_empty() {
            return Vec::new();
        }
        let what = format!(
            "leaves {} with a foreign key to {name}, which no longer exists",
            stray.join(", ")
        );
        let loses = stray
            .iter()
            .map(|child| Loses::of(LossKind::Constraint, child));
        vec![Found::new(ORPHANS, what).loses(loses)]
    }
}

/// What the old table had and the new one, made by hand, does not: nobody has dropped it by name.
fn forgotten(old: TableIn<'_>, new: TableIn<'_>, change: &TableChange<'_>) -> Option<Found> {
    let (name, mut lost, mut loses) = (&change.known.name, Vec::new(), Vec::new());
    for (kind, of) in lost_objects(old, new) {
        lost.push(match kind {
            LossKind::Index => format!("the index {of}"),
            _ => format!("the trigger {of}"),
        });
        loses.push(Loses::named(kind, &of));
    }
    let constraints = change.constraints_lost();
    let is_index = |loses: &Loses| loses.is_of(LossKind::Index);
    let is_only_slower = constraints.is_empty() && loses.iter().all(is_index);
    if !constraints.is_empty() {
        loses.push(Loses::of(LossKind::Constraint, name));
        lost.extend(constraints);
    }
    if lost.is_empty() {
        return None;
    }
    let what = format!(
        "rebuilds {name} by hand, and does not make again: {}",
        lost.join(", ")
    );
    let level = match is_only_slower {
        true => Level::Warning,
        false => Level::Error,
    };
    let found = Found::new(DROP_DEFINITION, what).loses(loses).forgotten();
    Some(found.level(level).instead(
        "REBUILD TABLE, which keeps indexes, triggers, views and rowids; or make them again",
    ))
}

/// Indexes and triggers of the old table that the new one does not have.
fn lost_objects(old: TableIn<'_>, new: TableIn<'_>) -> Vec<(LossKind, String)> {
    // A UNIQUE one is looked for by its columns.
    let is_possible = |index: &&Index| {
        let mut columns = index
            .columns
            .iter()
            .filter_map(|column| column.name.as_deref());
        index.sql.is_some() && !index.unique && columns.all(|one| new.table.column(one).is_some())
    };
    let indexes = old.schema.indexes_of(&old.table.name).filter(is_possible);
    let indexes = indexes.filter(|index| {
        let mut now = new.schema.indexes_of(&new.table.name);
        !now.any(|one| same_name(&one.name, &index.name) || one.columns == index.columns)
    });
    let triggers = old.schema.triggers_of(&old.table.name).filter(|trigger| {
        let mut now = new.schema.triggers_of(&new.table.name);
        !now.any(|one| same_name(&one.name, &trigger.name))
    });
    let indexes = indexes.map(|index| (LossKind::Index, index.name.clone()));
    let triggers = triggers.map(|trigger| (LossKind::Trigger, trigger.name.clone()));
    indexes.chain(triggers).collect()
}
