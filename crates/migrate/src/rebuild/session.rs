//! The transaction of a rebuild, and the settings it needs.

use rusqlite::Connection;

use super::{Error, Rebuild, Result};

/// Cache size while indexes are built, in KiB: SQLite's default.
const SORT_CACHE_KIB: i64 = 2000;

/// A transaction without foreign keys, or a savepoint in the caller's, with the settings
/// that a rebuild needs. Drop without commit rolls back; drop restores the settings.
pub(super) struct Session<'c> {
    conn: &'c Connection,
    /// Whether the transaction is the session's own, not the caller's.
    own: bool,
    foreign_keys: bool,
    settings: Vec<(&'static str, i64)>,
    done: bool,
}

impl<'c> Session<'c> {
    pub(super) fn begin(conn: &'c Connection, rebuild: &Rebuild) -> Result<Self> {
        let table = &rebuild.table;
        let begin = |source| Error::doing(table, "the beginning of the transaction")(source);
        let foreign_keys = get(conn, "foreign_keys").map_err(begin)? != 0;
        let own = conn.is_autocommit();
        let refused = || Error::ForeignKeysOn {
            table: table.clone(),
        };
        if !own && foreign_keys {
            return Err(refused());
        }
        let mut session = Self {
            conn,
            own: false,
            foreign_keys,
            settings: Vec::new(),
            done: false,
        };
        if own && foreign_keys {
            set(conn, "foreign_keys", 0).map_err(begin)?;
            // SQLite may be built so that the setting cannot be changed.
            if get(conn, "foreign_keys").map_err(begin)? != 0 {
                return Err(refused());
            }
        }
        // In an own transaction a savepoint would only cost: SQLite journals pages for
        // it a second time.
        conn.execute_batch(if own {
            "BEGIN IMMEDIATE"
        } else {
            "SAVEPOINT _monolite_rebuild"
        })
        .map_err(begin)?;
        session.own = own;
        for (name, value) in [
            ("ignore_check_constraints", 0),
            ("reverse_unordered_selects", 0),
            ("threads", i64::from(rebuild.threads)),
            ("legacy_alter_table", 0),
        ] {
            session.set(name, value).map_err(begin)?;
        }
        Ok(session)
    }

    /// Whether the transaction is its own; otherwise the caller commits.
    pub(super) fn is_own(&self) -> bool {
        self.own
    }

    /// Changes a setting until drop.
    pub(super) fn set(&mut self, name: &'static str, value: i64) -> rusqlite::Result<()> {
        let was = get(self.conn, name)?;
        self.settings.push((name, was));
        set(self.conn, name, value)
    }

    /// The size of the page cache bounds the parts that SQLite sorts before it merges
    /// them: parts that fit a processor's cache are sorted faster.
    pub(super) fn sort_in_small_parts(&mut self) -> rusqlite::Result<()> {
        self.set("main.cache_size", -SORT_CACHE_KIB)
    }

    /// Rolls back to the beginning, for another try.
    pub(super) fn restart(&self) -> rusqlite::Result<()> {
        self.conn.execute_batch(match self.own {
            true => "ROLLBACK; BEGIN IMMEDIATE",
            false => "ROLLBACK TO _monolite_rebuild",
        })
    }

    pub(super) fn commit(mut self, table: &str) -> Result<()> {
        let end = if self.own {
            "COMMIT"
        } else {
            "RELEASE _monolite_rebuild"
        };
        self.conn
            .execute_batch(end)
            .map_err(Error::doing(table, "the commit"))?;
        self.done = true;
        Ok(())
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        // An error here follows one that the caller gets.
        if !self.done && !self.conn.is_autocommit() {
            let undo = if self.own {
                "ROLLBACK"
            } else {
                "ROLLBACK TO _monolite_rebuild; RELEASE _monolite_rebuild"
            };
            let _ = self.conn.execute_batch(undo);
        }
        for (name, value) in self.settings.drain(..).rev() {
            let _ = set(self.conn, name, value);
        }
        if self.foreign_keys {
            let _ = set(self.conn, "foreign_keys", 1);
        }
    }
}

fn get(conn: &Connection, name: &str) -> rusqlite::Result<i64> {
    conn.query_row(&format!("PRAGMA {name}"), [], |row| row.get(0))
}

fn set(conn: &Connection, name: &str, value: i64) -> rusqlite::Result<()> {
    let mut statement = conn.prepare(&format!("PRAGMA {name} = {value}"))?;
    let mut rows = statement.query([])?;
    while rows.next()?.is_some() {}
    Ok(())
}
