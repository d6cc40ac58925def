//! The key by which a row before a migration is found after it.

use std::cmp::Ordering;

use rusqlite::types::ValueRef;
use rusqlite::{Result, Row};

use super::sides::Sides;
use monolite_migrate::schema::{Affinity, Column, Table};
use monolite_migrate::sql::{qualified_name, quote_name, same_name};

/// How two keys are ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Binary,
    NoCase,
    RTrim,
    /// By the bytes of their text: the two columns have other types or collations, or are sorted
    /// as only the app can.
    Bytes,
}

/// The columns that identify a row: pairs of a column before and after, as SQL names.
#[derive(Debug)]
pub(super) struct Key {
    pairs: Vec<(String, String)>,
    orders: Vec<Order>,
    pub(super) columns: Vec<(String, String)>,
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
            let apps_own = (after.visible_columns())
                .filter(|column| column.has_app_collation())
                .map(|column| quote_name(&column.name))
                .collect();
            let orders = columns.iter().map(|(was, now)| {
                let both = before.column(was).zip(after.column(now));
                both.map_or(Order::Bytes, |(was, now)| order(was, now))
            });
            return Some(Self {
                orders: orders.collect(),
                pairs,
                columns,
                apps_own,
            });
        }
        let (was, now) = (before.rowid_name()?, after.rowid_name()?);
        Some(Self {
            orders: vec![Order::Binary],
            pairs: vec![(was.into(), now.into())],
            columns: Vec::new(),
            apps_own: Vec::new(),
        })
    }

    pub(super) fn len(&self) -> usize {
        self.pairs.len()
    }

    /// The first column of the key, before and after.
    pub(super) fn first(&self) -> (&str, &str) {
        let first = self.pairs.first();
        first.map_or(("NULL", "NULL"), |(was, now)| (was, now))
    }

    /// What each side is sorted by.
    pub(super) fn terms(&self, sides: Sides<'_>) -> Result<[Vec<String>; 2]> {
        let encoding: String = sides
            .conn
            .pragma_query_value(None, "encoding", |row| row.get(0))?;
        let is_utf8 = encoding == "UTF-8";
        let term = |(name, order): (&String, &Order)| match order {
            Order::Bytes => bytes_of(name),
            // Numbers alone, and rowids, are sorted alike in any encoding.
            _ if is_utf8 || self.columns.is_empty() => name.clone(),
            _ => bytes_of(name),
        };
        let side = |of: fn(&(String, String)) -> &String| {
            self.pairs
                .iter()
                .map(of)
                .zip(&self.orders)
                .map(term)
                .collect()
        };
        Ok([side(|(was, _)| was), side(|(_, now)| now)])
    }

    /// Compares the keys of two rows, which are the rows' first columns.
    pub(super) fn compare(&self, was: &Row<'_>, now: &Row<'_>) -> Result<Ordering> {
        for (at, order) in self.orders.iter().enumerate() {
            match compare(*order, was.get_ref(at)?, now.get_ref(at)?) {
                Ordering::Equal => {}
                other => return Ok(other),
            }
        }
        Ok(Ordering::Equal)
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

fn order(was: &Column, now: &Column) -> Order {
    let texts = [was, now].map(|column| column.affinity == Affinity::Text);
    if texts[0] != texts[1] || !same_name(&was.collation, &now.collation) {
        return Order::Bytes;
    }
    match was.collation.to_ascii_uppercase().as_str() {
        "BINARY" => Order::Binary,
        "NOCASE" => Order::NoCase,
        "RTRIM" => Order::RTrim,
        _ => Order::Bytes,
    }
}

/// A value by the bytes of its text; NULL stays NULL.
fn bytes_of(name: &str) -> String {
    format!(
        "CASE typeof({name}) WHEN 'blob' THEN {name} ELSE CAST(CAST({name} AS TEXT) AS BLOB) END"
    )
}

/// As SQLite sorts.
fn compare(order: Order, was: ValueRef<'_>, now: ValueRef<'_>) -> Ordering {
    use ValueRef as V;
    let class = |value: ValueRef<'_>| match value {
        V::Null => 0,
        V::Integer(_) | V::Real(_) => 1,
        V::Text(_) => 2,
        V::Blob(_) => 3,
    };
    match (was, now) {
        (V::Integer(was), V::Integer(now)) => was.cmp(&now),
        (V::Real(was), V::Real(now)) => was.total_cmp(&now),
        (V::Integer(was), V::Real(now)) => of_both(was, now),
        (V::Real(was), V::Integer(now)) => of_both(now, was).reverse(),
        (V::Text(was), V::Text(now)) => match order {
            Order::NoCase => {
                let small = |text: &[u8]| text.to_ascii_lowercase();
                small(was).cmp(&small(now))
            }
            Order::RTrim => {
                let cut = |text| <[u8]>::trim_ascii_end(text);
                cut(was).cmp(cut(now))
            }
            Order::Binary | Order::Bytes => was.cmp(now),
        },
        (V::Blob(was), V::Blob(now)) => was.cmp(now),
        _ => class(was).cmp(&class(now)),
    }
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "as SQLite does it"
)]
fn of_both(whole: i64, real: f64) -> Ordering {
    let other = real as i64;
    match whole.cmp(&other) {
        Ordering::Equal => (whole as f64).total_cmp(&real),
        order => order,
    }
}
