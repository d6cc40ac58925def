use rusqlite::Connection;

use super::qualified::main_name;
use super::{Error, Rebuild, Result};
use crate::schema::Table;
use crate::sql::{quote_name, same_name};

/// A column of the old table: what it was called, and what it is called now.
#[derive(Debug, Clone)]
pub(super) struct Renamed {
    pub(super) was: String,
    pub(super) now: String,
}

/// Renames by SQLite's own means, which reach into triggers, views, indexes and
/// other tables' foreign keys. A column that is in the way gets a passing name.
pub(super) fn rename(conn: &Connection, rebuild: &Rebuild, table: &Table) -> Result<Vec<Renamed>> {
    let mut names: Vec<Renamed> = table
        .columns
        .iter()
        .map(|column| Renamed {
            was: column.name.clone(),
            now: column.name.clone(),
        })
        .collect();
    for (count, (from, to)) in rebuild.renames.iter().enumerate() {
        let Some(source) = names.iter().position(|name| same_name(&name.was, from)) else {
            let what = format!("it has no column {from} to rename to {to}");
            return Err(Error::clause(&table.name, what));
        };
        let in_the_way = names
            .iter()
            .position(|name| same_name(&name.now, to))
            .filter(|&at| at != source);
        if let Some(at) = in_the_way {
            one(
                conn,
                table,
                &mut names,
                at,
                &format!("_monolite_was_{count}"),
            )?;
        }
        one(conn, table, &mut names, source, to)?;
    }
    Ok(names)
}

fn one(conn: &Connection, table: &Table, names: &mut [Renamed], at: usize, to: &str) -> Result<()> {
    let Some(name) = names.get_mut(at) else {
        return Ok(());
    };
    let sql = format!(
        "ALTER TABLE {} RENAME COLUMN {} TO {}",
        main_name(&table.name),
        quote_name(&name.now),
        quote_name(to)
    );
    let doing = format!("the renaming of {} to {to}", name.was);
    conn.execute_batch(&sql)
        .map_err(Error::doing(&table.name, doing))?;
    to.clone_into(&mut name.now);
    Ok(())
}
