//! Rows that point to rows which are not there.

use std::collections::BTreeMap;

use rusqlite::{Connection, Result};

use super::foreign;
use super::matches::Both;
use super::sides::number;
use super::trouble::{Trouble, unreadable};
use crate::report::{About, Kind, Loss, Report};
use monolite_migrate::schema::{Column, ForeignKey, IndexOrigin, Schema, Table};
use monolite_migrate::sql::qualified_name;
use monolite_migrate::sql::quote_name;

/// Violations of foreign keys that were none before.
pub(super) fn new(conn: &Connection, both: Both<'_>, report: &mut Report) -> Result<()> {
    let (before, after) = (both.before, both.after);
    for child in super::matches::in_name_order(after) {
        let may_differ = |table: &Table| {
            let was = before.table(&table.name);
            both.look.touched.has(table.root_page)
                || was.is_none_or(|was| was.root_page != table.root_page)
        };
        let parents = child.foreign_keys.iter();
        let mut parents = parents.map(|key| after.table(&key.parent));
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
        match of(conn, both, child, report) {
            Ok(()) => {}
            Err(error) => match Trouble::of(&error) {
                // A parent without the key that is pointed to, mostly, which is
                // reported as broken.
                Trouble::Statement => {
                    let text = format!(
                        "{}: its foreign keys could not be checked: {error}",
                        child.name
                    );
                    report.note(About::Unseen, text);
                }
                Trouble::Damage => {
                    let known = |loss: &Loss| {
                        loss.kind == Kind::Damage && loss.table.as_deref() == Some(&child.name)
                    };
                    if !report.losses.iter().any(known) {
                        report.losses.push(unreadable(&child.name, &error));
                    }
                }
                Trouble::Other => return Err(error),
            },
        }
    }
    Ok(())
}

fn of(conn: &Connection, both: Both<'_>, child: &Table, report: &mut Report) -> Result<()> {
    let now = counts(conn, "main", child)?;
    if now.is_empty() {
        return Ok(());
    }
    let was = both.before.tables.iter().find(|was| {
        let now = both.matches.of(&was.name);
        now.is_some_and(|now| now.eq_ignore_ascii_case(&child.name))
    });
    let had = match was {
        Some(was) => counts(conn, "before", was).unwrap_or_default(),
        None => BTreeMap::new(),
    };
    for key in &child.foreign_keys {
        let Some(all) = now.get(&key.id).copied() else {
            continue;
        };
        if is_apps_own(both.after, key) {
            let text = format!(
                "{}: its rows without one in {} were not counted: its key is sorted as only the app can",
                child.name, key.parent
            );
            report.note(About::Unseen, text);
            continue;
        }
        let same = was.and_then(|was| {
            let mut keys = was.foreign_keys.iter();
            let same = keys.find(|had| foreign::is_same(both, was, had, key))?;
            had.contains_key(&same.id).then_some((was, same))
        });
        let new = match same {
            None => all,
            Some((was, had)) => Pair {
                was,
                had,
                child,
                key,
            }
            .added(conn, all)?,
        };
        if new > 0 {
            let loss = Loss::new(Kind::Links, Some(&child.name), None).counted(new, all);
            let text = format!("they point to rows of {} that are not there", key.parent);
            report.losses.push(loss.saying(text));
        }
    }
    Ok(())
}

/// How many there are, by the number of the foreign key.
fn counts(conn: &Connection, schema: &str, table: &Table) -> Result<BTreeMap<i64, u64>> {
    let sql = "SELECT fkid, count(*) FROM pragma_foreign_key_check(?1, ?2) GROUP BY fkid";
    let mut statement = conn.prepare(sql)?;
    let counts = statement.query_map([table.name.as_str(), schema], |row| {
        Ok((row.get(0)?, number(row, 1)?))
    })?;
    counts.collect()
}

/// Whether the parent is looked into in an order that is not known here. By its
/// rowid it is not, and an index serves only if it is sorted as its columns are;
/// unless it is the primary key's, and the key names no columns.
fn is_apps_own(after: &Schema, key: &ForeignKey) -> bool {
    let Some(parent) = after.table(&key.parent) else {
        return false;
    };
    let is_own = |name: &str| parent.column(name).is_some_and(Column::has_app_collation);
    match key.to().as_slice() {
        [] => (after.indexes_of(&parent.name))
            .any(|index| index.origin == IndexOrigin::PrimaryKey && index.has_app_collation),
        // An INTEGER PRIMARY KEY is its rowid, whatever its collation.
        [one] => !parent.column(one).is_some_and(|column| column.is_rowid) && is_own(one),
        more => more.iter().any(|name| is_own(name)),
    }
}

/// One foreign key that rows violated before, too.
struct Pair<'p> {
    was: &'p Table,
    had: &'p ForeignKey,
    child: &'p Table,
    key: &'p ForeignKey,
}

impl Pair<'_> {
    /// Which of the violations are new. SQLite compares them, which needs no
    /// memory for each.
    fn added(&self, conn: &Connection, all: u64) -> Result<u64> {
        // Rows without a number cannot be found again.
        let (Some(rowid), Some(old_rowid)) = (self.child.rowid_name(), self.was.rowid_name())
        else {
            let old = counts(conn, "before", self.was)?;
            let old = old.get(&self.had.id).copied().unwrap_or(0);
            return Ok(all.saturating_sub(old));
        };
        let violations = |schema: &str, table: &Table, rowid: &str, key: &ForeignKey, n: i8| {
            // A rowid that is a column stays with its row; else the row is identified by what it
            // points to.
            let columns: Vec<String> = match numbers_stay(self.was) && numbers_stay(self.child) {
                true => vec![format!("t.{rowid} AS c0")],
                false => (key.from().enumerate())
                    .map(|(at, column)| format!("t.{} AS c{at}", quote_name(column)))
                    .collect(),
            };
            format!(
                "SELECT {}, {n} AS one FROM pragma_foreign_key_check({}, '{schema}') AS f
                 JOIN {} AS t ON t.{rowid} = f.rowid WHERE f.fkid = {}",
                columns.join(", "),
                literal(&table.name),
                qualified_name(schema, &table.name),
                key.id,
            )
        };
        let by: Vec<String> = match numbers_stay(self.was) && numbers_stay(self.child) {
            true => vec!["c0".into()],
            false => (0..self.key.from().len())
                .map(|at| format!("c{at}"))
                .collect(),
        };
        let sql = format!(
            "SELECT coalesce(sum(n), 0) FROM (SELECT sum(one) AS n FROM ({} UNION ALL {})
             GROUP BY {} HAVING n > 0)",
            violations("main", self.child, rowid, self.key, 1),
            violations("before", self.was, old_rowid, self.had, -1),
            by.join(", "),
        );
        conn.query_row(&sql, [], |row| number(row, 0))
    }
}

/// Whether the rowid is a column of the table, which goes along wherever the
/// rows are copied.
fn numbers_stay(table: &Table) -> bool {
    table.rowid_column().is_some()
}

/// A text, for SQL.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
