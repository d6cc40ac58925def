use super::objects::plain;
use super::scratch::Scratch;
use super::wanted::Wanted;
use super::{Error, Result};
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
        let there = |name: &str| live.column(name).is_some();
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
