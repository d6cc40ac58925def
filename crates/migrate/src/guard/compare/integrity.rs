//! SQLite's own search for damage.

use rusqlite::Connection;

use super::super::error::{Error, Result};
use super::super::facts::{Facts, TableKind};
use super::super::news::Tell;
use super::super::report::{Kind, Loss};
use super::super::tree::Touched;
use crate::sql::quote_name;

/// Findings of a database that are told.
const FINDINGS: usize = 10;

/// Looks at the tables that changed.
pub(super) fn changed(
    conn: &Connection,
    after: &Facts,
    touched: &Touched,
    notes: &mut Vec<String>,
) -> Result<Vec<Loss>> {
    let tables = match touched {
        // Everything at once is less to read than each on its own.
        Touched::Any => return look(conn, "quick_check", None, notes),
        Touched::Roots(_) => after.tables.values(),
    };
    let mut losses = Vec::new();
    for table in tables {
        let concerned = touched.has(table.root) && table.kind != TableKind::Virtual;
        if concerned {
            losses.extend(look(conn, "quick_check", Some(&table.name), notes)?);
        }
    }
    Ok(losses)
}

/// Looks at everything.
pub(super) fn whole(
    conn: &Connection,
    notes: &mut Vec<String>,
    tell: &Tell<'_>,
) -> Result<Vec<Loss>> {
    tell.step("checking", None);
    look(conn, "integrity_check", None, notes)
}

fn look(
    conn: &Connection,
    check: &str,
    table: Option<&str>,
    notes: &mut Vec<String>,
) -> Result<Vec<Loss>> {
    let at = |error| Error::sqlite("check", conn, error);
    let now = findings(conn, "main", check, table).map_err(at)?;
    if now.is_empty() {
        return Ok(Vec::new());
    }
    // It was there before, so the migration is not to blame.
    let had = findings(conn, "before", check, table).unwrap_or_default();
    let (old, new): (Vec<_>, Vec<_>) = now.into_iter().partition(|one| had.contains(one));
    let of = table.map(|table| format!("{table}: ")).unwrap_or_default();
    let old = old.iter().take(FINDINGS);
    notes.extend(old.map(|one| format!("{of}damaged before the migration already: {one}")));
    let losses = new.into_iter().take(FINDINGS);
    Ok(losses
        .map(|one| Loss::new(Kind::Integrity, table, None).saying(one))
        .collect())
}

fn findings(
    conn: &Connection,
    schema: &str,
    check: &str,
    table: Option<&str>,
) -> rusqlite::Result<Vec<String>> {
    let of = match table {
        Some(table) => quote_name(table),
        None => "100".into(),
    };
    let mut statement = conn.prepare(&format!("PRAGMA {schema}.{check}({of})"))?;
    let mut rows = statement.query([])?;
    let mut findings = Vec::new();
    while let Some(row) = rows.next()? {
        let text: String = row.get(0)?;
        // Which of the two it is, is known.
        let lines = text
            .lines()
            .filter(|line| !line.starts_with("*** in database"));
        findings.extend(lines.map(str::to_owned));
    }
    findings.retain(|one| one != "ok");
    Ok(findings)
}
