//! The values of a table's columns. Neither NULL, nor an empty text, nor what a
//! column has by default says anything.

use rusqlite::{Connection, Result, Row};

use super::proof::{Proof, only_gained_columns};
use super::rows::{Sides, default, equal, number};
use monolite_migrate::schema::{Column, Table};
use monolite_migrate::sql::qualified_name;
use monolite_migrate::sql::quote_name;

/// A column in which values went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Emptied {
    /// Its name before.
    pub(super) column: String,
    /// How many of its values …
    pub(super) count: u64,
    /// … of how many, in rows that are still there.
    pub(super) of: u64,
    /// What they are now.
    pub(super) now: String,
}

/// How many values the column has.
pub(super) fn of(conn: &Connection, schema: &str, table: &Table, name: &str) -> Result<u64> {
    let (from, quoted) = (qualified_name(schema, &table.name), quote_name(name));
    let said = said(&quoted, table.column(name).and_then(default).as_slice());
    let sql = format!("SELECT count(*) FROM {from} WHERE {said}");
    conn.query_row(&sql, [], |row| number(row, 0))
}

/// That a column's value says something.
fn said(column: &str, defaults: &[String]) -> String {
    let mut said = format!("{column} NOT NULL AND {column} IS NOT ''");
    for default in defaults {
        said += &format!(" AND {column} IS NOT {default}");
    }
    said
}

/// One column before and after.
type Pair<'p> = (&'p Column, &'p Column);

/// A way in which values of a column may go.
struct Way<'p> {
    pair: Pair<'p>,
    /// Which values before there are …
    from: String,
    /// … and what they became.
    to: String,
    now: String,
    /// Values often become another, as somebody means them to: only if all do
    /// is nothing left of them.
    all: bool,
}

/// `stayed`: it is surely the same column, whose values somebody wrote.
fn ways<'p>(sides: Sides<'_>, (was, now): Pair<'p>, stayed: bool) -> Vec<Way<'p>> {
    let before = sides.before;
    let (b, a) = (
        format!("b.{}", quote_name(&was.name)),
        format!("a.{}", quote_name(&now.name)),
    );
    let mut ways = vec![Way {
        pair: (was, now),
        from: said(&b, &[]),
        to: format!("{a} IS NULL"),
        now: "NULL now".into(),
        all: false,
    }];
    let mut keys = before.foreign_keys.iter();
    let is_set = keys.any(|key| {
        [&key.on_delete, &key.on_update].contains(&&"SET DEFAULT".to_owned())
            && key.from().any(|c| c.eq_ignore_ascii_case(&was.name))
    });
    let (had, has) = (default(was), default(now));
    if let (true, Some(default)) = (is_set, &had) {
        ways.push(Way {
            pair: (was, now),
            from: said(&b, std::slice::from_ref(default)),
            to: format!("{a} IS {default}"),
            now: format!("{default} now, as by default"),
            all: false,
        });
    } else if let Some(default) = has.filter(|_| !stayed) {
        let both: Vec<String> = had.into_iter().chain([default.clone()]).collect();
        ways.push(Way {
            pair: (was, now),
            from: said(&b, &both),
            to: format!("{a} IS {default}"),
            now: format!("{default} now, as by default"),
            all: true,
        });
    }
    ways
}

/// That a value before says something, whichever of the two has it by default.
pub(super) fn said_by_both(was: &Column, now: &Column) -> String {
    let defaults: Vec<String> = default(was).into_iter().chain(default(now)).collect();
    said(&format!("b.{}", quote_name(&was.name)), &defaults)
}

/// How many columns, from the first, surely stayed: those before one that was
/// not added again. One that is dropped and added again is the last.
fn stayed(sides: Sides<'_>, join: &str) -> Result<usize> {
    match sides.proof {
        Proof::Columns => return Ok(usize::MAX),
        Proof::Table if only_gained_columns(sides.before, sides.after) => {}
        _ => return Ok(0),
    }
    let both = (sides.before.visible_columns()).zip(sides.after.visible_columns());
    for (at, (was, now)) in both.enumerate().collect::<Vec<_>>().into_iter().rev() {
        if was.name != now.name || now.is_generated() {
            continue;
        }
        let never_added = now.key > 0 || (now.not_null && now.default.is_none());
        // What it held and still holds, it was not given by default.
        let holds = || {
            let (b, a) = (quote_name(&was.name), quote_name(&now.name));
            let said = said_by_both(was, now);
            let sql = format!("SELECT 1 {join} WHERE {said} AND {} LIMIT 1", equal(&b, &a));
            sides.conn.prepare(&sql)?.exists([])
        };
        if never_added || holds()? {
            return Ok(at);
        }
    }
    Ok(0)
}

/// Whether a pair is among the first `stayed` columns.
fn is_before(sides: Sides<'_>, (was, now): Pair<'_>, stayed: usize) -> bool {
    let place = |table: &Table, column: &Column| {
        let mut columns = table.visible_columns();
        columns.position(|one| one.name == column.name)
    };
    let (had, has) = (place(sides.before, was), place(sides.after, now));
    stayed == usize::MAX || (had == has && has.is_some_and(|at| at < stayed))
}

/// How many rows have other values, and the columns in which values went.
pub(super) fn changed(
    sides: Sides<'_>,
    join: &str,
    pairs: &[Pair<'_>],
) -> Result<(u64, Vec<Emptied>)> {
    if pairs.is_empty() {
        return Ok((0, Vec::new()));
    }
    let differs: Vec<String> = (pairs.iter())
        .map(|(was, now)| {
            let (was, now) = (quote_name(&was.name), quote_name(&now.name));
            format!("b.{was} IS NOT a.{now} COLLATE BINARY")
        })
        .collect();
    // In groups, since SQLite bears no more than 1000 in one chain.
    let differs: Vec<String> = (differs.chunks(100))
        .map(|some| format!("({})", some.join(" OR ")))
        .collect();
    let differs = differs.join(" OR ");
    // Nothing else may become what it is by default.
    let stayed = match pairs.iter().any(|(_, now)| default(now).is_some()) {
        true => stayed(sides, join)?,
        false => 0,
    };
    let ways: Vec<Way<'_>> = (pairs.iter())
        .flat_map(|pair| ways(sides, *pair, is_before(sides, *pair, stayed)))
        .collect();
    let mut changed = 0;
    let mut emptied = Vec::new();
    // SQLite returns 2000 columns at most.
    for ways in ways.chunks(1000) {
        let sums: Vec<String> = (ways.iter())
            .map(|way| format!("count(*) FILTER (WHERE {} AND {})", way.from, way.to))
            .collect();
        let sql = format!(
            "SELECT count(*), {} {join} WHERE {differs}",
            sums.join(", ")
        );
        let read = |row: &Row<'_>| (0..=ways.len()).map(|at| number(row, at)).collect();
        let counts: Vec<u64> = sides.conn.query_row(&sql, [], read)?;
        changed = counts.first().copied().unwrap_or(0);
        for (way, count) in ways.iter().zip(counts.into_iter().skip(1)) {
            if count == 0 {
                continue;
            }
            let of = sides.number(&format!("SELECT count(*) {join} WHERE {}", way.from))?;
            if !way.all || count == of {
                emptied.push(Emptied {
                    column: way.pair.0.name.clone(),
                    count,
                    of,
                    now: way.now.clone(),
                });
            }
        }
    }
    Ok((changed, emptied))
}
