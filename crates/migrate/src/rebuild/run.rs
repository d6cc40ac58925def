//! Running a rebuild.

use monolite_platform::failpoint::reached;
use rusqlite::Connection;

use super::column_names::Names;
use super::compiled::{About, Compiled};
use super::dependents::Dependents;
use super::move_aside::{free_name, main_name, replace, unqualified};
use super::plan::CopyPlan;
use super::session::Session;
use super::{Error, Rebuild, Result, checks, copy, values};
use crate::schema::{Orphans, Schema, StandIns};
use crate::sql::quote_name;

/// Progress of a rebuild.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<'a> {
    /// Rows are copied.
    Copying {
        /// How many.
        rows: u64,
    },
    /// An index is built.
    Indexing {
        /// Its name.
        name: &'a str,
        /// Its number, from 1.
        number: usize,
        /// How many indexes there are.
        of: usize,
    },
    /// Foreign keys, views and triggers are checked.
    Checking,
    /// The transaction is committed.
    Committing,
}

/// What a rebuild did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rebuilt {
    /// The table.
    pub table: String,
    /// Rows, the same before and after.
    pub rows: u64,
    /// Indexes created again, without those of constraints.
    pub indexes: usize,
    /// Triggers created again.
    pub triggers: usize,
    /// In a caller's transaction: SQLite's messages about foreign keys to columns that are
    /// not unique. A later statement may resolve them; the caller must check before the
    /// commit.
    pub mismatches: Vec<String>,
}

/// Whether a rebuild checks for rows without a parent itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CheckOrphans {
    Yes,
    No,
}

pub(super) fn run(
    rebuild: &Rebuild,
    conn: &Connection,
    check_orphans: CheckOrphans,
    progress: &mut dyn FnMut(Step<'_>),
) -> Result<Rebuilt> {
    rebuild.check()?;
    let mut session = Session::begin(conn, rebuild)?;
    reached("rebuild.begun");
    let mut rebuilt = execute(rebuild, conn, &mut session, progress)?;
    if check_orphans == CheckOrphans::Yes {
        let orphans = orphans_beyond(rebuild, conn, Orphans::default())?;
        // In a caller's transaction a later statement may resolve mismatches.
        let own = session.is_own();
        let some = orphans.rows().next().is_some();
        if some || own && !orphans.is_empty() {
            // There are orphans. To see which existed before: roll back, and rebuild again.
            let restarting = |source| Error::doing(&rebuild.table, "the rollback")(source);
            session.restart().map_err(restarting)?;
            session.set("legacy_alter_table", 0).map_err(restarting)?;
            let doing = Error::doing(&rebuild.table, "the check of foreign keys");
            let schema = read(rebuild, conn)?;
            let before = Orphans::around(conn, &schema, &rebuild.table).map_err(doing)?;
            reached("rebuild.undone");
            rebuilt = execute(rebuild, conn, &mut session, progress)?;
            checks::check_orphans(rebuild, &orphans_beyond(rebuild, conn, before)?, own)?;
        }
        if !own {
            rebuilt.mismatches = orphans.mismatches().map(str::to_owned).collect();
        }
    }
    progress(Step::Committing);
    reached("rebuild.checked");
    session.commit(&rebuild.table)?;
    reached("rebuild.committed");
    Ok(rebuilt)
}

/// Rows without a parent around the table that are not among `before`.
fn orphans_beyond(rebuild: &Rebuild, conn: &Connection, before: Orphans) -> Result<Orphans> {
    let schema = read(rebuild, conn)?;
    let doing = Error::doing(&rebuild.table, "the check of foreign keys");
    Orphans::around_beyond(conn, &schema, &rebuild.table, before).map_err(doing)
}

fn read(rebuild: &Rebuild, conn: &Connection) -> Result<Schema> {
    Schema::read(conn).map_err(Error::doing(&rebuild.table, "reading the schema"))
}

fn execute(
    rebuild: &Rebuild,
    conn: &Connection,
    session: &mut Session<'_>,
    progress: &mut dyn FnMut(Step<'_>),
) -> Result<Rebuilt> {
    let schema = read(rebuild, conn)?;
    let old = checks::present(rebuild, conn, &schema)?.clone();
    let name = old.name.as_str();
    let doing = |what: &str| Error::doing(name, what.to_owned());
    let about = Some(About {
        table: name,
        values: rebuild.may_change_values(&old),
    });
    let compiled =
        Compiled::of(conn, &schema, about).map_err(doing("compiling its views and triggers"))?;
    let stand_ins = StandIns::for_other_tables(conn, &schema, name)
        .map_err(doing("standing in for collations"))?;
    let mut names = Names::rename(conn, rebuild, &old)?;
    let schema = match rebuild.renames.is_empty() {
        true => schema,
        false => read(rebuild, conn)?,
    };
    let present = checks::present(rebuild, conn, &schema)?.clone();
    let wanted = rebuild.wanted(&present.sql, &names)?;
    let dependents = Dependents::of(conn, &schema, &old).map_err(doing("reading what it has"))?;
    checks::check_indexes(rebuild, &schema, &names, &wanted)?;
    let rows = count(conn, &present.name).map_err(doing("counting its rows"))?;
    reached("rebuild.read");

    // Moved aside, without indexes and triggers. In legacy mode, ALTER TABLE does not
    // change other tables, triggers and views that refer to it.
    session
        .set("legacy_alter_table", 1)
        .map_err(doing("a setting"))?;
    for (kind, all) in [
        ("INDEX", &dependents.indexes),
        ("TRIGGER", &dependents.triggers),
    ] {
        for (one, _) in all {
            conn.execute_batch(&format!("DROP {kind} {}", main_name(one)))
                .map_err(doing("dropping its indexes and triggers"))?;
        }
    }
    let unread = |source| Error::Text {
        table: name.to_owned(),
        source,
    };
    if let Some(text) = unqualified(&present.sql, name).map_err(unread)? {
        replace(conn, name, &text).map_err(doing("the change of its text"))?;
    }
    let moved = free_name(conn, name).map_err(doing("finding a name"))?;
    let rename = format!(
        "ALTER TABLE {} RENAME TO {}",
        main_name(name),
        quote_name(&moved)
    );
    conn.execute_batch(&rename)
        .map_err(doing("moving it aside"))?;
    names
        .free_rowid(conn, &moved)
        .map_err(doing("freeing a name for its rowids"))?;
    // Statements that read rows need the real collations.
    stand_ins
        .end()
        .map_err(doing("removing stand-ins for collations"))?;
    reached("rebuild.moved");
    let text = wanted.to_string();
    checks::check_quoted(rebuild, conn, &names, &text)?;
    conn.execute_batch(&text)
        .map_err(doing("creating the new table"))?;
    let new = read(rebuild, conn)?;
    let new = new
        .table(&rebuild.table)
        .cloned()
        .ok_or_else(|| Error::NoSuchTable {
            table: rebuild.table.clone(),
        })?;
    let plan = CopyPlan::of(rebuild, &old, &names, &new)?;
    values::check(conn, &plan, &names, &old, &moved, &new)?;
    reached("rebuild.made");

    progress(Step::Copying { rows });
    let copied = copy::copy(
        rebuild,
        conn,
        &copy::statement(&plan, &names, &old, &moved, &new),
        &plan,
        &new,
    )?;
    reached("rebuild.copied");
    let lost = |after| Error::RowsLost {
        table: name.to_owned(),
        before: rows,
        after,
    };
    if copied != rows {
        return Err(lost(copied));
    }
    checks::check_moved(rebuild, conn, &plan, &names, (&old, &moved), &new)?;
    conn.execute_batch(&format!("DROP TABLE {}", main_name(&moved)))
        .map_err(doing("dropping the old table"))?;
    dependents
        .put_sequence(conn, &old, &new, plan.keeps_rowids(&names, &old, &new))
        .map_err(doing("keeping its counter"))?;
    reached("rebuild.dropped");

    session.sort_in_small_parts().map_err(doing("a setting"))?;
    let of = dependents.indexes.len();
    for (at, (index, text)) in dependents.indexes.iter().enumerate() {
        let number = at + 1;
        progress(Step::Indexing {
            name: index,
            number,
            of,
        });
        create_again(rebuild, conn, "index", index, text)?;
        reached("rebuild.indexed");
    }
    for (trigger, text) in &dependents.triggers {
        create_again(rebuild, conn, "trigger", trigger, text)?;
    }
    reached("rebuild.triggers");

    progress(Step::Checking);
    let after = count(conn, &new.name).map_err(doing("counting the new rows"))?;
    if after != rows {
        return Err(lost(after));
    }
    let schema = read(rebuild, conn)?;
    dependents
        .put_statistics(conn, &schema, &new)
        .map_err(doing("keeping its statistics"))?;
    let now =
        Compiled::of(conn, &schema, about).map_err(doing("compiling its views and triggers"))?;
    if let Some((what, message)) = compiled.broken(&now, &Compiled::default()) {
        return Err(Error::Breaks {
            table: name.to_owned(),
            message: names.with_old_names(&message),
            what,
        });
    }
    Ok(Rebuilt {
        table: new.name,
        rows,
        indexes: dependents.indexes.len(),
        triggers: dependents.triggers.len(),
        mismatches: Vec::new(),
    })
}

fn create_again(
    rebuild: &Rebuild,
    conn: &Connection,
    kind: &str,
    name: &str,
    text: &str,
) -> Result<()> {
    conn.execute_batch(text).map_err(|source| Error::Sqlite {
        table: rebuild.table.clone(),
        doing: format!("creating the {kind} {name} again"),
        source: Box::new(source),
        advice: format!(
            "; DROP {} {} before the rebuild, and create what you want instead after it",
            kind.to_ascii_uppercase(),
            quote_name(name)
        ),
    })
}

fn count(conn: &Connection, table: &str) -> rusqlite::Result<u64> {
    let sql = format!("SELECT count(*) FROM {}", main_name(table));
    conn.query_row(&sql, [], |row| row.get(0))
        .map(i64::unsigned_abs)
}
