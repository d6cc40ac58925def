//! Rows that point to rows which are not there.

use std::collections::{BTreeMap, HashSet};

use rusqlite::{Connection, Result};

use super::super::facts::{Facts, Table};
use super::super::report::{Kind, Loss};
use super::super::tree::Touched;
use super::tables::Matches;

/// A row by its number, which WITHOUT ROWID tables have not, and its parent.
type Orphans = BTreeMap<String, (HashSet<i64>, u64)>;

/// Violations of foreign keys that were none before.
pub(super) fn new(
    conn: &Connection,
    before: &Facts,
    after: &Facts,
    matches: &Matches,
    touched: &Touched,
) -> Result<Vec<Loss>> {
    let mut losses = Vec::new();
    for child in after.tables.values() {
        let may_differ = |table: &Table| {
            let was = before.table(&table.name);
            touched.has(table.root) || was.is_none_or(|was| was.root != table.root)
        };
        let parents = child.foreign_keys.iter();
        let mut parents = parents.map(|key| after.table(&key.table));
        let same_keys = before
            .table(&child.name)
            .is_some_and(|was| was.foreign_keys.len() == child.foreign_keys.len());
        let is_concerned = !child.foreign_keys.is_empty()
            && (!same_keys
                || may_differ(child)
                || parents.any(|parent| parent.is_none_or(may_differ)));
        if !is_concerned {
            continue;
        }
        // A parent without the key that is pointed to: it is told as broken.
        let Ok(now) = orphans(conn, "main", &child.name) else {
            continue;
        };
        if now.is_empty() {
            continue;
        }
        let was = before.tables.values().find(|was| {
            matches
                .of(&was.name)
                .is_some_and(|now| now.eq_ignore_ascii_case(&child.name))
        });
        let had = match was {
            Some(was) => orphans(conn, "before", &was.name).unwrap_or_default(),
            None => Orphans::new(),
        };
        for (parent, (rows, all)) in now {
            let empty = (HashSet::new(), 0);
            let (old, old_all) = had.get(&parent).unwrap_or(&empty);
            let new = match rows.is_empty() {
                true => all.saturating_sub(*old_all),
                false => rows.difference(old).count() as u64,
            };
            if new > 0 {
                let loss = Loss::new(Kind::Violation, Some(&child.name), None).counted(new, all);
                losses.push(
                    loss.saying(format!("they point to rows of {parent} that are not there")),
                );
            }
        }
    }
    Ok(losses)
}

fn orphans(conn: &Connection, schema: &str, table: &str) -> Result<Orphans> {
    let sql = "SELECT parent, rowid FROM pragma_foreign_key_check(?1, ?2)";
    let mut statement = conn.prepare(sql)?;
    let mut rows = statement.query([table, schema])?;
    let mut orphans = Orphans::new();
    while let Some(row) = rows.next()? {
        let (known, all) = orphans.entry(row.get(0)?).or_default();
        known.extend(row.get::<_, Option<i64>>(1)?);
        *all += 1;
    }
    Ok(orphans)
}
