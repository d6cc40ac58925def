//! Where the values of each new column come from.

use super::column_names::Names;
use super::{Error, Rebuild, Result};
use crate::schema::{Column, Generated, Table};
use crate::sql::same_name;

/// The source of one column of the new table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// A column of the old table, by its name in the new one.
    Column(String),
    /// An expression over the old columns by their old names.
    Expression(String),
    /// The old rowid.
    Rowid,
}

/// What is written into the new table, column by column. Columns that are not listed
/// are generated or get their default.
#[derive(Debug)]
pub(super) struct CopyPlan {
    pub(super) columns: Vec<(String, Source)>,
}

impl CopyPlan {
    /// # Errors
    /// An old column that is neither kept nor dropped by name; a new NOT NULL column
    /// without a value; a clause about a column that does not exist.
    pub(super) fn of(rebuild: &Rebuild, old: &Table, names: &Names, new: &Table) -> Result<Self> {
        let refuse = |what: String| Err(Error::clause(&rebuild.table, what));
        let drops = |name: &str| rebuild.drops.iter().any(|drop| same_name(drop, name));
        if let Some(drop) = rebuild.drops.iter().find(|drop| old.column(drop).is_none()) {
            return refuse(format!("it has no column {drop} to drop"));
        }
        let lost: Vec<&str> = names
            .iter()
            .filter(|name| new.column(&name.now).is_none() && !drops(&name.was))
            .map(|name| name.was.as_str())
            .collect();
        if let [first, ..] = lost.as_slice() {
            return refuse(format!(
                "{} in the table and not in the new definition: add DROP COLUMN {first} if its \
                 values shall go, or RENAME COLUMN {first} TO its new name",
                are(&lost)
            ));
        }
        let hidden = new.rowid_name().is_none() && new.rowid_column().is_none();
        if !old.without_rowid && !new.without_rowid && hidden {
            return refuse(
                "columns of its new definition have all three names of the rowid, so that the present \
                 rowids cannot be kept: give it an INTEGER PRIMARY KEY, or one of rowid, _rowid_ \
                 and oid another name"
                    .to_owned(),
            );
        }
        let mut columns = Vec::new();
        for column in &new.columns {
            if let Some(source) = source(rebuild, old, names, new, column)? {
                columns.push((column.name.clone(), source));
            }
        }
        Ok(Self { columns })
    }

    /// Whether the new table has the rowids of the old one.
    pub(super) fn keeps_rowids(&self, names: &Names, old: &Table, new: &Table) -> bool {
        let is_old = |source: &Source| match source {
            Source::Column(now) => names
                .by_now(now)
                .and_then(|name| old.column(&name.was))
                .is_some_and(|column| column.is_rowid),
            Source::Expression(_) => false,
            Source::Rowid => true,
        };
        !old.without_rowid
            && !new.without_rowid
            && new.rowid_column().is_none_or(|key| {
                self.columns
                    .iter()
                    .any(|(column, source)| *column == key.name && is_old(source))
            })
    }

    /// Whether any value is computed.
    pub(super) fn computes(&self) -> bool {
        self.columns
            .iter()
            .any(|(_, source)| matches!(source, Source::Expression(_)))
    }
}

fn source(
    rebuild: &Rebuild,
    old: &Table,
    names: &Names,
    new: &Table,
    column: &Column,
) -> Result<Option<Source>> {
    let refuse = |what: String| Err(Error::clause(&rebuild.table, what));
    let name = &column.name;
    let set = rebuild.sets.iter().find(|(set, _)| same_name(set, name));
    let was = names.by_now(name);
    let drops = |name: &str| rebuild.drops.iter().any(|drop| same_name(drop, name));
    if column.generated != Generated::No {
        let kept = was.filter(|was| {
            let old = old.column(&was.was);
            old.is_some_and(|old| old.generated == Generated::No) && !drops(&was.was)
        });
        return match (set, kept) {
            (Some(_), _) => refuse(format!("{name} is generated: it cannot be SET")),
            (None, Some(was)) => refuse(format!(
                "{name} becomes generated: add DROP COLUMN {} if the values it has shall go",
                was.was
            )),
            (None, None) => Ok(None),
        };
    }
    if let Some(was) = was.filter(|was| drops(&was.was)) {
        return refuse(format!(
            "{} is dropped, and {name} is in the new definition: say SET {name} = … for new values",
            was.was
        ));
    }
    if let Some((_, expression)) = set {
        return Ok(Some(Source::Expression(expression.clone())));
    }
    if let Some(was) = was {
        return Ok(Some(Source::Column(was.now.clone())));
    }
    if column.is_rowid && !old.without_rowid {
        return Ok(Some(Source::Rowid));
    }
    if needs_value(column, new, old) {
        return refuse(format!(
            "{name} is new and may not be NULL: give it a DEFAULT, or say SET {name} = …, or RENAME \
             COLUMN … TO {name}"
        ));
    }
    Ok(None)
}

/// Whether a new column has no value for the existing rows.
pub(crate) fn needs_value(column: &Column, new: &Table, old: &Table) -> bool {
    let refuses_null = column.not_null || new.without_rowid && column.key > 0;
    let from_rowid = column.is_rowid && !old.without_rowid;
    refuses_null && column.default.is_none() && column.generated == Generated::No && !from_rowid
}

fn are(names: &[&str]) -> String {
    match names {
        [one] => format!("{one} is"),
        many => format!("{} are", many.join(", ")),
    }
}
