//! What is dropped or renamed: whether that is the end of it is known at the
//! end of the file only, since a table may be dropped to be made anew.

use super::children::Children;
use super::finding::Found;
use super::known::{Known, KnownTable};
use super::rules::{
    CASCADE_TRAP, DROP_TABLE, DROP_TRIGGER, DROP_VIEW, HAND_REBUILD, ORPHANS, RENAME_TABLE,
    SLOW_REBUILD,
};
use super::shape::{Change, Shape, check_texts};
use super::sizes::{Sizes, Work, many_or_all};
use super::world::World;
use crate::schema::{Schema, Table};
use crate::sql::same_name;

/// Something that was there.
pub(super) enum End {
    Table(Box<Dropped>),
    Renamed {
        from: String,
        to: String,
        known: KnownTable,
    },
    View {
        name: String,
        columns: Vec<String>,
    },
    Trigger {
        name: String,
        table: String,
    },
}

/// A table that was dropped.
pub(super) struct Dropped {
    /// When it was.
    pub(super) schema: Schema,
    pub(super) table: Table,
    pub(super) known: KnownTable,
    pub(super) children: Children,
    /// Its rows were put elsewhere before.
    pub(super) copied: bool,
}

impl End {
    /// What it comes to, by the schema at the end of the file.
    pub(super) fn found(
        self,
        end: &Schema,
        world: &World,
        all: &mut Known,
        sizes: &Sizes<'_>,
    ) -> Vec<Found> {
        match self {
            Self::Table(dropped) => dropped.found(end, all, sizes),
            Self::Renamed { from, to, known } => match end.table(&known.name) {
                Some(_) => Vec::new(),
                None => vec![Found::new(RENAME_TABLE, format!("renames {from} to {to}"))],
            },
            Self::View { name, columns } => {
                let now = world.columns(&name);
                let is_gone = |column: &&String| !now.iter().any(|one| same_name(one, column));
                let gone: Vec<&str> = columns.iter().filter(is_gone).map(String::as_str).collect();
                match (end.view(&name), gone.as_slice()) {
                    (None, _) => vec![Found::new(DROP_VIEW, format!("drops the view {name}"))],
                    (Some(_), []) => Vec::new(),
                    (Some(_), gone) => vec![Found::new(
                        DROP_VIEW,
                        format!("makes the view {name} again without {}", gone.join(", ")),
                    )],
                }
            }
            Self::Trigger { name, table } => {
                let is_there = |trigger: &crate::schema::Trigger| same_name(&trigger.name, &name);
                match end.triggers.iter().any(is_there) {
                    true => Vec::new(),
                    false => vec![Found::new(
                        DROP_TRIGGER,
                        format!("drops the trigger {name} on {table}"),
                    )],
                }
            }
        }
    }
}

impl Dropped {
    fn found(self, end: &Schema, all: &mut Known, sizes: &Sizes<'_>) -> Vec<Found> {
        let Some(now) = end.table(&self.known.name).filter(|_| self.copied) else {
            return dropped(&self.table, &self.known, &self.children, sizes);
        };
        let old = Shape {
            schema: &self.schema,
            table: &self.table,
        };
        let new = Shape {
            schema: end,
            table: now,
        };
        let found = rebuilt(old, new, &self.known, &self.children, sizes);
        all.put_back(&now.name, self.known, now);
        found
    }
}

fn dropped(
    table: &Table,
    known: &KnownTable,
    children: &Children,
    sizes: &Sizes<'_>,
) -> Vec<Found> {
    let rows = many_or_all(sizes.rows(&known.name), "row");
    let mut found = vec![Found::new(
        DROP_TABLE,
        format!("drops {} and {rows}", table.name),
    )];
    found.extend(trap(table, children));
    found
}

fn trap(table: &Table, children: &Children) -> Vec<Found> {
    let mut found = Vec::new();
    if !children.lost.is_empty() {
        let what = format!(
            "where foreign keys are on, DROP TABLE {} takes {} along",
            table.name,
            children.lost.join(", ")
        );
        found.push(Found::new(CASCADE_TRAP, what));
    }
    if !children.left.is_empty() {
        let what = format!(
            "leaves {} without what they refer to",
            children.left.join(", ")
        );
        found.push(Found::new(ORPHANS, what));
    }
    found
}

/// A rebuild by hand.
fn rebuilt(
    old: Shape<'_>,
    new: Shape<'_>,
    known: &KnownTable,
    children: &Children,
    sizes: &Sizes<'_>,
) -> Vec<Found> {
    let mut found: Vec<Found> = trap(old.table, children);
    found.retain(|found| found.rule == CASCADE_TRAP);
    if new.schema.table(&old.table.name).is_none() {
        // Renamed aside: foreign keys went along with it.
        let stray = new.schema.children_of(&old.table.name);
        let stray: Vec<&str> = stray.map(|child| child.name.as_str()).collect();
        if !stray.is_empty() {
            let (children, name) = (stray.join(", "), &old.table.name);
            let what = format!("leaves {children} referring to {name}, which is gone");
            found.push(Found::new(ORPHANS, what));
        }
    }
    let lost = lost(old, new);
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
    let change = Change {
        known,
        old,
        new,
        renames: &[],
        table_rename: None,
    };
    found.extend(change.found());
    found
}

/// What stood on the old table and does not on the new one.
fn lost(old: Shape<'_>, new: Shape<'_>) -> Vec<String> {
    let indexes = old.schema.indexes_of(&old.table.name);
    let indexes = indexes.filter(|index| index.sql.is_some()).filter(|index| {
        let mut now = new.schema.indexes_of(&new.table.name);
        !now.any(|one| same_name(&one.name, &index.name))
    });
    let triggers = old.schema.triggers_of(&old.table.name).filter(|trigger| {
        let mut now = new.schema.triggers_of(&new.table.name);
        !now.any(|one| same_name(&one.name, &trigger.name))
    });
    let mut lost: Vec<String> = indexes
        .map(|index| format!("the index {}", index.name))
        .chain(triggers.map(|trigger| format!("the trigger {}", trigger.name)))
        .collect();
    let checks = check_texts(new.table, &|_| true);
    lost.extend(
        check_texts(old.table, &|_| true)
            .difference(&checks)
            .cloned(),
    );
    let parents = old.table.foreign_keys.iter().map(|key| &key.parent);
    let is_kept = |parent: &&String| {
        let mut now = new.table.foreign_keys.iter();
        now.any(|key| same_name(&key.parent, parent))
    };
    let parents = parents.filter(|parent| !is_kept(parent));
    lost.extend(parents.map(|parent| format!("the foreign key to {parent}")));
    if old.table.strict && !new.table.strict {
        lost.push("STRICT".into());
    }
    lost
}
