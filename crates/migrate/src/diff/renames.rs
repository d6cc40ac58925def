//! Renames of tables and columns.

use super::scratch::Scratch;
use super::wanted::Wanted;
use super::{Error, Result};
use crate::schema::Table;
use crate::sql::{plain_name, same_name};

/// A new name and the former one.
type Pair<'a> = (&'a str, &'a str);

/// Renames tables and columns first: SQLite changes triggers, views, indexes and foreign
/// keys with them.
pub(super) fn rename(scratch: &mut Scratch, wanted: &Wanted) -> Result<()> {
    let tables: Vec<Pair<'_>> = wanted
        .tables
        .iter()
        .filter_map(|table| Some((table.name.as_str(), table.annotations.was.as_deref()?)))
        .collect();
    let there = |name: &str| scratch.schema.table(name).is_some();
    let steps = in_order(&tables, there).map_err(|was| Error::Annotation {
        annotation: format!("was: {was}"),
        missing: format!("table {was}"),
    })?;
    for (to, was) in steps {
        let sql = format!(
            "ALTER TABLE {} RENAME TO {};",
            plain_name(was),
            plain_name(to)
        );
        scratch.run(sql)?;
    }
    for table in &wanted.tables {
        let Some(live) = scratch.schema.table(&table.name).cloned() else {
            continue;
        };
        let columns: Vec<Pair<'_>> = table
            .annotations
            .columns
            .iter()
            .map(|(to, was)| (to.as_str(), was.as_str()))
            .collect();
        let live = replaced(scratch, wanted, live, &columns)?;
        let there = |name: &str| live.column(name).is_some();
        note_swaps(scratch, &table.name, &columns, there);
        let steps = in_order(&columns, there).map_err(|was| Error::Annotation {
            annotation: format!("was: {was}"),
            missing: format!("column {}.{was}", table.name),
        })?;
        for (to, was) in steps {
            scratch.run(format!(
                "ALTER TABLE {} RENAME COLUMN {} TO {};",
                plain_name(&table.name),
                plain_name(was),
                plain_name(to)
            ))?;
        }
    }
    Ok(())
}

/// Drops a column if another existing column, itself not wanted, is to get its name. Returns
/// the table without it.
fn replaced(
    scratch: &mut Scratch,
    wanted: &Wanted,
    mut live: Table,
    pairs: &[Pair<'_>],
) -> Result<Table> {
    let Some(should) = wanted.schema.table(&live.name) else {
        return Ok(live);
    };
    let is_moved = |name: &str| pairs.iter().any(|(_, was)| same_name(was, name));
    for (to, was) in pairs {
        let both = live.column(to).is_some() && live.column(was).is_some();
        let unwanted = should.column(was).is_none();
        // Instead, the former one may be dropped.
        let left = wanted.allows_column(&should.name, was);
        if !both || !unwanted || is_moved(to) || left {
            continue;
        }
        if !wanted.allows_column(&should.name, to) {
            return Err(Error::BothThere {
                table: should.name.clone(),
                column: (*to).to_owned(),
                was: (*was).to_owned(),
            });
        }
        scratch.run(format!(
            "ALTER TABLE {} DROP COLUMN {};",
            plain_name(&should.name),
            plain_name(to)
        ))?;
        live.columns.retain(|column| !same_name(&column.name, to));
    }
    Ok(live)
}

/// Two columns that are each said to have been the other: the schema does not show whether
/// they were swapped already.
fn note_swaps(
    scratch: &mut Scratch,
    table: &str,
    pairs: &[Pair<'_>],
    there: impl Fn(&str) -> bool,
) {
    let is = |pair: &Pair<'_>, to: &str, was: &str| same_name(pair.0, to) && same_name(pair.1, was);
    for (at, (to, was)) in pairs.iter().enumerate() {
        let later = pairs.get(at + 1..).unwrap_or_default();
        let swap = later.iter().any(|pair| is(pair, was, to));
        if swap && there(to) && there(was) {
            let (table, to, was) = (plain_name(table), plain_name(to), plain_name(was));
            scratch.notes.push(format!(
                "{table}.{to} and {table}.{was} are each said to have been the other, which the schema \
                 cannot show: they are left as they are; REBUILD TABLE {table} (…) RENAME COLUMN {to} TO {was} \
                 RENAME COLUMN {was} TO {to} swaps them"
            ));
        }
    }
}

/// The renames that are to be done, in an order in which each new name is free: nothing has
/// it, or what has it is renamed before. The others were done earlier, and the comment was
/// left in the file.
///
/// # Errors
/// The former name of one whose new name is free, if nothing has the former name.
fn in_order<'a>(
    pairs: &[Pair<'a>],
    there: impl Fn(&str) -> bool,
) -> std::result::Result<Vec<Pair<'a>>, &'a str> {
    let mut steps: Vec<Pair<'a>> = Vec::new();
    loop {
        let gone = |name: &str| steps.iter().any(|(_, was)| same_name(was, name));
        let taken = |name: &str| steps.iter().any(|(to, _)| same_name(to, name));
        let free = |name: &str| (!there(name) || gone(name)) && !taken(name);
        let next = pairs.iter().find(|(to, _)| free(to));
        match next {
            None => return Ok(steps),
            Some((_, was)) if !there(was) || gone(was) => return Err(was),
            Some(&pair) => steps.push(pair),
        }
    }
}
