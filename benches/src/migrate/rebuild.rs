//! A table of a million rows and three indexes, rebuilt: beside what any way has
//! to do at least, and beside Rails and sqlite-utils.

use std::path::Path;
use std::time::Instant;

use monolite_migrate::rebuild::Rebuild;
use rusqlite::Connection;

use super::peers;
use crate::place;
use crate::report::Report;
use crate::rounds::{Pace, Samples};

const COLUMNS: &str = "\"id\" INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, \"owner_id\" integer NOT NULL, \
    \"name\" {name}, \"body\" text, \"score\" float, \"created_at\" datetime";
const INDEXES: [(&str, &str); 3] = [
    ("index_item_on_owner_id", "(\"owner_id\")"),
    ("index_item_on_name", "(\"name\")"),
    ("index_item_on_created_at", "(\"created_at\", \"score\")"),
];

pub(super) fn run(pace: Pace, rows: u32, report: &mut Report) -> anyhow::Result<()> {
    peers::rails()?;
    let python = peers::python()?;
    let dir = place::scratch()?;
    let made = dir.path().join("made.sqlite3");
    make(&made, rows)?;
    let [
        mut ours,
        mut bare,
        mut rails,
        mut utils,
        mut same,
        mut moved,
    ] = [(); 6].map(|()| Samples::default());
    for _ in 0..pace.rounds {
        let file = || copy(&made, &dir.path().join("turn.sqlite3"));
        bare.push(timed(&file()?, |conn| {
            self::bare(conn, "varchar(255) DEFAULT '' NOT NULL", false)
        })?);
        ours.push(timed(&file()?, |conn| {
            let rebuild = Rebuild::table("item").column("name", |name| {
                name.type_("varchar(255)").default("''").not_null(true)
            });
            let rebuilt = rebuild.run(conn)?;
            anyhow::ensure!(rebuilt.rows == u64::from(rows), "{rebuilt:?}");
            Ok(())
        })?);
        rails.push(peers::change_column(&file()?)?);
        utils.push(peers::transform(&python, &file()?)?);
        same.push(timed(&file()?, |conn| {
            let rebuild = Rebuild::table("item").column("name", |name| name.type_("varchar(255)"));
            rebuild.run(conn)?;
            Ok(())
        })?);
        moved.push(timed(&file()?, |conn| {
            self::bare(conn, "varchar(255)", true)
        })?);
    }
    let case = format!("rebuild of {rows} rows with 3 indexes (lower is better)");
    let ours = ours.median();
    let least = "INSERT … SELECT and indexes";
    report
        .versus(&case, "s", ours, least, bare.median())
        .wanted("<= 1.3");
    report.versus(&case, "s", ours, "Rails 6.1 change_column", rails.median());
    report.versus(&case, "s", ours, "sqlite-utils transform", utils.median());
    let case = format!("the same, records as they are ({rows} rows, lower is better)");
    report.versus(
        &case,
        "s",
        same.median(),
        format!("{least}, SELECT *"),
        moved.median(),
    );
    Ok(())
}

/// What no way can do without.
fn bare(conn: &Connection, name: &str, whole: bool) -> anyhow::Result<()> {
    let columns = "\"id\", \"owner_id\", \"name\", \"body\", \"score\", \"created_at\"";
    let (into, from) = match whole {
        true => (String::new(), "*"),
        false => (format!("({columns})"), columns),
    };
    conn.execute_batch("BEGIN IMMEDIATE")?;
    conn.execute_batch(&format!(
        "CREATE TABLE fresh ({})",
        COLUMNS.replace("{name}", name)
    ))?;
    conn.execute_batch(&format!("INSERT INTO fresh {into} SELECT {from} FROM item"))?;
    for (index, columns) in INDEXES {
        conn.execute_batch(&format!("CREATE INDEX fresh_{index} ON fresh {columns}"))?;
    }
    conn.execute_batch("COMMIT")?;
    Ok(())
}

fn timed(path: &Path, work: impl FnOnce(&Connection) -> anyhow::Result<()>) -> anyhow::Result<f64> {
    let conn = Connection::open(path)?;
    conn.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    let started = Instant::now();
    work(&conn)?;
    Ok(started.elapsed().as_secs_f64())
}

fn make(path: &Path, rows: u32) -> anyhow::Result<()> {
    let conn = Connection::open(path)?;
    conn.pragma_update(None, "journal_mode", "WAL")?;
    conn.execute_batch(&format!(
        "CREATE TABLE item ({})",
        COLUMNS.replace("{name}", "varchar(40)")
    ))?;
    conn.execute(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
         INSERT INTO item SELECT i, (i * 7919) % 10007, 'item ' || (i * 104729) % 1000003,
             hex(randomblob(30)), ((i * 31) % 1000) / 10.0,
             datetime(1700000000 + (i * 15485863) % 100000000, 'unixepoch') FROM n",
        [rows],
    )?;
    for (index, columns) in INDEXES {
        conn.execute_batch(&format!("CREATE INDEX {index} ON item {columns}"))?;
    }
    conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    Ok(())
}

/// A database of its own for each turn, in the cache of the system.
fn copy(from: &Path, to: &Path) -> anyhow::Result<std::path::PathBuf> {
    for suffix in ["-wal", "-shm"] {
        let mut name = to.as_os_str().to_owned();
        name.push(suffix);
        let _ = std::fs::remove_file(name);
    }
    std::fs::copy(from, to)?;
    std::fs::File::open(to)?.sync_all()?;
    Ok(to.to_owned())
}
