//! An empty copy of the schema in memory, to which the statements are applied.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::{Connection, ErrorCode};

use super::effect::Effect;
use crate::files::{run_rebuild, sqlite_message, temporary};
use crate::schema::Schema;
use crate::sql::{Kind, Statement, quote_name, tokens, unquote_name};

/// SQLite's virtual machine instructions between two calls of the progress handler.
const INSTRUCTIONS_PER_CALL: i32 = 1_000;
/// Most such calls per statement, about one second: a recursive `SELECT` in a
/// `CREATE TABLE … AS` may have no end.
const CALLS_MAX: u64 = 50_000;

pub(super) struct ScratchSchema {
    conn: Connection,
    /// Calls of the progress handler in this statement.
    calls: Arc<AtomicU64>,
    /// Names of objects that could not be created here, as they need a module or
    /// function of the app: errors of statements that name them are not reported.
    unknown: HashSet<String>,
}

impl ScratchSchema {
    /// A copy of the schema of `live`, or an empty one.
    pub(super) fn new(live: Option<&Connection>) -> rusqlite::Result<Self> {
        let conn = Connection::open_in_memory()?;
        // As in files with a rebuild; without rows nothing can cascade.
        conn.pragma_update(None, "foreign_keys", false)?;
        let mut scratch = Self {
            conn,
            calls: Arc::default(),
            unknown: HashSet::new(),
        };
        let calls = Arc::clone(&scratch.calls);
        let is_enough = move || calls.fetch_add(1, Ordering::Relaxed) >= CALLS_MAX;
        scratch
            .conn
            .progress_handler(INSTRUCTIONS_PER_CALL, Some(is_enough))?;
        if let Some(live) = live {
            scratch.copy(live)?;
        }
        Ok(scratch)
    }

    fn copy(&mut self, live: &Connection) -> rusqlite::Result<()> {
        // Virtual tables create their shadow tables; views and triggers come last, as
        // they may name anything.
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
                self.unknown.insert(name.to_ascii_lowercase());
            }
        }
        Ok(())
    }

    pub(super) fn schema(&self) -> rusqlite::Result<Schema> {
        Schema::read(&self.conn)
    }

    /// The columns of a view; empty if there is no such view, or it does not compile.
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

    /// The columns that `SELECT *` reads from a table, temporary or not.
    pub(super) fn readable(&self, table: &str) -> Vec<String> {
        self.columns_but(table, "hidden = 1")
    }

    /// The columns that `INSERT` without a list of columns writes.
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

    /// Whether each column of a table is one of its primary key.
    pub(super) fn is_all_key(&self, table: &str) -> bool {
        let sql = "SELECT count(*) > 0 AND min(pk) > 0 FROM pragma_table_xinfo(?1)";
        let is = self.conn.query_row(sql, [table], |row| row.get(0));
        is.unwrap_or(false)
    }

    /// Runs a statement; `None` if it fails.
    pub(super) fn make(&self, sql: &str) -> Option<()> {
        self.conn.execute_batch(sql).ok()
    }

    /// Temporary objects, as `table x`.
    pub(super) fn temporary(&self) -> rusqlite::Result<Vec<String>> {
        temporary(&self.conn)
    }

    /// Drops all temporary objects.
    pub(super) fn forget_temporary(&self) {
        for kind in ["trigger", "view", "table"] {
            for one in self.temporary().unwrap_or_default() {
                if let Some(name) = one.strip_prefix(&format!("{kind} ")) {
                    let name = quote_name(name);
                    // One that remains is reported for the next file again.
                    let _ = self.conn.execute_batch(&format!("DROP {kind} temp.{name}"));
                }
            }
        }
    }

    /// Applies a statement; the error, if it fails.
    pub(super) fn apply(&mut self, statement: &Statement, effect: &Effect) -> Option<String> {
        self.calls.store(0, Ordering::Relaxed);
        let refused = match statement.kind {
            Kind::Rebuild => self.rebuild(&statement.sql).err(),
            Kind::Sqlite => match self.execute(&statement.sql, effect) {
                Err(error)
                    if error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) =>
                {
                    if let Effect::CreateTable { name, .. } = effect {
                        self.unknown.insert(name.to_ascii_lowercase());
                    }
                    None
                }
                done => done
                    .err()
                    .map(|error| sqlite_message(&error, &statement.sql)),
            },
        };
        refused.filter(|_| !self.names_unknown(statement))
    }

    fn rebuild(&self, sql: &str) -> Result<(), String> {
        run_rebuild(&self.conn, sql).map_err(|error| error.to_string())
    }

    /// Statements about rows are only compiled: without rows they would fail, or
    /// not, for other reasons than in the database.
    fn execute(&self, sql: &str, effect: &Effect) -> rusqlite::Result<()> {
        let mut statement = self.conn.prepare(sql)?;
        if !effect.is_about_rows() {
            let mut rows = statement.raw_query();
            while rows.next()?.is_some() {}
        }
        Ok(())
    }

    fn names_unknown(&self, statement: &Statement) -> bool {
        if self.unknown.is_empty() {
            return false;
        }
        let words = tokens(&statement.sql).unwrap_or_default();
        words.iter().any(|token| {
            let name = unquote_name(token.text(&statement.sql));
            self.unknown.contains(&name.to_ascii_lowercase())
        })
    }
}
