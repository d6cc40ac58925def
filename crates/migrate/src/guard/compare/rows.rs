//! One table's rows before and after: which are gone, which values are.
//!
//! Rows are the same if their key is: the declared primary key, else the
//! rowid. A table without a declared key may have been given new rowids; if
//! rows seem gone there, contents are counted instead.

use rusqlite::{Connection, Result, Row};

use super::super::facts::{Table, TableKind, in_schema};
use super::super::text;
use super::key::{Key, lost_by_key};
use crate::sql::quote_name;

/// Pairs of a lost and a new column that are tried as one column renamed.
const RENAMES_TRIED: usize = 64;

/// How a table compares.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Compared {
    /// Rows there were.
    pub(super) before: u64,
    /// Rows there are.
    pub(super) after: u64,
    /// Rows that are gone.
    pub(super) lost: u64,
    /// Rows that are there, with other values.
    pub(super) changed: u64,
    /// Columns that are there and in which values became NULL: the name, how
    /// many, of how many that are in rows still there.
    pub(super) nulls: Vec<(String, u64, u64)>,
    /// Columns that are gone, and how many values they had.
    pub(super) dropped: Vec<(String, u64)>,
    /// Columns under a new name.
    pub(super) renamed: Vec<(String, String)>,
}

impl Compared {
    /// Nothing of the table is lost.
    pub(super) fn is_whole(&self) -> bool {
        self.has_all_rows() && self.nulls.is_empty()
    }

    /// Every row is there, and every column that held something.
    pub(super) fn has_all_rows(&self) -> bool {
        self.lost == 0 && self.dropped.iter().all(|(_, values)| *values == 0)
    }

    fn column<'c>(&'c self, before: &'c str) -> &'c str {
        let mut renamed = self.renamed.iter();
        renamed
            .find(|(from, _)| from == before)
            .map_or(before, |(_, to)| to)
    }
}

/// Compares a table whose tree did not change: its rows are the same, so only
/// the names of columns can differ. `None` if that is not all.
pub(super) fn unchanged(before: &Table, after: &Table) -> Option<Compared> {
    let mut compared = Compared::default();
    for (at, column) in before.columns.iter().enumerate() {
        if after.column(&column.name).is_some() {
            continue;
        }
        let now = after.columns.get(at)?;
        if before.column(&now.name).is_some() || column.generated != now.generated {
            return None;
        }
        compared
            .renamed
            .push((column.name.clone(), now.name.clone()));
    }
    Some(compared)
}

pub(super) fn compare(conn: &Connection, before: &Table, after: &Table) -> Result<Compared> {
    let mut compared = Compared {
        before: count(conn, "before", before)?,
        after: count(conn, "main", after)?,
        ..Compared::default()
    };
    let gone: Vec<&str> = (before.columns.iter())
        .filter(|column| !column.generated && after.column(&column.name).is_none())
        .map(|column| column.name.as_str())
        .collect();
    if compared.before == 0 {
        compared.dropped = gone.iter().map(|name| ((*name).into(), 0)).collect();
        return Ok(compared);
    }
    let new: Vec<&str> = (after.columns.iter())
        .filter(|column| before.column(&column.name).is_none())
        .map(|column| column.name.as_str())
        .collect();
    // A primary key may have been renamed, too.
    let key = Key::of(before, after, &gone, &new);
    let lost = match &key {
        Some(key) => lost_by_key(conn, before, after, key)?,
        None => compared.before,
    };
    let by_contents = (lost > 0 && before.primary_key().is_empty()) || key.is_none();
    match key.filter(|_| !by_contents || lost == 0) {
        Some(key) => {
            compared.lost = lost;
            compared.follow(conn, before, after, &key, &gone, &new)?;
            // Rows may have changed places, where nothing tells them apart.
            if !compared.nulls.is_empty() && before.primary_key().is_empty() {
                let common = common(before, after);
                let rows = compared.after;
                if lost_by_contents(conn, before, after, &common, rows)? == 0 {
                    compared.nulls.clear();
                    compared.changed = 0;
                }
            }
        }
        None => {
            for name in gone {
                let values = values(conn, before, name)?;
                compared.dropped.push((name.into(), values));
            }
            let common = common(before, after);
            compared.lost = lost_by_contents(conn, before, after, &common, compared.after)?;
            // A rowid that is the same may well be the same row: fewer rows
            // are gone then than have contents that are not there any more.
            if before.primary_key().is_empty() && lost < compared.lost {
                compared.lost = lost;
            }
        }
    }
    Ok(compared)
}

impl Compared {
    /// What became of the values of rows that are still there.
    fn follow(
        &mut self,
        conn: &Connection,
        before: &Table,
        after: &Table,
        key: &Key,
        gone: &[&str],
        new: &[&str],
    ) -> Result<()> {
        let join = key.join(before, after);
        self.renamed.extend(key.renamed());
        for name in gone {
            if self.renamed.iter().any(|(from, _)| from == name) {
                continue;
            }
            let values = values(conn, before, name)?;
            match values > 0 {
                true => match self.renaming(conn, &join, name, new)? {
                    Some(to) => self.renamed.push(((*name).into(), to)),
                    None => self.dropped.push(((*name).into(), values)),
                },
                false => self.dropped.push(((*name).into(), 0)),
            }
        }
        let pairs: Vec<(&str, String)> = (before.columns.iter())
            .filter(|column| !column.generated && !key.has(&column.name))
            .map(|column| (column.name.as_str(), self.column(&column.name).to_owned()))
            .filter(|(_, now)| after.column(now).is_some())
            .collect();
        if pairs.is_empty() {
            return Ok(());
        }
        let differs: Vec<String> = (pairs.iter())
            .map(|(was, now)| format!("b.{} IS NOT a.{}", quote_name(was), quote_name(now)))
            .collect();
        let differs = differs.join(" OR ");
        let sql = format!("SELECT count(*) {join} WHERE {differs}");
        self.changed = conn.query_row(&sql, [], |row| number(row, 0))?;
        if self.changed == 0 {
            return Ok(());
        }
        let sums: Vec<String> = (pairs.iter())
            .map(|(was, now)| {
                let (was, now) = (quote_name(was), quote_name(now));
                format!(
                    "count(*) FILTER (WHERE b.{was} NOT NULL AND a.{now} IS NULL), count(b.{was})"
                )
            })
            .collect();
        // SQLite returns 2000 columns at most.
        for (pairs, sums) in pairs.chunks(500).zip(sums.chunks(500)) {
            let sql = format!("SELECT {} {join}", sums.join(", "));
            let mut statement = conn.prepare(&sql)?;
            let found = statement.query_row([], |row| {
                let pairs = pairs.iter().enumerate();
                pairs
                    .map(|(at, (was, _))| {
                        Ok((
                            (*was).to_owned(),
                            number(row, 2 * at)?,
                            number(row, 2 * at + 1)?,
                        ))
                    })
                    .collect::<Result<Vec<(String, u64, u64)>>>()
            })?;
            self.nulls
                .extend(found.into_iter().filter(|(_, nulls, _)| *nulls > 0));
        }
        Ok(())
    }

    /// The new column that has all values of the lost one, if there is one.
    fn renaming(
        &self,
        conn: &Connection,
        join: &str,
        lost: &str,
        new: &[&str],
    ) -> Result<Option<String>> {
        let was = quote_name(lost);
        for now in new.iter().take(RENAMES_TRIED) {
            if self.renamed.iter().any(|(_, taken)| taken == now) {
                continue;
            }
            let now_name = quote_name(now);
            // The first that differs ends it. That some are the same is asked
            // for, too: all rows with values may be gone.
            let differs = format!("SELECT 1 {join} WHERE b.{was} IS NOT a.{now_name} LIMIT 1");
            let same = format!("SELECT 1 {join} WHERE b.{was} = a.{now_name} LIMIT 1");
            if !conn.prepare(&differs)?.exists([])? && conn.prepare(&same)?.exists([])? {
                return Ok(Some((*now).into()));
            }
        }
        Ok(None)
    }
}

/// Columns by their names in both.
fn common(before: &Table, after: &Table) -> Vec<(String, String)> {
    let both = before.columns.iter().filter(|column| !column.generated);
    both.filter_map(|column| {
        Some((
            column.name.clone(),
            after.column(&column.name)?.name.clone(),
        ))
    })
    .collect()
}

/// Rows whose contents are not there as often as they were.
fn lost_by_contents(
    conn: &Connection,
    before: &Table,
    after: &Table,
    common: &[(String, String)],
    rows_after: u64,
) -> Result<u64> {
    if common.is_empty() {
        let rows = count(conn, "before", before)?;
        return Ok(rows.saturating_sub(rows_after));
    }
    let list = |side: fn(&(String, String)) -> &String| -> String {
        let names: Vec<String> = common.iter().map(|pair| quote_name(side(pair))).collect();
        names.join(", ")
    };
    let (was, now) = (list(|pair| &pair.0), list(|pair| &pair.1));
    let numbers: Vec<String> = (1..=common.len()).map(|n| n.to_string()).collect();
    let sql = format!(
        "SELECT coalesce(sum(n), 0) FROM (
           SELECT {was}, sum(one) AS n FROM (
             SELECT {was}, 1 AS one FROM {from} UNION ALL SELECT {now}, -1 FROM {to}
           ) GROUP BY {numbers} HAVING n > 0)",
        from = in_schema("before", &before.name),
        to = in_schema("main", &after.name),
        numbers = numbers.join(", "),
    );
    conn.query_row(&sql, [], |row| number(row, 0))
}

/// Values of a column that say something: neither NULL nor what the column has
/// by default.
fn values(conn: &Connection, before: &Table, name: &str) -> Result<u64> {
    let (table, column) = (in_schema("before", &before.name), quote_name(name));
    let default = before
        .column(name)
        .and_then(|column| column.default.as_deref());
    if let Some(default) = default.filter(|default| is_constant(default)) {
        let sql = format!(
            "SELECT count(*) FROM {table} WHERE {column} NOT NULL AND {column} IS NOT ({default})"
        );
        // A default that SQLite does not take here is no reason to fail.
        if let Ok(count) = conn.query_row(&sql, [], |row| number(row, 0)) {
            return Ok(count);
        }
    }
    let sql = format!("SELECT count({column}) FROM {table}");
    conn.query_row(&sql, [], |row| number(row, 0))
}

/// A literal, not an expression that may be anything at any time.
fn is_constant(default: &str) -> bool {
    let words = text::words(default);
    let is_number = |word: &String| word.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    match words.as_slice() {
        [one] => {
            is_number(one) || one.starts_with('\'') || ["true", "false"].contains(&one.as_str())
        }
        [sign, one] => ["-", "+"].contains(&sign.as_str()) && is_number(one),
        _ => false,
    }
}

pub(super) fn count(conn: &Connection, schema: &str, table: &Table) -> Result<u64> {
    let table_name = in_schema(schema, &table.name);
    let sql = format!("SELECT count(*) FROM {table_name}");
    match (conn.query_row(&sql, [], |row| number(row, 0)), table.kind) {
        // A virtual table whose module is not here tells nothing.
        (Err(_), TableKind::Virtual) => Ok(0),
        (result, _) => result,
    }
}

/// A count.
pub(super) fn number(row: &Row<'_>, at: usize) -> Result<u64> {
    Ok(row.get::<_, i64>(at)?.unsigned_abs())
}
