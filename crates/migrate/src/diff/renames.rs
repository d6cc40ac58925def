use super::objects::plain;
use super::scratch::Scratch;
use super::wanted::Wanted;
use super::{Error, Result};
use crate::schema::Table;
use crate::sql::same_name;

/// A new name, and the one before.
type Pair<'a> = (&'a str, &'a str);

/// Tables and columns get their new names first: SQLite carries them into
/// triggers, views, indexes and foreign keys.
pub(super) fn rename(scratch: &mut Scratch, wanted: &Wanted) -> Result<()> {
    let tables: Vec<Pair<'_>> = wanted
        .tables
        .iter()
        .filter_map(|table| Some((table.name.as_str(), table.annotations.was.as_deref()?)))
        .collect();
    let there = |name: &str| scratch.schema.table(name).is_some();
    let steps = in_turn(&tables, there).map_err(|was| Error::Annotation {
        annotation: format!("was: {was}"),
        missing: format!("table {was}"),
    })?;
    for (to, was) in steps {
        let sql = format!("ALTER TABLE {} RENAME TO {};", plain(was), plain(to));
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
        let steps = in_turn(&columns, there).map_err(|was| Error::Annotation {
            annotation: format!("was: {was}"),
            missing: format!("column {}.{was}", table.name),
        })?;
        for (to, was) in steps {
            scratch.run(format!(
                "ALTER TABLE {} RENAME COLUMN {} TO {};",
                plain(&table.name),
                plain(was),
                plain(to)
            ))?;
        }
    }
    Ok(())
}

/// A column that goes, as another one that is there and not wanted by its own name
/// takes its name. The table without it.
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
        // It may be said as well that the former one goes.
        let left = wanted.allows(&format!("{}.{was}", should.name));
        if !both || !unwanted || is_moved(to) || left {
            continue;
        }
        if !wanted.allows(&format!("{}.{to}", should.name)) {
            return Err(Error::BothThere {
                table: should.name.clone(),
                column: (*to).to_owned(),
                was: (*was).to_owned(),
            });
        }
        scratch.run(format!(
            "ALTER TABLE {} DROP COLUMN {};",
            plain(&should.name),
            plain(to)
        ))?;
        live.columns.retain(|column| !same_name(&column.name, to));
    }
    Ok(live)
}

/// Two that are each to be called as the other is: whether that has been done
/// nobody can see.
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
            let (table, to, was) = (plain(table), plain(to), plain(was));
            scratch.notes.push(format!(
                "{table}.{to} and {table}.{was} are each said to have been the other, which nobody can \
                 see: they stay as they are; REBUILD TABLE {table} (…) RENAME COLUMN {to} TO {was} \
                 RENAME COLUMN {was} TO {to} swaps them"
            ));
        }
    }
}

/// Those that are to be done, each when its new name is free: because nothing has
/// it, or because what has it has been renamed. The others were done already, and
/// the comment has stayed.
///
/// # Errors
/// The old name of one whose new name is free, and that is not there.
fn in_turn<'a>(
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
