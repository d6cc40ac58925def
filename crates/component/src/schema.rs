//! Tables with a version.

use rusqlite::{Connection, OptionalExtension};

/// The tables of one component, and the SQL that upgrades them.
///
/// ```
/// # use monolite_component::Schema;
/// const VISITS: Schema = Schema {
///     component: "visits",
///     versions: &["CREATE TABLE _monolite_visit (path TEXT NOT NULL) STRICT"],
/// };
/// let conn = rusqlite::Connection::open_in_memory().unwrap();
/// VISITS.install(&conn).unwrap();
/// VISITS.install(&conn).unwrap(); // Nothing to do.
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Schema {
    /// Its name in `_monolite_schema`.
    pub component: &'static str,
    /// The SQL of each version: the first creates the tables, each later one
    /// upgrades them. A released version is never edited.
    pub versions: &'static [&'static str],
}

/// Why the tables could not be created or upgraded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SchemaError {
    /// A newer program has upgraded the tables.
    #[error(
        "the {component} tables are of version {found}, this program knows {known}: run the newer program, or restore a backup from before it"
    )]
    Newer {
        /// Whose tables.
        component: &'static str,
        /// The version in the file.
        found: i64,
        /// The newest this program knows.
        known: i64,
    },
    /// SQLite refused.
    #[error("cannot create or upgrade the {component} tables: {source}")]
    Sqlite {
        /// Whose tables.
        component: &'static str,
        /// SQLite's answer.
        source: rusqlite::Error,
    },
}

impl Schema {
    /// Brings the tables to the newest version, atomically. Works inside an open
    /// transaction as well as outside of one.
    ///
    /// # Errors
    /// [`SchemaError`]; nothing was changed.
    pub fn install(&self, conn: &Connection) -> Result<(), SchemaError> {
        let sqlite = |source| SchemaError::Sqlite {
            component: self.component,
            source,
        };
        // Most often there is nothing to do, and no write lock is needed.
        if self.version(conn).map_err(sqlite)? == self.newest() {
            return Ok(());
        }
        // IMMEDIATE: a read transaction that begins to write is refused at once
        // if another process has written meanwhile.
        let (begin, commit, back) = if conn.is_autocommit() {
            ("BEGIN IMMEDIATE", "COMMIT", "ROLLBACK")
        } else {
            (
                "SAVEPOINT _monolite_install",
                "RELEASE _monolite_install",
                "ROLLBACK TO _monolite_install; RELEASE _monolite_install",
            )
        };
        conn.execute_batch(begin).map_err(sqlite)?;
        let result = self
            .upgrade(conn)
            .and_then(|()| conn.execute_batch(commit).map_err(sqlite));
        if result.is_err() {
            // It fails only where SQLite has rolled back by itself.
            let _ = conn.execute_batch(back);
        }
        result
    }

    fn upgrade(&self, conn: &Connection) -> Result<(), SchemaError> {
        let sqlite = |source| SchemaError::Sqlite {
            component: self.component,
            source,
        };
        // Read again: another process may have upgraded meanwhile.
        let found = self.version(conn).map_err(sqlite)?;
        let known = self.newest();
        if found > known {
            return Err(SchemaError::Newer {
                component: self.component,
                found,
                known,
            });
        }
        for version in self
            .versions
            .iter()
            .skip(usize::try_from(found).unwrap_or(0))
        {
            conn.execute_batch(version).map_err(sqlite)?;
        }
        conn.execute_batch(
            "CREATE TABLE IF NOT EXISTS _monolite_schema (
                 component TEXT PRIMARY KEY,
                 version INTEGER NOT NULL
             ) STRICT, WITHOUT ROWID",
        )
        .map_err(sqlite)?;
        conn.execute(
            "INSERT INTO _monolite_schema VALUES (?1, ?2)
             ON CONFLICT DO UPDATE SET version = excluded.version",
            (self.component, known),
        )
        .map_err(sqlite)?;
        Ok(())
    }

    fn newest(&self) -> i64 {
        i64::try_from(self.versions.len()).unwrap_or(i64::MAX)
    }

    /// The version in the file; 0 where there is none.
    fn version(&self, conn: &Connection) -> rusqlite::Result<i64> {
        let there: bool = conn.query_row(
            "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = '_monolite_schema')",
            [],
            |row| row.get(0),
        )?;
        if !there {
            return Ok(0);
        }
        let version = conn.query_row(
            "SELECT version FROM _monolite_schema WHERE component = ?1",
            [self.component],
            |row| row.get(0),
        );
        Ok(version.optional()?.unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "CREATE TABLE _monolite_a (x)";
    const TWO: &str = "ALTER TABLE _monolite_a ADD COLUMN y; CREATE TABLE _monolite_b (z)";

    fn schema(versions: &'static [&'static str]) -> Schema {
        Schema {
            component: "test",
            versions,
        }
    }

    #[test]
    fn each_version_runs_once_and_in_order() {
        let conn = Connection::open_in_memory().unwrap();
        schema(&[ONE]).install(&conn).unwrap();
        schema(&[ONE, TWO]).install(&conn).unwrap();
        schema(&[ONE, TWO]).install(&conn).unwrap();
        conn.execute("INSERT INTO _monolite_a (x, y) VALUES (1, 2)", [])
            .unwrap();
    }

    #[test]
    fn a_newer_file_is_refused_by_name() {
        let conn = Connection::open_in_memory().unwrap();
        schema(&[ONE, TWO]).install(&conn).unwrap();
        let error = schema(&[ONE]).install(&conn).unwrap_err();
        assert!(matches!(
            error,
            SchemaError::Newer {
                found: 2,
                known: 1,
                ..
            }
        ));
    }

    #[test]
    fn a_failed_version_leaves_nothing_and_keeps_the_callers_work() {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch("CREATE TABLE mine (x); BEGIN; INSERT INTO mine VALUES (1)")
            .unwrap();
        let broken = schema(&[ONE, "CREATE TABLE _monolite_c (x); no SQL"]);
        assert!(broken.install(&conn).is_err());
        conn.execute_batch("COMMIT").unwrap();
        let tables: i64 = conn
            .query_row(
                "SELECT count(*) FROM sqlite_schema WHERE name LIKE '_monolite%'",
                [],
                |row| row.get(0),
            )
            .unwrap();
        let mine: i64 = conn
            .query_row("SELECT count(*) FROM mine", [], |row| row.get(0))
            .unwrap();
        assert_eq!((tables, mine), (0, 1));
        assert!(broken.install(&conn).is_err());
        assert!(conn.is_autocommit());
    }
}
