//! Rows by what is in them, where no key tells them apart.

use rusqlite::Result;

use super::key::Key;
use super::rows::{Sides, count, equal};
use monolite_migrate::schema::Affinity;
use monolite_migrate::schema::Column;
use monolite_migrate::sql::qualified_name;
use monolite_migrate::sql::quote_name;

/// Rows whose contents are not there as often as they were.
pub(super) fn lost(sides: Sides<'_>, rows_after: u64) -> Result<u64> {
    let common = common(sides);
    if common.is_empty() {
        let rows = count(sides.conn, "before", sides.before)?;
        return Ok(rows.saturating_sub(rows_after));
    }
    let (was, now): (Vec<String>, Vec<String>) = (common.iter())
        .map(|(was, now)| {
            let (had, has) = (was.affinity, now.affinity);
            // As text, a number is what it was as a number.
            let is_converted = had != has && [had, has].contains(&Affinity::Text);
            let of = |column: &Column| match is_converted {
                true => format!("CAST({} AS TEXT) COLLATE BINARY", quote_name(&column.name)),
                false => format!("{} COLLATE BINARY", quote_name(&column.name)),
            };
            (of(was), of(now))
        })
        .unzip();
    let names = |of: &dyn Fn(usize) -> String| -> String {
        let names: Vec<String> = (1..=common.len()).map(of).collect();
        names.join(", ")
    };
    let was: Vec<String> = (was.iter().enumerate())
        .map(|(at, column)| format!("{column} AS c{}", at + 1))
        .collect();
    let sql = format!(
        "SELECT coalesce(sum(n), 0) FROM (
           SELECT sum(one) AS n FROM (
             SELECT {was}, 1 AS one FROM {from} UNION ALL SELECT {now}, -1 FROM {to}
           ) GROUP BY {by} HAVING n > 0)",
        was = was.join(", "),
        now = now.join(", "),
        from = qualified_name("before", &sides.before.name),
        to = qualified_name("main", &sides.after.name),
        by = names(&|at| format!("c{at}")),
    );
    sides.number(&sql)
}

/// Columns by their names in both.
fn common(sides: Sides<'_>) -> Vec<(&Column, &Column)> {
    let both = sides
        .before
        .columns
        .iter()
        .filter(|column| !column.is_generated());
    both.filter_map(|column| Some((column, sides.after.column(&column.name)?)))
        .collect()
}

/// Whether some row has nothing of what its number stood for: it was not
/// changed, but is another one.
pub(super) fn has_strangers(
    sides: Sides<'_>,
    key: &Key,
    renamed: &[(String, String)],
) -> Result<bool> {
    let named = |column: &str| {
        let mut renamed = renamed.iter();
        renamed.find(|(from, _)| from == column).map(|(_, to)| to)
    };
    let columns = sides.before.visible_columns().filter(|c| !c.is_generated());
    let pairs: Vec<(String, String)> = columns
        .filter_map(|was| {
            let now = named(&was.name).unwrap_or(&was.name);
            let now = sides.after.column(now)?;
            Some((quote_name(&was.name), quote_name(&now.name)))
        })
        .collect();
    // Of a single column nobody can tell.
    if pairs.len() < 2 {
        return Ok(false);
    }
    let none: Vec<String> = (pairs.iter())
        .map(|(was, now)| format!("({}) IS NOT 1", equal(was, now)))
        .collect();
    let some: Vec<String> = (pairs.iter())
        .map(|(was, _)| format!("(b.{was} NOT NULL)"))
        .collect();
    let sql = format!(
        "SELECT 1 {} WHERE {} AND {} > 1 LIMIT 1",
        key.join(sides.before, sides.after),
        none.join(" AND "),
        some.join(" + "),
    );
    sides.conn.prepare(&sql)?.exists([])
}
