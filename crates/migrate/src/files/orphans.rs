//! Rows whose parent is missing.

use std::collections::BTreeMap;
use std::fmt;

use rusqlite::Connection;

/// How many rows of which table refer to a row that is not there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Orphans {
    /// By child and parent. A foreign key that SQLite cannot follow at all,
    /// as it has no key to point to, counts as one, under the table's name
    /// and SQLite's words.
    counts: BTreeMap<(String, String), u64>,
}

/// Names shown.
const SHOWN: usize = 5;

impl Orphans {
    /// Those of the main database.
    pub(super) fn of(conn: &Connection) -> rusqlite::Result<Self> {
        match Self::found(conn, "PRAGMA main.foreign_key_check", []) {
            Ok(found) => Ok(found),
            // One key that leads nowhere hides all others: table by table.
            Err(_) => Self::by_table(conn),
        }
    }

    fn by_table(conn: &Connection) -> rusqlite::Result<Self> {
        let mut tables = conn.prepare(
            "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table'",
        )?;
        let tables = tables.query_map([], |row| row.get(0))?;
        let mut all = Self::default();
        for table in tables.collect::<rusqlite::Result<Vec<String>>>()? {
            let sql = "SELECT \"table\", rowid, parent FROM pragma_foreign_key_check(?1, 'main')";
            match Self::found(conn, sql, [&table]) {
                Ok(found) => all.counts.extend(found.counts),
                Err(error) => drop(all.counts.insert((table, error.to_string()), 1)),
            }
        }
        Ok(all)
    }

    fn found(
        conn: &Connection,
        sql: &str,
        parameters: impl rusqlite::Params,
    ) -> rusqlite::Result<Self> {
        let mut check = conn.prepare(sql)?;
        let mut rows = check.query(parameters)?;
        let mut all = Self::default();
        while let Some(row) = rows.next()? {
            let key = (row.get(0)?, row.get(2)?);
            *all.counts.entry(key).or_default() += 1;
        }
        Ok(all)
    }

    /// What there is more than there was.
    pub(super) fn beyond(&self, before: &Self) -> Self {
        let more = self.counts.iter().filter_map(|(key, count)| {
            let known = before.counts.get(key).copied().unwrap_or(0);
            (*count > known).then(|| (key.clone(), count - known))
        });
        Self {
            counts: more.collect(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// Child, parent, rows.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str, u64)> {
        let all = self.counts.iter();
        all.map(|((child, parent), count)| (child.as_str(), parent.as_str(), *count))
    }
}

impl fmt::Display for Orphans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (child, parent, count)) in self.iter().take(SHOWN).enumerate() {
            let and = if at > 0 { ", " } else { "" };
            let rows = if count == 1 { "row" } else { "rows" };
            if parent.contains("foreign key mismatch") {
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
        match self.counts.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, ", and {more} more tables"),
        }
    }
}
