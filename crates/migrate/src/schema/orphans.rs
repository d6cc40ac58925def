//! Rows whose foreign key refers to a row that does not exist.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

use rusqlite::{Connection, ErrorCode, Result};

use super::{ForeignKey, Schema, Table, TableKind};
use crate::sql::{quote_name, same_name};

/// How many rows of which table refer to a row that is not there.
///
/// There may be as many as a table has rows: what they refer to is not kept, but
/// its hash, and that only to know them again.
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
    rows: u64,
    /// What one of them has in the columns of the foreign key.
    example: Option<String>,
    /// What they have, hashed, and how many have it; in order of the hashes.
    known: Vec<(u64, u64)>,
    /// SQLite's words, if it cannot follow the foreign key at all.
    mismatch: Option<String>,
}

/// Names shown.
const SHOWN: usize = 5;

/// What is looked for.
enum Look {
    /// All there are, to be known again.
    All,
    /// Those that were not among these; what is found is taken off.
    Beyond(Orphans),
}

impl Orphans {
    /// Those of the main database.
    pub(crate) fn of(conn: &Connection) -> Result<Self> {
        Self::everywhere(conn, Look::All)
    }

    /// What there is more than there was: rows are the same that refer to the
    /// same.
    pub(crate) fn beyond(conn: &Connection, before: Self) -> Result<Self> {
        Self::everywhere(conn, Look::Beyond(before))
    }

    /// Those of a table, and of the tables that name it.
    pub(crate) fn around(conn: &Connection, schema: &Schema, table: &str) -> Result<Self> {
        Self::near(conn, schema, table, Look::All)
    }

    /// Of these, what there is more than there was.
    pub(crate) fn around_beyond(
        conn: &Connection,
        schema: &Schema,
        table: &str,
        before: Self,
    ) -> Result<Self> {
        Self::near(conn, schema, table, Look::Beyond(before))
    }

    fn everywhere(conn: &Connection, mut look: Look) -> Result<Self> {
        let mut found = Self::default();
        if !any(conn) {
            return Ok(found);
        }
        let schema = Schema::read(conn)?;
        let children = schema.tables.iter();
        for child in children.filter(|one| one.kind == TableKind::Ordinary) {
            for key in &child.foreign_keys {
                match found.add(conn, &schema, child, key, &mut look) {
                    // What needs a collation that only the app has cannot be
                    // followed here, neither before nor after.
                    Err(error) if error.sqlite_error_code() == Some(ErrorCode::Unknown) => {
                        found.mismatch(child, key, error.to_string(), &look);
                    }
                    added => added?,
                }
            }
        }
        Ok(found.sorted())
    }

    fn near(conn: &Connection, schema: &Schema, table: &str, mut look: Look) -> Result<Self> {
        let mut found = Self::default();
        let children = schema.tables.iter();
        for child in children.filter(|one| one.kind == TableKind::Ordinary) {
            let own = same_name(&child.name, table);
            let keys = child.foreign_keys.iter();
            for key in keys.filter(|key| own || same_name(&key.parent, table)) {
                found.add(conn, schema, child, key, &mut look)?;
            }
        }
        Ok(found.sorted())
    }

    /// One foreign key at a time: one that leads nowhere hides no other.
    fn add(
        &mut self,
        conn: &Connection,
        schema: &Schema,
        child: &Table,
        key: &ForeignKey,
        look: &mut Look,
    ) -> Result<()> {
        let Some(to) = named_columns(schema, key) else {
            let message = format!(
                "foreign key mismatch - \"{}\" referencing \"{}\"",
                child.name, key.parent
            );
            self.mismatch(child, key, message, look);
            return Ok(());
        };
        let mut all = conn.prepare(&query(child, key, &to))?;
        let mut rows = all.query([])?;
        let (mut was, keep) = match look {
            Look::All => (None, true),
            Look::Beyond(before) => (before.links.get_mut(&ends(child, key)), false),
        };
        let mut more = Link::default();
        while let Some(row) = rows.next()? {
            let values = row.get_ref(0)?.as_bytes()?;
            let count = row.get::<_, i64>(1)?.unsigned_abs();
            let mut hasher = DefaultHasher::new();
            values.hash(&mut hasher);
            let hash = hasher.finish();
            let new = match &mut was {
                Some(was) => was.less(hash, count),
                None => count,
            };
            more.rows += new;
            if new > 0 && more.example.is_none() {
                more.example = Some(String::from_utf8_lossy(values).into_owned());
            }
            if keep {
                more.known.push((hash, count));
            }
        }
        if more.rows > 0 {
            let link = self.link(child, key);
            link.rows += more.rows;
            link.example = link.example.take().or(more.example);
            link.known.append(&mut more.known);
        }
        Ok(())
    }

    fn mismatch(&mut self, child: &Table, key: &ForeignKey, message: String, look: &Look) {
        let was = match look {
            Look::All => None,
            Look::Beyond(before) => before.links.get(&ends(child, key)),
        };
        if was.is_none_or(|link| link.mismatch.is_none()) {
            self.link(child, key).mismatch = Some(message);
        }
    }

    fn link(&mut self, child: &Table, key: &ForeignKey) -> &mut Link {
        let link = self.links.entry(ends(child, key)).or_default();
        link.child.clone_from(&child.name);
        link.parent.clone_from(&key.parent);
        link
    }

    /// By their hashes, each once: two foreign keys may lead to one table.
    fn sorted(mut self) -> Self {
        for link in self.links.values_mut() {
            link.known.sort_unstable();
            link.known.dedup_by(|next, kept| {
                let same = next.0 == kept.0;
                if same {
                    kept.1 += next.1;
                }
                same
            });
        }
        self
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    /// Child, parent, rows. A foreign key that SQLite cannot follow at all, as it
    /// has no key to point to, counts as one, under SQLite's words for the parent.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str, u64)> {
        self.links.values().flat_map(|link| {
            let rows = link.rows;
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
            let example = link.example.as_deref()?;
            Some((
                link.child.as_str(),
                link.parent.as_str(),
                link.rows,
                example,
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

impl Link {
    /// How many of these were not known; the others are so no more.
    fn less(&mut self, hash: u64, count: u64) -> u64 {
        let at = self.known.binary_search_by_key(&hash, |(known, _)| *known);
        let known = at.ok().and_then(|at| self.known.get_mut(at));
        known.map_or(count, |(_, known)| {
            let same = count.min(*known);
            *known -= same;
            count - same
        })
    }
}

fn ends(child: &Table, key: &ForeignKey) -> (String, String) {
    let lower = |name: &str| name.to_ascii_lowercase();
    (lower(&child.name), lower(&key.parent))
}

/// Does SQLite find one, or stumble? That costs less than to find them all.
fn any(conn: &Connection) -> bool {
    let first = || -> Result<bool> {
        let mut check = conn.prepare("PRAGMA main.foreign_key_check")?;
        let mut rows = check.query([])?;
        rows.next().map(|row| row.is_some())
    };
    first().unwrap_or(true)
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
    let primary = parent.primary_key().into_iter();
    let primary: Vec<String> = primary.map(|one| one.name.clone()).collect();
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
        index.unique && !index.is_partial() && collated && columns.is_some_and(|all| is(&all))
    });
    (to.len() == key.columns.len() && (is(&primary) || indexed)).then_some(to)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
