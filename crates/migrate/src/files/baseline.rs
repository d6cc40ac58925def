//! Files that a database has already, called applied.

use rusqlite::Connection;

use super::error::{Error, Result};
use super::record::{Applied, TABLE, applied, record};
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
/// memory: they must make what is there.
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
        Ok(_) => {
            let read = Error::sqlite("compare the database with what the migrations make");
            let live = columns(conn).map_err(&read)?;
            differences(&live, &columns(&made).map_err(&read)?)
        }
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

/// Each column, index, trigger and view, as people name them.
fn columns(conn: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut all = conn.prepare(
        "SELECT CASE s.type
                WHEN 'table' THEN 'the column ' || s.name || '.' || c.name
                     || rtrim(' ' || upper(c.type)) || iif(c.\"notnull\", ' NOT NULL', '')
                ELSE 'the ' || s.type || ' ' || s.name END
         FROM sqlite_schema s LEFT JOIN pragma_table_xinfo(s.name) c ON s.type = 'table'
         WHERE s.name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND s.name NOT LIKE '\\_monolite\\_%' ESCAPE '\\'
           AND s.tbl_name <> ?1
         ORDER BY 1",
    )?;
    let all = all.query_map([TABLE], |row| row.get(0))?;
    all.collect()
}

/// What is named in an error; the rest is counted.
const SHOWN: usize = 8;

fn differences(live: &[String], made: &[String]) -> Vec<String> {
    let missing = made.iter().filter(|one| !live.contains(one));
    let extra = live.iter().filter(|one| !made.contains(one));
    let missing = missing.map(|one| format!("it has not {one}"));
    let mut all: Vec<String> = missing
        .chain(extra.map(|one| format!("they do not make {one}")))
        .collect();
    let more = all.len().saturating_sub(SHOWN);
    if more > 0 {
        all.truncate(SHOWN);
        all.push(format!("and {more} more"));
    }
    all
}
