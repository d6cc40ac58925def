//! Rows whose foreign key refers to a row that does not exist.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

use rusqlite::{Connection, ErrorCode, Result};

use super::{ForeignKey, Schema, Table, TableKind};
use crate::sql::{quote_name, same_name};

/// Rows whose foreign key refers to a row that does not exist, counted by child and parent
/// table.
///
/// There may be as many as a table has rows: only hashes of the values they refer to are
/// kept, to recognize them later.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Orphans {
    /// By child and parent table, in lower case.
    links: BTreeMap<(String, String), Link>,
}

/// Rows of one table without a parent in another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Link {
    child: String,
    parent: String,
    rows: u64,
    /// The values of the foreign key in one of them.
    example: Option<String>,
    /// Hashes of these values with the number of rows, sorted.
    known: Vec<(u64, u64)>,
    /// SQLite's message if the foreign key has no key to refer to.
    mismatch: Option<String>,
}

/// Most tables that a message names.
const SHOWN_MAX: usize = 5;

/// What to search for.
enum Look {
    /// All, with their hashes.
    All,
    /// Those that are not among these; found ones are removed from these.
    Beyond(Orphans),
}

impl Orphans {
    /// All in the schema `main`.
    pub(crate) fn of(conn: &Connection) -> Result<Self> {
        Self::everywhere(conn, Look::All)
    }

    /// Those that were not there before. Rows that refer to the same values count as the
    /// same rows.
    pub(crate) fn beyond(conn: &Connection, before: Self) -> Result<Self> {
        Self::everywhere(conn, Look::Beyond(before))
    }

    /// Those of a table and of its children.
    pub(crate) fn around(conn: &Connection, schema: &Schema, table: &str) -> Result<Self> {
        Self::of_table_and_children(conn, schema, table, Look::All)
    }

    /// Of these, those that were not there before.
    pub(crate) fn around_beyond(
        conn: &Connection,
        schema: &Schema,
        table: &str,
        before: Self,
    ) -> Result<Self> {
        Self::of_table_and_children(conn, schema, table, Look::Beyond(before))
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
                    // Comparing needs a collation that only the app has: not possible here,
                    // neither before nor after.
                    Err(error) if error.sqlite_error_code() == Some(ErrorCode::Unknown) => {
                        found.mismatch(child, key, error.to_string(), &look);
                    }
                    added => added?,
                }
            }
        }
        Ok(found.sorted())
    }

    fn of_table_and_children(
        conn: &Connection,
        schema: &Schema,
        table: &str,
        mut look: Look,
    ) -> Result<Self> {
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

    /// Adds those of one foreign key, so that one without a key to refer to hides no other.
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

    /// Sorts the hashes and adds up equal ones: two foreign keys may refer to one table.
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

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    /// Child, parent, number of rows. A foreign key without a key to refer to counts as one
    /// row, with SQLite's message as the parent.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str, u64)> {
        self.links.values().flat_map(|link| {
            let rows = link.rows;
            let child = link.child.as_str();
            let mismatch = link.mismatch.as_deref().map(|message| (child, message, 1));
            let rows = (rows > 0).then_some((child, link.parent.as_str(), rows));
            mismatch.into_iter().chain(rows)
        })
    }

    /// Child, parent, number of rows, and the values of the foreign key in one of them.
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

    /// SQLite's messages about foreign keys without a key to refer to.
    pub(crate) fn mismatches(&self) -> impl Iterator<Item = &str> {
        self.links
            .values()
            .filter_map(|link| link.mismatch.as_deref())
    }
}

impl Link {
    /// How many of `count` rows were not known; known ones are removed.
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

/// Whether SQLite finds one, or fails. Cheaper than finding all.
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
        for (at, (child, parent, count)) in self.iter().take(SHOWN_MAX).enumerate() {
            let and = if at > 0 { ", " } else { "" };
            let rows = if count == 1 { "row" } else { "rows" };
            if parent.contains(' ') && self.mismatches().any(|message| message == parent) {
                write!(
                    f,
                    "{and}a foreign key of {child} without a key to refer to ({parent})"
                )?;
            } else {
                write!(
                    f,
                    "{and}{count} {rows} of {child} whose row of {parent} does not exist"
                )?;
            }
        }
        match self.iter().count().saturating_sub(SHOWN_MAX) {
            0 => Ok(()),
            more => write!(f, ", and {more} more tables"),
        }
    }
}

/// SQL for the rows without a parent, grouped by the values they refer to. As in a foreign
/// key, the parent's column decides affinity and collation: the `+` removes those of the
/// child's column.
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
        // The parent table does not exist.
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

/// The columns of the parent that the key refers to; empty if that table does not exist,
/// `None` if they are not unique there.
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
        let more = Orphans::beyond(&conn, before.clone()).unwrap();
        assert_eq!(more.iter().collect::<Vec<_>>(), [("c", "p", 1)]);
        assert_eq!(more.to_string(), "1 row of c whose row of p does not exist");
        conn.execute_batch("DELETE FROM c WHERE p = 9; UPDATE c SET q = 5")
            .unwrap();
        assert!(Orphans::beyond(&conn, before).unwrap().is_empty());
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
        assert!(Orphans::beyond(&conn, before).unwrap().is_empty());
    }

    #[test]
    fn many_are_known_again_without_what_they_refer_to() {
        const ROWS: usize = 150_000;
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch(&format!(
            "PRAGMA foreign_keys = OFF;
             CREATE TABLE p (id INTEGER PRIMARY KEY, name TEXT UNIQUE);
             CREATE TABLE c (id INTEGER PRIMARY KEY, p TEXT REFERENCES p (name), q TEXT REFERENCES p (name));
             WITH n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS})
             INSERT INTO c (id, p) SELECT i, printf('%0200d', i) FROM n;
             UPDATE c SET q = p WHERE id <= 3",
        ))
        .unwrap();
        let before = Orphans::of(&conn).unwrap();
        let all: u64 = before.iter().map(|(_, _, rows)| rows).sum();
        assert_eq!(all, 150_003);
        let held: usize = before
            .links
            .values()
            .map(|link| {
                size_of_val(link.known.as_slice())
                    + link.example.iter().map(String::len).sum::<usize>()
            })
            .sum();
        assert!(held < ROWS * 17, "{held} bytes are kept");
        // Some go, and one of them is another.
        conn.execute_batch("DELETE FROM c WHERE id % 2 = 0; UPDATE c SET p = 'gone' WHERE id = 77")
            .unwrap();
        let more = Orphans::beyond(&conn, before.clone()).unwrap();
        assert_eq!(more.rows().collect::<Vec<_>>(), [("c", "p", 1, "'gone'")]);
        conn.execute_batch("DELETE FROM c WHERE p = 'gone'")
            .unwrap();
        assert!(Orphans::beyond(&conn, before).unwrap().is_empty());
    }
}
