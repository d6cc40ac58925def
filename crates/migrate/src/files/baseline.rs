//! Files that a database has already, called applied.

use rusqlite::Connection;

use super::differs::differences;
use super::error::{Error, Result};
use super::record::{Applied, applied, record};
use super::set::Migrations;
use super::up::{Options, up};

/// What is called applied.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Baseline {
    /// Up to this number. Default: the newest.
    pub to: Option<u32>,
    /// Though the database is not what the files make.
    pub force: bool,
    /// What time it is, in milliseconds since 1970.
    pub now_ms: i64,
}

/// Records files as applied without running them, for a database whose tables
/// were made by other means. The files are tried on an empty database in
/// memory: they must make what is there, but for the spelling.
///
/// # Errors
/// There are records already, no such file, or the database differs from what
/// the files make ([`Error::Differs`]). Nothing is recorded then.
pub fn baseline(
    conn: &Connection,
    migrations: &Migrations,
    how: &Baseline,
) -> Result<Vec<Applied>> {
    let newest = migrations.newest();
    let to = how.to.unwrap_or(newest);
    let Some(last) = migrations.get(to) else {
        return Err(Error::NoSuch {
            version: to,
            newest,
        });
    };
    migrations.check()?;
    if !conn.is_autocommit() {
        return Err(Error::InTransaction);
    }
    let made = Connection::open_in_memory().map_err(Error::sqlite("open a database in memory"))?;
    let mut options = Options::at(how.now_ms);
    options.to = Some(to);
    let differences = match up(&made, migrations, &options, &mut |_| {}) {
        Ok(_) => differences(conn, &made)?,
        // It may need rows to run.
        Err(error) => vec![format!(
            "they cannot be tried on an empty database: {error}"
        )],
    };
    if !differences.is_empty() && !how.force {
        let file = last.file_name();
        return Err(Error::Differs { file, differences });
    }
    let recording = Error::sqlite("record the baseline");
    conn.execute_batch("BEGIN IMMEDIATE").map_err(&recording)?;
    let result = all(conn, migrations, to, how.now_ms).and_then(|all| {
        conn.execute_batch("COMMIT").map_err(&recording)?;
        Ok(all)
    });
    if result.is_err() {
        // Refused only where SQLite has rolled back by itself.
        let _ = conn.execute_batch("ROLLBACK");
    }
    result
}

fn all(conn: &Connection, migrations: &Migrations, to: u32, now_ms: i64) -> Result<Vec<Applied>> {
    if let Some(newest) = applied(conn)?.pop() {
        return Err(Error::HasRecords { name: newest.name });
    }
    let files = migrations.files().iter();
    files
        .take_while(|file| file.version() <= to)
        .map(|file| record(conn, file, now_ms, None))
        .collect()
}
