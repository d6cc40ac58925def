//! One table's rows before and after: which are gone, which values are.
//!
//! Rows are the same if their key is: the declared primary key, else the
//! rowid. A table without a declared key may have been given new rowids; if
//! rows seem gone there, contents are counted instead.

use rusqlite::{Connection, Result, Row};

use super::contents;
use super::key::{Key, lost_by_key};
use super::proof::Proof;
use super::values::{self, Emptied};
use monolite_migrate::schema::{Column, Table, TableKind};
use monolite_migrate::sql::literal_default;
use monolite_migrate::sql::qualified_name;
use monolite_migrate::sql::quote_name;

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
    /// Columns that are there and in which values went.
    pub(super) emptied: Vec<Emptied>,
    /// Columns that are gone, and how many values they had.
    pub(super) dropped: Vec<(String, u64)>,
    /// Columns under a new name.
    pub(super) renamed: Vec<(String, String)>,
}

impl Compared {
    /// Nothing of the table is lost.
    pub(super) fn is_whole(&self) -> bool {
        self.has_all_rows() && self.emptied.is_empty()
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
    for (at, column) in before.visible_columns().enumerate() {
        if after.column(&column.name).is_some() {
            continue;
        }
        let now = after.visible_columns().nth(at)?;
        if before.column(&now.name).is_some() || column.is_generated() != now.is_generated() {
            return None;
        }
        compared
            .renamed
            .push((column.name.clone(), now.name.clone()));
    }
    Some(compared)
}

/// Both tables of one, on their connection.
#[derive(Clone, Copy)]
pub(super) struct Sides<'s> {
    pub(super) conn: &'s Connection,
    pub(super) before: &'s Table,
    pub(super) after: &'s Table,
    pub(super) proof: Proof,
}

impl Sides<'_> {
    /// The number of the one query's one row.
    pub(super) fn number(&self, sql: &str) -> Result<u64> {
        self.conn.query_row(sql, [], |row| number(row, 0))
    }
}

pub(super) fn compare(
    conn: &Connection,
    before: &Table,
    after: &Table,
    proof: Proof,
) -> Result<Compared> {
    let sides = Sides {
        conn,
        before,
        after,
        proof,
    };
    let mut compared = Compared {
        before: count(conn, "before", before)?,
        after: count(conn, "main", after)?,
        ..Compared::default()
    };
    let gone: Vec<&str> = (before.visible_columns())
        .filter(|column| !column.is_generated() && after.column(&column.name).is_none())
        .map(|column| column.name.as_str())
        .collect();
    if compared.before == 0 {
        compared.dropped = gone.iter().map(|name| ((*name).into(), 0)).collect();
        return Ok(compared);
    }
    let new: Vec<&str> = (after.visible_columns())
        .filter(|column| before.column(&column.name).is_none())
        .map(|column| column.name.as_str())
        .collect();
    // A primary key may have been renamed, too. One that cannot be looked up
    // would be sought in the whole table for every row.
    let mut key = Key::of(before, after, &gone, &new);
    if let Some(found) = &key
        && !found.is_looked_up(sides)?
    {
        key = None;
    }
    let has_key = !before.primary_key().is_empty();
    let lost = match &key {
        Some(key) => lost_by_key(conn, before, after, key)?,
        None => compared.before,
    };
    match key.filter(|_| has_key || lost == 0) {
        Some(key) => {
            compared.lost = lost;
            compared.follow(sides, &key, &gone, &new)?;
            if !has_key {
                compared.without_a_key(sides, &key)?;
            }
        }
        None => {
            for name in gone {
                let values = values::of(conn, "before", before, name)?;
                compared.dropped.push((name.into(), values));
            }
            compared.lost = contents::lost(sides, compared.after)?;
            // A rowid that is the same may well be the same row: fewer rows
            // are gone then than have contents that are not there any more.
            if !has_key && lost < compared.lost {
                compared.lost = lost;
            }
        }
    }
    Ok(compared)
}

impl Compared {
    /// Where nothing but a number tells rows apart, they may have changed
    /// places; or others may have got the numbers of those that are gone.
    fn without_a_key(&mut self, sides: Sides<'_>, key: &Key) -> Result<()> {
        if !self.emptied.is_empty() {
            if contents::lost(sides, self.after)? == 0 {
                self.emptied.clear();
                self.changed = 0;
            }
            return Ok(());
        }
        let mut keys = sides.before.foreign_keys.iter();
        let is_child = keys.any(|key| key.on_delete == "CASCADE");
        if self.changed > 0 && is_child && contents::has_strangers(sides, key, &self.renamed)? {
            self.lost = contents::lost(sides, self.after)?;
        }
        Ok(())
    }

    /// What became of the values of rows that are still there.
    fn follow(&mut self, sides: Sides<'_>, key: &Key, gone: &[&str], new: &[&str]) -> Result<()> {
        let (conn, before, after) = (sides.conn, sides.before, sides.after);
        let join = key.join(before, after);
        self.renamed.extend(key.renamed());
        for name in gone {
            if self.renamed.iter().any(|(from, _)| from == name) {
                continue;
            }
            let values = values::of(conn, "before", before, name)?;
            match values > 0 {
                true => match self.renaming(sides, &join, name, new)? {
                    Some(to) => self.renamed.push(((*name).into(), to)),
                    None => self.dropped.push(((*name).into(), values)),
                },
                false => self.dropped.push(((*name).into(), 0)),
            }
        }
        let pairs: Vec<_> = (before.visible_columns())
            .filter(|column| !column.is_generated() && !key.has(&column.name))
            .filter_map(|column| Some((column, after.column(self.column(&column.name))?)))
            .collect();
        (self.changed, self.emptied) = values::changed(sides, &join, &pairs)?;
        Ok(())
    }

    /// The new column that has all values of the lost one, or that is surely the lost one under
    /// another name, if there is one.
    fn renaming(
        &self,
        sides: Sides<'_>,
        join: &str,
        lost: &str,
        new: &[&str],
    ) -> Result<Option<String>> {
        let conn = sides.conn;
        let was = quote_name(lost);
        let is_free = |now: &str| !self.renamed.iter().any(|(_, taken)| taken == now);
        for now in new.iter().take(RENAMES_TRIED) {
            if !is_free(now) {
                continue;
            }
            let now_name = quote_name(now);
            // The first that differs ends it. That some are the same is asked
            // for, too: all rows with values may be gone.
            let differs =
                format!("SELECT 1 {join} WHERE b.{was} IS NOT a.{now_name} COLLATE BINARY LIMIT 1");
            let same = format!("SELECT 1 {join} WHERE {} LIMIT 1", equal(&was, &now_name));
            if !conn.prepare(&differs)?.exists([])? && conn.prepare(&same)?.exists([])? {
                return Ok(Some((*now).into()));
            }
        }
        // Nothing was dropped and made again, so a new one in its place is this one, whatever its
        // values are now.
        let mut columns = sides.before.visible_columns();
        let at = columns.position(|column| column.name == lost);
        let (Some(at), Proof::Columns) = (at, sides.proof) else {
            return Ok(None);
        };
        let had = sides.before.visible_columns().nth(at);
        let in_place = had.zip(sides.after.visible_columns().nth(at));
        let now = in_place.filter(|(was, now)| {
            new.contains(&now.name.as_str())
                && is_free(&now.name)
                && !now.is_generated()
                && now.declared_type.eq_ignore_ascii_case(&was.declared_type)
        });
        Ok(now.map(|(_, now)| now.name.clone()))
    }
}

/// That the two columns have one value, not to be looked up in an index.
pub(super) fn equal(was: &str, now: &str) -> String {
    format!("b.{was} = +a.{now} COLLATE BINARY")
}

pub(super) fn count(conn: &Connection, schema: &str, table: &Table) -> Result<u64> {
    let table_name = qualified_name(schema, &table.name);
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

/// Whether a column has a default that says nothing, and which.
pub(super) fn default(column: &Column) -> Option<String> {
    literal_default(column.default.as_deref()?)
}
