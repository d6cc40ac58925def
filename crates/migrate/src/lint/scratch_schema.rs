//! The schema in memory, without rows, to which statements are applied as they
//! are judged.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::{Connection, ErrorCode};

use super::effect::Effect;
use crate::files::{run_rebuild, temporary};
use crate::schema::Schema;
use crate::sql::{Kind, Statement, quote_name, tokens, unquote_name};

/// Instructions of SQLite's machine between two counts …
const STEP: i32 = 1_000;
/// … and how many counts a statement may take, which is a second or so: a table
/// made of a SELECT may have rows without end.
const STEPS: u64 = 50_000;

pub(super) struct ScratchSchema {
    conn: Connection,
    /// What the statement has taken so far.
    steps: Arc<AtomicU64>,
    /// What could not be copied, as it needs a module or a function of the
    /// app's own: of statements that name it nothing is said.
    blind: HashSet<String>,
}

impl ScratchSchema {
    /// As `live`, or with nothing in it.
    pub(super) fn new(live: Option<&Connection>) -> rusqlite::Result<Self> {
        let conn = Connection::open_in_memory()?;
        // As files with a rebuild run; rows that could cascade there are none.
        conn.pragma_update(None, "foreign_keys", false)?;
        let mut world = Self {
            conn,
            steps: Arc::default(),
            blind: HashSet::new(),
        };
        let steps = Arc::clone(&world.steps);
        let is_enough = move || steps.fetch_add(1, Ordering::Relaxed) >= STEPS;
        world.conn.progress_handler(STEP, Some(is_enough))?;
        if let Some(live) = live {
            world.copy(live)?;
        }
        Ok(world)
    }

    fn copy(&mut self, live: &Connection) -> rusqlite::Result<()> {
        // Virtual tables bring their shadows; views and triggers see all.
        let mut objects = live.prepare(
            "SELECT s.name, s.sql FROM main.sqlite_schema s
             LEFT JOIN pragma_table_list(s.name) l ON s.type = 'table' AND l.schema = 'main'
             WHERE s.sql IS NOT NULL AND s.name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
               AND coalesce(l.type, '') <> 'shadow'
             ORDER BY CASE s.type WHEN 'table' THEN 0 WHEN 'index' THEN 1 WHEN 'view' THEN 2 ELSE 3 END, s.rowid",
        )?;
        let mut rows = objects.query([])?;
        while let Some(row) = rows.next()? {
            let (name, sql): (String, String) = (row.get(0)?, row.get(1)?);
            if self.conn.execute_batch(&sql).is_err() {
                self.blind.insert(name.to_ascii_lowercase());
            }
        }
        Ok(())
    }

    pub(super) fn schema(&self) -> rusqlite::Result<Schema> {
        Schema::read(&self.conn)
    }

    /// The columns of a view; none if there is no such view, or it cannot be
    /// read.
    pub(super) fn columns(&self, view: &str) -> Vec<String> {
        let read = || {
            let mut all = self
                .conn
                .prepare("SELECT name FROM pragma_table_xinfo(?1, 'main')")?;
            let all = all.query_map([view], |row| row.get(0))?;
            all.collect::<rusqlite::Result<_>>()
        };
        read().unwrap_or_default()
    }

    /// The columns of a table that rows are read with, a temporary one's too.
    pub(super) fn readable(&self, table: &str) -> Vec<String> {
        self.columns_but(table, "hidden = 1")
    }

    /// The columns of a table that rows are written with.
    pub(super) fn writable(&self, table: &str) -> Vec<String> {
        self.columns_but(table, "hidden > 0")
    }

    fn columns_but(&self, table: &str, which: &str) -> Vec<String> {
        let read = || {
            let sql = format!("SELECT name FROM pragma_table_xinfo(?1) WHERE NOT {which}");
            let mut all = self.conn.prepare(&sql)?;
            let all = all.query_map([table], |row| row.get(0))?;
            all.collect::<rusqlite::Result<_>>()
        };
        read().unwrap_or_default()
    }

    /// What a statement makes, if that needs nothing else.
    pub(super) fn make(&self, sql: &str) -> Option<()> {
        self.conn.execute_batch(sql).ok()
    }

    /// What is temporary, as `table x`.
    pub(super) fn temporary(&self) -> rusqlite::Result<Vec<String>> {
        temporary(&self.conn)
    }

    /// Away with what is.
    pub(super) fn forget_temporary(&self) {
        for kind in ["trigger", "view", "table"] {
            for one in self.temporary().unwrap_or_default() {
                if let Some(name) = one.strip_prefix(&format!("{kind} ")) {
                    let name = quote_name(name);
                    // What is left is judged once more.
                    let _ = self.conn.execute_batch(&format!("DROP {kind} temp.{name}"));
                }
            }
        }
    }

    /// What is refused of the statement, if it is.
    pub(super) fn apply(&mut self, statement: &Statement, op: &Effect) -> Option<String> {
        self.steps.store(0, Ordering::Relaxed);
        let refused = match statement.kind {
            Kind::Rebuild => self.rebuild(&statement.sql).err(),
            Kind::Sqlite => match self.execute(&statement.sql, op) {
                Err(error)
                    if error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) =>
                {
                    if let Effect::CreateTable { name, .. } = op {
                        self.blind.insert(name.to_ascii_lowercase());
                    }
                    None
                }
                done => done.err().map(|error| said(&error, &statement.sql)),
            },
        };
        refused.filter(|_| !self.is_blind(statement))
    }

    fn rebuild(&self, sql: &str) -> Result<(), String> {
        run_rebuild(&self.conn, sql).map_err(|error| error.to_string())
    }

    /// Statements about rows are compiled only: without the rows they would
    /// meet other errors than with them.
    fn execute(&self, sql: &str, op: &Effect) -> rusqlite::Result<()> {
        let mut statement = self.conn.prepare(sql)?;
        if !op.is_about_rows() {
            let mut rows = statement.raw_query();
            while rows.next()?.is_some() {}
        }
        Ok(())
    }

    fn is_blind(&self, statement: &Statement) -> bool {
        if self.blind.is_empty() {
            return false;
        }
        let words = tokens(&statement.sql).unwrap_or_default();
        words.iter().any(|token| {
            let name = unquote_name(token.text(&statement.sql));
            self.blind.contains(&name.to_ascii_lowercase())
        })
    }
}

/// SQLite's words; some builds of rusqlite say the statement again.
fn said(error: &rusqlite::Error, sql: &str) -> String {
    let said = error.to_string();
    match said.find(&format!(" in {sql}")) {
        Some(at) => said[..at].to_owned(),
        None => said,
    }
}
