use monolite_platform::failpoint::reached;
use rusqlite::Connection;

use super::compiled::{About, Compiled};
use super::keep::Kept;
use super::names::Names;
use super::plan::Plan;
use super::qualified::{free_name, main_name, replace, unqualified};
use super::session::Session;
use super::{Error, Rebuild, Result, copy, values};
use crate::schema::{Orphans, Schema, StandIns};
use crate::sql::quote_name;

/// What is being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<'a> {
    /// This many rows are copied.
    Copying {
        /// Of the old table.
        rows: u64,
    },
    /// An index is built.
    Indexing {
        /// Its name.
        name: &'a str,
        /// Its number, from 1.
        number: usize,
        /// Of how many.
        of: usize,
    },
    /// Foreign keys, views and triggers are looked at.
    Checking,
    /// All of it becomes the database.
    Committing,
}

/// What a rebuild did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rebuilt {
    /// The table.
    pub table: String,
    /// Rows, before and after.
    pub rows: u64,
    /// Indexes made again, those of constraints not counted.
    pub indexes: usize,
    /// Triggers made again.
    pub triggers: usize,
    /// In a caller's transaction: foreign keys that name columns which are not
    /// unique, as SQLite says it. A later statement may mend that; the caller
    /// must look again before the commit.
    pub mismatches: Vec<String>,
}

impl Rebuild {
    /// Rebuilds the table: in a transaction of its own, or, if the caller has
    /// begun one with foreign keys off, in that. Other connections go on reading
    /// meanwhile (in WAL mode also during the commit); writers wait.
    ///
    /// # Errors
    /// Whatever is refused or fails; the database is then as it was, and so is
    /// `PRAGMA foreign_keys`.
    pub fn run(&self, conn: &Connection) -> Result<Rebuilt> {
        self.run_with(conn, &mut |_| {})
    }

    /// The same; `progress` is told what is being done.
    ///
    /// # Errors
    /// As [`Rebuild::run`].
    pub fn run_with(
        &self,
        conn: &Connection,
        progress: &mut dyn FnMut(Step<'_>),
    ) -> Result<Rebuilt> {
        self.run_as(conn, true, progress)
    }

    /// The same without a look for rows that refer to nothing: for a caller who
    /// looks himself before the commit.
    pub(crate) fn run_unlooked(&self, conn: &Connection) -> Result<Rebuilt> {
        self.run_as(conn, false, &mut |_| {})
    }

    fn run_as(
        &self,
        conn: &Connection,
        look: bool,
        progress: &mut dyn FnMut(Step<'_>),
    ) -> Result<Rebuilt> {
        self.check()?;
        let mut session = Session::begin(conn, self)?;
        reached("rebuild.begun");
        let mut rebuilt = self.rebuild(conn, &mut session, progress)?;
        if look {
            let orphans = self.orphans(conn, Orphans::default())?;
            // Those that a later statement may mend are the caller's.
            let own = session.is_own();
            let some = orphans.rows().next().is_some();
            if some || own && !orphans.is_empty() {
                // There are orphans: were there before? From the beginning.
                let undone = |source| Error::doing(&self.table, "the way back")(source);
                session.undo().map_err(undone)?;
                session.set("legacy_alter_table", 0).map_err(undone)?;
                let doing = Error::doing(&self.table, "the check of foreign keys");
                let schema = self.read(conn)?;
                let before = Orphans::around(conn, &schema, &self.table).map_err(doing)?;
                reached("rebuild.undone");
                rebuilt = self.rebuild(conn, &mut session, progress)?;
                self.check_orphans(&self.orphans(conn, before)?, own)?;
            }
            if !own {
                rebuilt.mismatches = orphans.mismatches().map(str::to_owned).collect();
            }
        }
        progress(Step::Committing);
        reached("rebuild.checked");
        session.commit(&self.table)?;
        reached("rebuild.committed");
        Ok(rebuilt)
    }

    /// Those that were not before.
    fn orphans(&self, conn: &Connection, before: Orphans) -> Result<Orphans> {
        let schema = self.read(conn)?;
        let doing = Error::doing(&self.table, "the check of foreign keys");
        Orphans::around_beyond(conn, &schema, &self.table, before).map_err(doing)
    }

    fn read(&self, conn: &Connection) -> Result<Schema> {
        Schema::read(conn).map_err(Error::doing(&self.table, "reading the schema"))
    }

    fn rebuild(
        &self,
        conn: &Connection,
        session: &mut Session<'_>,
        progress: &mut dyn FnMut(Step<'_>),
    ) -> Result<Rebuilt> {
        let schema = self.read(conn)?;
        let old = self.present(conn, &schema)?.clone();
        let name = old.name.as_str();
        let doing = |what: &str| Error::doing(name, what.to_owned());
        let about = Some(About {
            table: name,
            values: self.may_change_values(&old),
        });
        let compiled = Compiled::of(conn, &schema, about)
            .map_err(doing("compiling its views and triggers"))?;
        let stand_ins =
            StandIns::beside(conn, &schema, name).map_err(doing("standing in for collations"))?;
        let mut names = Names::rename(conn, self, &old)?;
        let schema = match self.renames.is_empty() {
            true => schema,
            false => self.read(conn)?,
        };
        let present = self.present(conn, &schema)?.clone();
        let wanted = self.wanted(&present.sql, &names)?;
        let kept = Kept::of(conn, &schema, &old).map_err(doing("reading what it has"))?;
        self.check_indexes(&schema, &names, &wanted)?;
        let rows = count(conn, &present.name).map_err(doing("counting its rows"))?;
        reached("rebuild.read");

        // Out of the way, with nothing on it that says where it was. What other
        // tables, triggers and views say of it is not touched in legacy mode.
        session
            .set("legacy_alter_table", 1)
            .map_err(doing("a setting"))?;
        for (kind, all) in [("INDEX", &kept.indexes), ("TRIGGER", &kept.triggers)] {
            for (one, _) in all {
                conn.execute_batch(&format!("DROP {kind} {}", main_name(one)))
                    .map_err(doing("dropping what is made again"))?;
            }
        }
        let unread = |source| Error::Text {
            table: name.to_owned(),
            source,
        };
        if let Some(text) = unqualified(&present.sql, name).map_err(unread)? {
            replace(conn, name, &text).map_err(doing("the passing change of its text"))?;
        }
        let moved = free_name(conn, name).map_err(doing("finding a name"))?;
        let rename = format!(
            "ALTER TABLE {} RENAME TO {}",
            main_name(name),
            quote_name(&moved)
        );
        conn.execute_batch(&rename)
            .map_err(doing("moving it out of the way"))?;
        names
            .free_rowid(conn, &moved)
            .map_err(doing("freeing a name for its rowids"))?;
        // What reads rows needs the true ones.
        stand_ins
            .end()
            .map_err(doing("taking stand-ins for collations away"))?;
        reached("rebuild.moved");
        let text = wanted.to_string();
        self.check_quoted(conn, &names, &text)?;
        conn.execute_batch(&text)
            .map_err(doing("making the new table"))?;
        let new = self.read(conn)?;
        let new = new
            .table(&self.table)
            .cloned()
            .ok_or_else(|| Error::NoSuchTable {
                table: self.table.clone(),
            })?;
        let plan = Plan::of(self, &old, &names, &new)?;
        values::check(conn, &plan, &names, &old, &moved, &new)?;
        reached("rebuild.made");

        progress(Step::Copying { rows });
        let copied = self.copy(
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
        self.check_moved(conn, &plan, &names, (&old, &moved), &new)?;
        conn.execute_batch(&format!("DROP TABLE {}", main_name(&moved)))
            .map_err(doing("dropping the old table"))?;
        kept.put_sequence(conn, &old, &new, plan.keeps_rowids(&names, &old, &new))
            .map_err(doing("keeping its counter"))?;
        reached("rebuild.dropped");

        session.sort_in_small_parts().map_err(doing("a setting"))?;
        let of = kept.indexes.len();
        for (at, (index, text)) in kept.indexes.iter().enumerate() {
            let number = at + 1;
            progress(Step::Indexing {
                name: index,
                number,
                of,
            });
            self.again(conn, "index", index, text)?;
            reached("rebuild.indexed");
        }
        for (trigger, text) in &kept.triggers {
            self.again(conn, "trigger", trigger, text)?;
        }
        reached("rebuild.triggers");

        progress(Step::Checking);
        let after = count(conn, &new.name).map_err(doing("counting the new rows"))?;
        if after != rows {
            return Err(lost(after));
        }
        let schema = self.read(conn)?;
        kept.put_statistics(conn, &schema, &new)
            .map_err(doing("keeping its statistics"))?;
        let now = Compiled::of(conn, &schema, about)
            .map_err(doing("compiling its views and triggers"))?;
        if let Some((what, message)) = compiled.broken(&now, &Compiled::default()) {
            return Err(Error::Breaks {
                table: name.to_owned(),
                message: names.told(&message),
                what,
            });
        }
        Ok(Rebuilt {
            table: new.name,
            rows,
            indexes: kept.indexes.len(),
            triggers: kept.triggers.len(),
            mismatches: Vec::new(),
        })
    }

    fn again(&self, conn: &Connection, kind: &str, name: &str, text: &str) -> Result<()> {
        conn.execute_batch(text).map_err(|source| Error::Sqlite {
            table: self.table.clone(),
            doing: format!("making the {kind} {name} again"),
            source: Box::new(source),
            mend: format!(
                "; DROP {} {} before the rebuild, and create what you want instead after it",
                kind.to_ascii_uppercase(),
                quote_name(name)
            ),
        })
    }
}

fn count(conn: &Connection, table: &str) -> rusqlite::Result<u64> {
    let sql = format!("SELECT count(*) FROM {}", main_name(table));
    conn.query_row(&sql, [], |row| row.get(0))
        .map(i64::unsigned_abs)
}
