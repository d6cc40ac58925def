use std::collections::BTreeMap;
use std::fmt;

use rusqlite::{Connection, ErrorCode, Result};

use super::{ForeignKey, Schema, Table, TableKind};
use crate::sql::{quote_name, same_name};

/// How many rows of which table refer to a row that is not there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Orphans {
    /// By child and parent, in lower case.
    links: BTreeMap<(String, String), Link>,
}

/// What one table refers to in another, and is not there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Link {
    child: String,
    parent: String,
    /// What the rows have in the columns of the foreign key, and how many.
    values: BTreeMap<String, u64>,
    /// SQLite's words, if it cannot follow the foreign key at all.
    mismatch: Option<String>,
}

/// Names shown.
const SHOWN: usize = 5;

impl Orphans {
    /// Those of the main database.
    pub(crate) fn of(conn: &Connection) -> Result<Self> {
        let schema = Schema::read(conn)?;
        let mut found = Self::default();
        let children = schema.tables.iter();
        for child in children.filter(|one| one.kind == TableKind::Ordinary) {
            for key in &child.foreign_keys {
                match found.add(conn, &schema, child, key) {
                    // What needs a collation that only the app has cannot be
                    // followed here, neither before nor after.
                    Err(error) if error.sqlite_error_code() == Some(ErrorCode::Unknown) => {
                        found.link(child, key).mismatch = Some(error.to_string());
                    }
                    added => added?,
                }
            }
        }
        Ok(found)
    }

    /// Those of a table, and of the tables that name it.
    pub(crate) fn around(conn: &Connection, schema: &Schema, table: &str) -> Result<Self> {
        let mut found = Self::default();
        let children = schema.tables.iter();
        for child in children.filter(|one| one.kind == TableKind::Ordinary) {
            let own = same_name(&child.name, table);
            let keys = child.foreign_keys.iter();
            for key in keys.filter(|key| own || same_name(&key.parent, table)) {
                found.add(conn, schema, child, key)?;
            }
        }
        Ok(found)
    }

    /// One foreign key at a time: one that leads nowhere hides no other.
    fn add(
        &mut self,
        conn: &Connection,
        schema: &Schema,
        child: &Table,
        key: &ForeignKey,
    ) -> Result<()> {
        let Some(to) = named_columns(schema, key) else {
            let message = format!(
                "foreign key mismatch - \"{}\" referencing \"{}\"",
                child.name, key.parent
            );
            self.link(child, key).mismatch = Some(message);
            return Ok(());
        };
        let mut all = conn.prepare(&query(child, key, &to))?;
        let mut rows = all.query([])?;
        while let Some(row) = rows.next()? {
            let (values, count) = (row.get(0)?, row.get::<_, i64>(1)?.unsigned_abs());
            *self.link(child, key).values.entry(values).or_default() += count;
        }
        Ok(())
    }

    fn link(&mut self, child: &Table, key: &ForeignKey) -> &mut Link {
        let lower = |name: &str| name.to_ascii_lowercase();
        let link = self
            .links
            .entry((lower(&child.name), lower(&key.parent)))
            .or_default();
        link.child.clone_from(&child.name);
        link.parent.clone_from(&key.parent);
        link
    }

    /// What there is more than there was: rows are the same that refer to the
    /// same.
    pub(crate) fn beyond(&self, before: &Self) -> Self {
        let mut more = self.clone();
        for (key, link) in &mut more.links {
            let Some(known) = before.links.get(key) else {
                continue;
            };
            for (values, count) in &mut link.values {
                *count = count.saturating_sub(known.values.get(values).copied().unwrap_or(0));
            }
            link.values.retain(|_, count| *count > 0);
            link.mismatch = link.mismatch.take().filter(|_| known.mismatch.is_none());
        }
        more.links
            .retain(|_, link| !link.values.is_empty() || link.mismatch.is_some());
        more
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    /// Child, parent, rows. A foreign key that SQLite cannot follow at all, as it
    /// has no key to point to, counts as one, under SQLite's words for the parent.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str, u64)> {
        self.links.values().flat_map(|link| {
            let rows: u64 = link.values.values().sum();
            let child = link.child.as_str();
            let mismatch = link.mismatch.as_deref().map(|message| (child, message, 1));
            let rows = (rows > 0).then_some((child, link.parent.as_str(), rows));
            mismatch.into_iter().chain(rows)
        })
    }

    /// Rows of which table, in which they have none, how many, and what one of
    /// them refers to.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (&str, &str, u64, &str)> {
        self.links.values().filter_map(|link| {
            let (example, _) = link.values.first_key_value()?;
            let count = link.values.values().sum();
            Some((
                link.child.as_str(),
                link.parent.as_str(),
                count,
                example.as_str(),
            ))
        })
    }

    /// Foreign keys that lead nowhere, in SQLite's words.
    pub(crate) fn mismatches(&self) -> impl Iterator<Item = &str> {
        self.links
            .values()
            .filter_map(|link| link.mismatch.as_deref())
    }
}

/// The rows that refer to none, by what they refer to. As with a foreign key,
/// the parent's column says how values are compared: `+` takes from the child's
/// column what it would say of that.
fn query(child: &Table, key: &ForeignKey, to: &[String]) -> String {
    let own = |(from, _): &(String, Option<String>)| format!("child.{}", quote_name(from));
    let values: Vec<String> = key
        .columns
        .iter()
        .map(|pair| format!("quote(CAST({} AS TEXT))", own(pair)))
        .collect();
    let refers: Vec<String> = key
        .columns
        .iter()
        .map(|pair| format!("{} IS NOT NULL", own(pair)))
        .collect();
    let found: Vec<String> = key
        .columns
        .iter()
        .zip(to)
        .map(|(pair, to)| format!("parent.{} = +{}", quote_name(to), own(pair)))
        .collect();
    let without = match found.is_empty() {
        // There is no such table.
        true => String::new(),
        false => format!(
            " AND NOT EXISTS (SELECT 1 FROM main.{} AS parent WHERE {})",
            quote_name(&key.parent),
            found.join(" AND ")
        ),
    };
    format!(
        "SELECT {}, count(*) FROM main.{} AS child WHERE {}{without} GROUP BY 1",
        values.join(" || ', ' || "),
        quote_name(&child.name),
        refers.join(" AND "),
    )
}

/// The columns of the parent that are the key; empty without such a table, none
/// if they are not unique there.
fn named_columns(schema: &Schema, key: &ForeignKey) -> Option<Vec<String>> {
    let Some(parent) = schema.table(&key.parent) else {
        return schema.view(&key.parent).is_none().then(Vec::new);
    };
    let mut primary: Vec<_> = parent.columns.iter().filter(|one| one.key > 0).collect();
    primary.sort_by_key(|column| column.key);
    let primary: Vec<String> = primary.iter().map(|one| one.name.clone()).collect();
    let named: Option<Vec<String>> = key.columns.iter().map(|(_, to)| to.clone()).collect();
    let to = named.unwrap_or_else(|| primary.clone());
    let is = |unique: &[String]| {
        unique.len() == to.len()
            && unique
                .iter()
                .all(|one| to.iter().any(|to| same_name(to, one)))
    };
    let indexed = schema.indexes_of(&parent.name).any(|index| {
        let columns: Option<Vec<String>> =
            index.columns.iter().map(|one| one.name.clone()).collect();
        let collated = index.columns.iter().all(|one| {
            let column = one.name.as_deref().and_then(|name| parent.column(name));
            column.is_some_and(|column| same_name(&column.collation, &one.collation))
        });
        index.unique && !index.partial && collated && columns.is_some_and(|all| is(&all))
    });
    (to.len() == key.columns.len() && (is(&primary) || indexed)).then_some(to)
}

impl fmt::Display for Orphans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (child, parent, count)) in self.iter().take(SHOWN).enumerate() {
            let and = if at > 0 { ", " } else { "" };
            let rows = if count == 1 { "row" } else { "rows" };
            if parent.contains(' ') && self.mismatches().any(|message| message == parent) {
                write!(
                    f,
                    "{and}a foreign key of {child} that leads nowhere ({parent})"
                )?;
            } else {
                write!(
                    f,
                    "{and}{count} {rows} of {child} without the row of {parent} they refer to"
                )?;
            }
        }
        match self.iter().count().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, ", and {more} more tables"),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn another_row_is_one_more_and_the_same_is_none() {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch(
            "PRAGMA foreign_keys = OFF;
             CREATE TABLE p (id INTEGER PRIMARY KEY);
             CREATE TABLE c (p INT REFERENCES p, q INT REFERENCES p (gone));
             INSERT INTO c (p) VALUES (7), (8), (8)",
        )
        .unwrap();
        let before = Orphans::of(&conn).unwrap();
        assert_eq!(
            before.iter().collect::<Vec<_>>(),
            [
                ("c", "foreign key mismatch - \"c\" referencing \"p\"", 1),
                ("c", "p", 3)
            ]
        );
        // As many as before, and another.
        conn.execute_batch("INSERT INTO p VALUES (7); INSERT INTO c (p) VALUES (9)")
            .unwrap();
        let more = Orphans::of(&conn).unwrap().beyond(&before);
        assert_eq!(more.iter().collect::<Vec<_>>(), [("c", "p", 1)]);
        assert_eq!(
            more.to_string(),
            "1 row of c without the row of p they refer to"
        );
        conn.execute_batch("DELETE FROM c WHERE p = 9; UPDATE c SET q = 5")
            .unwrap();
        assert!(Orphans::of(&conn).unwrap().beyond(&before).is_empty());
    }

    #[test]
    fn what_only_the_app_can_follow_is_the_same_before_and_after() {
        let conn = Connection::open_in_memory().unwrap();
        conn.create_collation("unicase", |a: &str, b: &str| a.cmp(b))
            .unwrap();
        conn.execute_batch(
            "PRAGMA foreign_keys = OFF; CREATE TABLE p (k TEXT COLLATE unicase PRIMARY KEY); CREATE TABLE c (p REFERENCES p); INSERT INTO c VALUES ('a')",
        )
        .unwrap();
        conn.remove_collation("unicase").unwrap();
        let before = Orphans::of(&conn).unwrap();
        assert!(before.to_string().contains("unicase"), "{before}");
        assert!(Orphans::of(&conn).unwrap().beyond(&before).is_empty());
    }
}
