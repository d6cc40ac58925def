//! Where data is now that is no longer where it was: in another column of its row, in another form,
//! or in another table. Asked only about what would be a loss otherwise.
//!
//! That the same values are somewhere is not enough: a flag is in any column of numbers. Values must
//! be found together with the key of their row, or with a column that stands for them, or be a row
//! with all that it said.

use std::collections::BTreeSet;

use rusqlite::{Connection, Result};

use super::links::names_for;
use super::sides::number;
use monolite_migrate::schema::{Column, Schema, Table, TableKind};
use monolite_migrate::sql::{name_key, qualified_name, quote_name, same_name};

/// Columns, and pairs of columns, that are tried.
const TRIED_MAX: usize = 400;
/// Values that are shorter than that may be a part of anything.
const PART_MIN: usize = 3;

pub(super) struct Moved<'m> {
    pub(super) conn: &'m Connection,
    pub(super) before: &'m Schema,
    pub(super) after: &'m Schema,
    /// Tables that have rows which they had not, by [`name_key`].
    pub(super) grown: &'m BTreeSet<String>,
}

/// A table before and after, joined by its key.
#[derive(Clone, Copy)]
pub(super) struct Rows<'r> {
    pub(super) was: &'r Table,
    pub(super) now: &'r Table,
    /// `FROM … AS b JOIN … AS a ON …`.
    pub(super) join: &'r str,
}

impl Moved<'_> {
    fn exists(&self, sql: &str) -> Result<bool> {
        self.conn.prepare(sql)?.exists([])
    }

    /// Whether all rows that `says` chooses meet `condition`, and there are some.
    fn all(&self, from: &str, says: &str, condition: &str) -> Result<bool> {
        // First what nearly always ends at the first row.
        let never = format!("SELECT 1 {from} WHERE {says} AND ({condition}) IS NOT 1 LIMIT 1");
        if self.exists(&never)? {
            return Ok(false);
        }
        let any = format!("SELECT 1 {from} WHERE {says} AND ({condition}) LIMIT 1");
        self.exists(&any)
    }

    /// Where the values of a column are now that are not in it any more, in words.
    pub(super) fn values(&self, rows: Rows<'_>, column: &Column) -> Result<Option<String>> {
        let old = format!("b.{}", quote_name(&column.name));
        let mut says = format!("{old} NOT NULL AND trim({old}) <> ''");
        let own = rows.now.column(&column.name);
        if let Some(own) = own {
            says += &format!(
                " AND {old} IS NOT a.{} COLLATE BINARY",
                quote_name(&own.name)
            );
        }
        let targets: Vec<&Column> = rows
            .now
            .visible_columns()
            .filter(|now| !now.is_generated() && now.key == 0)
            .filter(|now| own.is_none_or(|own| own.name != now.name))
            .collect();
        let new = |column: &Column| format!("a.{}", quote_name(&column.name));
        for target in targets.iter().take(TRIED_MAX) {
            let is_new = rows.was.column(&target.name).is_none();
            if !is_new && !self.has_variety(rows, &old, &says)? {
                continue;
            }
            // One form for all rows: another one for each would do by chance.
            for form in forms(&old, &new(target), &column.name, is_new) {
                if self.all(rows.join, &says, &form)? {
                    return Ok(Some(format!(
                        "its values are in {}.{} now",
                        rows.now.name, target.name
                    )));
                }
            }
        }
        if let Some(parts) = self.parts(rows, &old, &says, own)? {
            return Ok(Some(parts));
        }
        for target in &targets {
            if rows.was.column(&target.name).is_none()
                && let Some(text) = self.coded(rows, &old, &says, target)?
            {
                return Ok(Some(text));
            }
        }
        self.with_key(rows, column, &old, &says)
    }

    /// Whether there are so many different values that another column has them by no chance.
    fn has_variety(&self, rows: Rows<'_>, old: &str, says: &str) -> Result<bool> {
        let sql = format!(
            "SELECT count(*) FROM (SELECT DISTINCT {old} {} WHERE {says} LIMIT 3)",
            rows.join
        );
        Ok(self.conn.query_row(&sql, [], |row| number(row, 0))? > 2)
    }

    /// As `first` and `last` of a name.
    fn parts(
        &self,
        rows: Rows<'_>,
        old: &str,
        says: &str,
        own: Option<&Column>,
    ) -> Result<Option<String>> {
        let new: Vec<&Column> = rows
            .now
            .visible_columns()
            .filter(|now| !now.is_generated() && now.key == 0)
            .filter(|now| {
                rows.was.column(&now.name).is_none() || own.is_some_and(|own| own.name == now.name)
            })
            .collect();
        let mut tried = 0;
        for one in &new {
            for other in &new {
                tried += 1;
                if one.name == other.name || tried > TRIED_MAX {
                    continue;
                }
                let [first, last] = [one, other]
                    .map(|column| format!("coalesce(a.{}, '')", quote_name(&column.name)));
                let plain = |text: &str| {
                    [" ", ",", ";", "-", "/", ":", "@", "T"]
                        .iter()
                        .fold(text.to_owned(), |text, sign| {
                            format!("replace({text}, '{sign}', '')")
                        })
                };
                let condition = format!(
                    "lower({}) = lower({}) AND length({last}) + length({first}) > 0",
                    plain(&format!("{first} || {last}")),
                    plain(old)
                );
                if self.all(rows.join, says, &condition)? {
                    return Ok(Some(format!(
                        "it is in {} and {} now",
                        one.name, other.name
                    )));
                }
            }
        }
        Ok(None)
    }

    /// A new column that stands for the values: each for one, and one for each.
    fn coded(
        &self,
        rows: Rows<'_>,
        old: &str,
        says: &str,
        target: &Column,
    ) -> Result<Option<String>> {
        let new = format!("a.{}", quote_name(&target.name));
        let sql = format!(
            "SELECT count(*), count(DISTINCT c), count(DISTINCT d), coalesce(sum(n), 0)
             FROM (SELECT {old} AS c, {new} AS d, count(*) AS n {} WHERE {says} GROUP BY 1, 2)",
            rows.join
        );
        let counts = self.conn.query_row(&sql, [], |row| {
            Ok([
                number(row, 0)?,
                number(row, 1)?,
                number(row, 2)?,
                number(row, 3)?,
            ])
        })?;
        let [pairs, olds, news, of] = counts;
        // Where each value is in one row only, any column of unique values would do.
        let is_coded = pairs == olds && olds == news && olds > 0 && of > pairs;
        if is_coded && olds > 1 {
            return Ok(Some(format!(
                "{} stands for it now: {olds} different values are as many different ones",
                target.name
            )));
        }
        // The values are in a table to which the new column refers.
        let keys = rows.now.foreign_keys.iter();
        let key = keys
            .filter(|key| key.columns.len() == 1)
            .find(|key| key.from().any(|from| same_name(from, &target.name)));
        let named = target.name.to_ascii_lowercase();
        let candidates = self.after.tables.iter().filter(|table| {
            table.kind == TableKind::Ordinary
                && self.is_grown(table)
                && match key {
                    Some(key) => same_name(&key.parent, &table.name),
                    None => named.ends_with("_id") || named.ends_with("id"),
                }
        });
        for table in candidates.take(16) {
            let Some(id) = single_key(table) else {
                continue;
            };
            let values = table
                .visible_columns()
                .filter(|column| column.key == 0 && !column.is_generated());
            for value in values.take(16) {
                let condition = format!(
                    "EXISTS (SELECT 1 FROM {} AS u WHERE u.{} = {new} AND lower(trim(u.{})) = lower(trim({old})))",
                    qualified_name("main", &table.name),
                    quote_name(&id),
                    quote_name(&value.name)
                );
                if self.all(rows.join, says, &condition)? {
                    return Ok(Some(format!(
                        "its values are in {}.{} now, to which {} refers",
                        table.name, value.name, target.name
                    )));
                }
            }
        }
        Ok(None)
    }

    fn is_grown(&self, table: &Table) -> bool {
        self.grown.contains(&name_key(&table.name)) || self.before.table(&table.name).is_none()
    }

    /// Another table that has each value together with the key of its row.
    fn with_key(
        &self,
        rows: Rows<'_>,
        column: &Column,
        old: &str,
        says: &str,
    ) -> Result<Option<String>> {
        let Some(id) = single_key(rows.was) else {
            return Ok(None);
        };
        let id = format!("b.{}", quote_name(&id));
        let mut tried = 0;
        for table in self
            .after
            .tables
            .iter()
            .filter(|table| table.kind == TableKind::Ordinary)
        {
            let is_grown = self.is_grown(table);
            if same_name(&table.name, &rows.now.name) || !is_grown {
                continue;
            }
            let all: Vec<String> = table
                .visible_columns()
                .map(|column| quote_name(&column.name))
                .collect();
            let name = qualified_name("main", &table.name);
            for key in &all {
                let has_key = format!("{id} IN (SELECT {key} FROM {name} WHERE {key} NOT NULL)");
                let none = format!(
                    "SELECT 1 {} WHERE {says} AND NOT ({has_key}) LIMIT 1",
                    rows.join
                );
                tried += 1;
                let is_key = !self.exists(&none)?;
                if tried > TRIED_MAX || !is_key {
                    continue;
                }
                for value in all.iter().filter(|value| *value != key) {
                    let pairs = format!("({id}, {old}) IN (SELECT {key}, {value} FROM {name})");
                    let text = format!(
                        "({id}, CAST({old} AS TEXT)) IN (SELECT {key}, CAST({value} AS TEXT) FROM {name})"
                    );
                    if self.all(rows.join, says, &pairs)? || self.all(rows.join, says, &text)? {
                        return Ok(Some(format!(
                            "the same values are in {}.{} now",
                            table.name,
                            value.trim_matches('"')
                        )));
                    }
                }
            }
            if let Some(text) = self.set_rows(rows, column, table, old, says)? {
                return Ok(Some(text));
            }
        }
        Ok(None)
    }

    /// A new table that has a row for each one in which a flag was set, and for no other.
    fn set_rows(
        &self,
        rows: Rows<'_>,
        column: &Column,
        table: &Table,
        old: &str,
        says: &str,
    ) -> Result<Option<String>> {
        if self.before.table(&table.name).is_some() {
            return Ok(None);
        }
        let Some(id) = single_key(rows.was) else {
            return Ok(None);
        };
        let names = names_for(&rows.was.name, &id);
        let id = format!("b.{}", quote_name(&id));
        let name = qualified_name("main", &table.name);
        // Any column of numbers has the keys of some rows.
        let refers = |key: &Column| {
            names.contains(&name_key(&key.name))
                || table.foreign_keys.iter().any(|of| {
                    let is_to =
                        [&rows.was.name, &rows.now.name].map(|name| same_name(&of.parent, name));
                    is_to.contains(&true)
                        && of.columns.len() == 1
                        && of.from().any(|from| same_name(from, &key.name))
                })
        };
        for key in table.visible_columns().filter(|key| refers(key)) {
            let key = quote_name(&key.name);
            let others = format!(
                "SELECT 1 {} WHERE {says} AND {old} NOT IN (0, 1) LIMIT 1",
                rows.join
            );
            let any = format!("SELECT 1 {} WHERE {old} = 1 LIMIT 1", rows.join);
            let only = format!(
                "SELECT 1 FROM {name} AS u WHERE u.{key} IS NULL OR u.{key} NOT IN (SELECT {id} {} WHERE {old} = 1 AND {id} NOT NULL) LIMIT 1",
                rows.join
            );
            let set = format!(
                "SELECT 1 {} WHERE {old} = 1 AND {id} NOT IN (SELECT {key} FROM {name} WHERE {key} NOT NULL) LIMIT 1",
                rows.join
            );
            if !self.exists(&others)?
                && self.exists(&any)?
                && !self.exists(&only)?
                && !self.exists(&set)?
            {
                return Ok(Some(format!(
                    "the rows in which {} was 1 are in {} now",
                    column.name, table.name
                )));
            }
        }
        Ok(None)
    }

    /// A table that has all rows of `was`, or those that `now` has not, with all that they said.
    pub(super) fn rows(&self, was: &Table, now: Option<&Table>) -> Result<Option<String>> {
        let from = qualified_name("before", &was.name);
        for table in &self.after.tables {
            let is_own = now.is_some_and(|now| same_name(&now.name, &table.name));
            if table.kind != TableKind::Ordinary || is_own || !self.is_grown(table) {
                continue;
            }
            if self.has_rows(&from, was, now, table)? {
                return Ok(Some(format!("they are in {} now", table.name)));
            }
        }
        // A part of them each.
        Ok(None)
    }

    fn has_rows(&self, from: &str, was: &Table, now: Option<&Table>, into: &Table) -> Result<bool> {
        let is_gone = match now {
            None => "1".to_owned(),
            Some(now) => {
                let key: Vec<String> = was
                    .primary_key()
                    .iter()
                    .map(|column| column.name.clone())
                    .collect();
                if key.is_empty() || key.iter().any(|name| now.column(name).is_none()) {
                    return Ok(false);
                }
                let key: Vec<String> = key.iter().map(|name| quote_name(name)).collect();
                let row = |prefix: &str| {
                    key.iter()
                        .map(|name| format!("{prefix}{name}"))
                        .collect::<Vec<_>>()
                        .join(", ")
                };
                format!(
                    "({}) NOT IN (SELECT {} FROM {})",
                    row("b."),
                    row(""),
                    qualified_name("main", &now.name)
                )
            }
        };
        let says = |column: &Column| {
            let name = quote_name(&column.name);
            let sql = format!(
                "SELECT 1 FROM {from} AS b WHERE {is_gone} AND b.{name} NOT NULL AND b.{name} <> '' LIMIT 1"
            );
            self.exists(&sql)
        };
        let mut pairs: Vec<(String, String)> = Vec::new();
        let mut without_key = Vec::new();
        let mut has_content = false;
        for column in was
            .visible_columns()
            .filter(|column| !column.is_generated())
        {
            if !says(column)? {
                continue;
            }
            let target = match into.column(&column.name) {
                Some(target) => Some(target.name.clone()),
                None => self.column_with(from, &is_gone, column, into, &pairs)?,
            };
            let Some(target) = target else {
                // Its number may be another there.
                if column.key > 0 {
                    continue;
                }
                return Ok(false);
            };
            has_content |= column.key == 0;
            let pair = (quote_name(&column.name), quote_name(&target));
            if column.key == 0 {
                without_key.push(pair.clone());
            }
            pairs.push(pair);
        }
        // One column of values, such as numbers, is in many a table; if that has its name, too, it
        // is that one.
        if let [(was, now)] = without_key.as_slice()
            && !same_name(was, now)
        {
            return Ok(false);
        }
        for pairs in [pairs, without_key] {
            if pairs.is_empty() || !has_content {
                continue;
            }
            let list = |side: fn(&(String, String)) -> &String| {
                pairs
                    .iter()
                    .map(side)
                    .cloned()
                    .collect::<Vec<_>>()
                    .join(", ")
            };
            let (was, now) = (list(|(was, _)| was), list(|(_, now)| now));
            // Rows that say the same are numbered, so that each needs one of its own.
            let sql = format!(
                "SELECT 1 FROM (
                   SELECT {was}, row_number() OVER (PARTITION BY {was}) FROM {from} AS b WHERE {is_gone}
                   EXCEPT SELECT {now}, row_number() OVER (PARTITION BY {now}) FROM {}
                 ) LIMIT 1",
                qualified_name("main", &into.name)
            );
            if !self.exists(&sql)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The column of another name that has all values.
    fn column_with(
        &self,
        from: &str,
        is_gone: &str,
        column: &Column,
        into: &Table,
        taken: &[(String, String)],
    ) -> Result<Option<String>> {
        let name = quote_name(&column.name);
        for target in into.visible_columns().take(64) {
            let quoted = quote_name(&target.name);
            if taken.iter().any(|(_, to)| *to == quoted) {
                continue;
            }
            let sql = format!(
                "SELECT 1 FROM {from} AS b WHERE {is_gone} AND b.{name} NOT NULL AND b.{name} <> '' AND b.{name} NOT IN (SELECT {quoted} FROM {} WHERE {quoted} NOT NULL) LIMIT 1",
                qualified_name("main", &into.name)
            );
            if !self.exists(&sql)? {
                return Ok(Some(target.name.clone()));
            }
        }
        Ok(None)
    }
}

/// The forms in which a value may be in another column.
fn forms(old: &str, new: &str, name: &str, is_new: bool) -> Vec<String> {
    let mut forms = vec![
        // Without their types, by which a text may be a number.
        format!("+{new} = +{old}"),
        format!("lower(trim({new})) = lower(trim({old}))"),
        format!("CAST({new} AS TEXT) = CAST({old} AS TEXT)"),
    ];
    // What was there before may have it in it by chance.
    let path = format!("'$.\"{}\"'", name.replace('\'', "''").replace('"', ""));
    forms.push(format!(
        "CASE WHEN json_valid({new}) THEN json_extract({new}, {path}) = {old} END"
    ));
    if is_new {
        for factor in ["10.0", "100.0", "1000.0", "60.0", "3600.0", "1024.0"] {
            forms.push(format!("typeof({old}) <> 'text' AND abs({new} - {old} * {factor}) <= 1e-6 * max(1, abs({new}))"));
            forms.push(format!("typeof({old}) <> 'text' AND abs({new} * {factor} - {old}) <= 1e-6 * max(1, abs({old}))"));
        }
        forms.push(format!(
            "julianday({old}) NOT NULL AND abs(julianday({old}) - julianday({new})) < 1e-8"
        ));
        for (text, time) in [(old, new), (new, old)] {
            forms.push(format!(
                "typeof({text}) = 'text' AND unixepoch({text}) = {time}"
            ));
            forms.push(format!(
                "typeof({text}) = 'text' AND unixepoch({text}) = {time} / 1000"
            ));
        }
        forms.push(format!(
            "hex({old}) = upper({new}) OR hex({new}) = upper({old})"
        ));
    }
    let is_word = |text: &str, at: &str| format!("NOT substr({text}, {at}, 1) GLOB '[A-Za-z0-9]'");
    let at = format!("instr(lower({new}), lower({old}))");
    forms.push(format!(
        "typeof({new}) = 'text' AND length({old}) >= {PART_MIN} AND {at} > 0 AND ({at} = 1 OR {}) AND {}",
        is_word(new, &format!("{at} - 1")),
        is_word(new, &format!("{at} + length({old})")),
    ));
    forms
}

fn single_key(table: &Table) -> Option<String> {
    match table.primary_key().as_slice() {
        [one] => Some(one.name.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use rusqlite::functions::FunctionFlags;

    use super::*;

    #[test]
    fn a_condition_that_no_row_meets_is_asked_of_one_row() {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch(
            "CREATE TABLE t (x);
             WITH RECURSIVE n (n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM n WHERE n < 1000)
               INSERT INTO t SELECT n FROM n",
        )
        .unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let asking = Arc::clone(&asked);
        conn.create_scalar_function("over", 2, FunctionFlags::SQLITE_UTF8, move |of| {
            asking.fetch_add(1, Ordering::Relaxed);
            Ok(of.get::<i64>(0)? > of.get::<i64>(1)?)
        })
        .unwrap();
        let schema = Schema::default();
        let moved = Moved {
            conn: &conn,
            before: &schema,
            after: &schema,
            grown: &BTreeSet::new(),
        };
        assert!(!moved.all("FROM t", "1", "over(x, 1000)").unwrap());
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        assert!(moved.all("FROM t", "1", "over(x, 0)").unwrap());
        assert!(!moved.all("FROM t", "1", "over(x, 1)").unwrap());
        assert!(
            !moved.all("FROM t", "x < 0", "over(x, 0)").unwrap(),
            "no rows"
        );
    }
}
