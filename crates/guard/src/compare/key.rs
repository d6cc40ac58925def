//! What tells the rows of a table apart, before and after.

use rusqlite::{Connection, Result};

use super::rows::{Sides, number};
use monolite_migrate::schema::Table;
use monolite_migrate::sql::qualified_name;
use monolite_migrate::sql::quote_name;

/// What tells rows apart: pairs of a column before and after, as SQL names;
/// one of which is never NULL in a row that is there.
#[derive(Debug)]
pub(super) struct Key {
    pairs: Vec<(String, String)>,
    pub(super) columns: Vec<(String, String)>,
    present: String,
    /// The columns now that only the app can sort: indexes on them are in an
    /// order that nobody here knows.
    apps_own: Vec<String>,
}

impl Key {
    pub(super) fn of(before: &Table, after: &Table, gone: &[&str], new: &[&str]) -> Option<Self> {
        let declared = primary_key(before);
        if !declared.is_empty() {
            let theirs = primary_key(after);
            let find = |(at, name): (usize, &&str)| {
                if let Some(column) = after.column(name) {
                    return Some(((*name).to_owned(), column.name.clone()));
                }
                // Renamed in its place.
                let now = theirs.get(at).filter(|now| new.contains(now))?;
                (theirs.len() == declared.len() && gone.contains(name))
                    .then(|| ((*name).to_owned(), (*now).to_owned()))
            };
            let columns: Option<Vec<_>> = declared.iter().enumerate().map(find).collect();
            let columns = columns?;
            let pairs: Vec<_> = (columns.iter())
                .map(|(was, now)| (quote_name(was), quote_name(now)))
                .collect();
            let present = match after.rowid_name() {
                Some(rowid) => rowid.to_owned(),
                None => pairs.first()?.1.clone(),
            };
            let apps_own = (after.visible_columns())
                .filter(|column| column.has_app_collation())
                .map(|column| quote_name(&column.name))
                .collect();
            return Some(Self {
                pairs,
                columns,
                present,
                apps_own,
            });
        }
        let (was, now) = (before.rowid_name()?, after.rowid_name()?);
        Some(Self {
            pairs: vec![(was.into(), now.into())],
            columns: Vec::new(),
            present: now.into(),
            apps_own: Vec::new(),
        })
    }

    /// `FROM … JOIN …` of the rows that are still there, as `b` and `a`.
    pub(super) fn join(&self, before: &Table, after: &Table) -> String {
        let (from, to) = (
            qualified_name("before", &before.name),
            qualified_name("main", &after.name),
        );
        // In the order of the first; the second is looked up.
        format!("FROM {from} AS b CROSS JOIN {to} AS a ON {}", self.on())
    }

    fn on(&self) -> String {
        let same: Vec<String> = (self.pairs.iter())
            .map(|(was, now)| {
                let collate = match self.apps_own.contains(now) {
                    true => " COLLATE BINARY",
                    false => "",
                };
                // With its plus, the value is compared as the column now would
                // hold it; else an index of another type could not be used.
                format!("a.{now}{collate} = +b.{was}")
            })
            .collect();
        same.join(" AND ")
    }

    /// Whether SQLite finds a row by it without reading the whole table.
    pub(super) fn is_looked_up(&self, sides: Sides<'_>) -> Result<bool> {
        let join = self.join(sides.before, sides.after);
        let sql = format!("EXPLAIN QUERY PLAN SELECT count(*) {join}");
        let mut plan = sides.conn.prepare(&sql)?;
        let mut steps = plan.query([])?;
        while let Some(step) = steps.next()? {
            let step: String = step.get(3)?;
            if step == "SCAN a" || step.starts_with("SCAN a ") {
                return Ok(false);
            }
        }
        Ok(true)
    }

    pub(super) fn has(&self, column: &str) -> bool {
        let mut columns = self.columns.iter();
        columns.any(|(was, _)| was.eq_ignore_ascii_case(column))
    }

    pub(super) fn renamed(&self) -> impl Iterator<Item = (String, String)> {
        let columns = self.columns.iter();
        let renamed = columns.filter(|(was, now)| !was.eq_ignore_ascii_case(now));
        renamed.cloned()
    }
}

/// The names of the columns of a table's primary key, in its order.
pub(super) fn primary_key(table: &Table) -> Vec<&str> {
    let columns = table.primary_key().into_iter();
    columns.map(|column| column.name.as_str()).collect()
}

/// How many rows have a key that no row has now.
pub(super) fn lost_by_key(
    conn: &Connection,
    before: &Table,
    after: &Table,
    key: &Key,
) -> Result<u64> {
    let (from, to) = (
        qualified_name("before", &before.name),
        qualified_name("main", &after.name),
    );
    let (on, present) = (key.on(), &key.present);
    let sql = format!(
        "SELECT count(*) FROM {from} AS b LEFT JOIN {to} AS a ON {on} WHERE a.{present} IS NULL"
    );
    let lost: u64 = conn.query_row(&sql, [], |row| number(row, 0))?;
    if lost == 0 || before.rowid_name().is_none() || key.columns.is_empty() {
        return Ok(lost);
    }
    // A key that is NULL, as old tables allow, is like no other: such rows are
    // told apart by nothing but their number.
    let null = |side: fn(&(String, String)) -> &String| {
        let nulls: Vec<String> = key
            .pairs
            .iter()
            .map(|p| format!("{} IS NULL", side(p)))
            .collect();
        nulls.join(" OR ")
    };
    let count = |table: &str, nulls: &str| -> Result<u64> {
        let sql = format!("SELECT count(*) FROM {table} WHERE {nulls}");
        conn.query_row(&sql, [], |row| number(row, 0))
    };
    let nulls = count(&from, &null(|pair| &pair.0))?;
    let kept = count(&to, &null(|pair| &pair.1))?.min(nulls);
    Ok(lost - kept.min(lost))
}
