//! Compares a database after a migration with its snapshot from before it.
//!
//! One read transaction sees one state of the live file; the snapshot is attached as it is, since
//! nobody writes it. First all pages are compared; a table whose tree has no changed page is the
//! same and is not read again.
//!
//! # What is a loss
//! - **A certain loss** is what can be told from an honest change without guessing: rows whose key is
//!   gone; a row under the key of another; values that are NULL, blank, cut, rounded, all one, in
//!   another column or in other rows; a key that other rows refer to and that stands for another row;
//!   constraints that nothing implies or replaces. It is refused.
//! - **A change** is what keeps everything that can be told apart (another case or format, a code for
//!   each value), what is elsewhere now ([`moved`]), what only few values show, and rows that came. It
//!   is reported, with an example and the number of different values before and after.
//! - **No difference**: a value in another type, NULL for a blank text, rows in another order.
//!
//! # How it is found
//! [`scan`] reads both sides of a table once, in the order of their key, and looks nothing up. What it
//! keeps is bounded whatever the number of rows: for each column counters ([`mod@column`]), a sample of
//! which value became which ([`sample`], exact up to its bound), and a sample of the rows that are not
//! as they were. [`rows`] decides from that. [`links`] asks what refers to rows with other keys, and
//! [`moved`] where data is that would be a loss: only these two look values up, only when something
//! seems lost.

mod bookkeeping;
mod broken;
mod column;
mod contents;
mod definitions;
mod foreign;
mod integrity;
mod key;
mod links;
mod matches;
mod moved;
mod recreation;
mod rows;
mod sample;
mod scan;
mod sides;
mod table_data;
mod trouble;
mod value;
mod values;
mod violations;
mod virtuals;

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use crate::error::{Error, Result};
use crate::pages::{self, Changed, Checksums, Database};
use crate::progress::DatabaseProgress;
use crate::report::{Kind, Loss, Report};
use crate::tree::{self, Touched};
use matches::Both;
use monolite_migrate::schema::stand_in_collations;
use monolite_migrate::schema::{Schema, TableKind};
use recreation::Look;
use trouble::Trouble;

/// How thoroughly SQLite looks for damage after a migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Depth {
    /// Not at all.
    None,
    /// `quick_check` of the tables that changed.
    #[default]
    Quick,
    /// `integrity_check` of everything.
    Full,
}

/// What a migration did to the database at `live`, whose state before it is
/// the file `before`: a plain database that nobody writes.
///
/// Blocking. The live database is only read, in one transaction; others may
/// read and, in WAL mode, write it meanwhile.
///
/// # Errors
/// One of the two cannot be read for other reasons than damage. Damage of the
/// live one is a loss.
pub fn compare(
    live: &Path,
    before: &Path,
    depth: Depth,
    progress: &DatabaseProgress<'_>,
) -> Result<Report> {
    let (report, _) = compare_or_same(live, before, depth, None, progress)?;
    Ok(report)
}

/// As [`compare`], without reading a snapshot whose `checksums` are known; answers as well whether
/// nothing at all differs.
pub(super) fn compare_or_same(
    live: &Path,
    before: &Path,
    depth: Depth,
    checksums: Option<&Checksums>,
    progress: &DatabaseProgress<'_>,
) -> Result<(Report, bool)> {
    let is_there = live
        .metadata()
        .is_ok_and(|file| file.len() > 0 || has_log(live));
    if !is_there {
        return Ok((one(Loss::new(Kind::Database, None, None)), false));
    }
    let compared = open(live, before).and_then(|conn| {
        let database = begin(&conn, live)?;
        compared(&database, before, depth, checksums, progress)
    });
    match compared {
        Err(Error::Sqlite { source, .. }) if matches!(Trouble::of(&source), Trouble::Damage) => {
            let loss = Loss::new(Kind::Damage, None, None);
            Ok((one(loss.saying(source.to_string())), false))
        }
        other => other,
    }
}

/// What there is in a snapshot.
pub(super) fn schema(snapshot: &Path) -> Result<Schema> {
    let at = |error| Error::at("read", snapshot, error);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_URI
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(super::files::immutable(snapshot), flags).map_err(at)?;
    stand_in_collations(&conn).map_err(at)?;
    Schema::read(&conn).map_err(at)
}

/// Whether the database at `live` is, byte for byte, what the snapshot is,
/// except for the counters of its header.
///
/// # Errors
/// One of the two cannot be read.
pub(super) fn is_same(live: &Path, before: &Path, progress: &DatabaseProgress<'_>) -> Result<bool> {
    let conn = open(live, before)?;
    let changed = pages::changed(&begin(&conn, live)?, before, None, progress)?;
    Ok(changed.is_some_and(|changed| changed.is_same))
}

fn one(loss: Loss) -> Report {
    Report {
        losses: vec![loss],
        ..Report::default()
    }
}

/// All of an empty file's content may be in its log.
fn has_log(live: &Path) -> bool {
    let log = crate::files::with_suffix(live, "-wal");
    log.metadata().is_ok_and(|file| file.len() > 0)
}

/// The read transaction that all of a comparison is in.
fn begin<'c>(conn: &'c Connection, live: &Path) -> Result<Database<'c>> {
    Database::begin(conn).map_err(|error| Error::at("read", live, error))
}

/// The live database as `main`, and the snapshot as `before`.
fn open(live: &Path, before: &Path) -> Result<Connection> {
    let at = |error| Error::at("read", live, error);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_URI;
    let conn = Connection::open_with_flags(live, flags).map_err(at)?;
    conn.busy_timeout(crate::LOCK_WAIT_MAX).map_err(at)?;
    conn.execute_batch(
        "PRAGMA query_only = ON; PRAGMA mmap_size = 0; PRAGMA cache_size = -16384;
         PRAGMA wal_autocheckpoint = 0",
    )
    .map_err(at)?;
    let uri = super::files::immutable(before);
    conn.execute("ATTACH ?1 AS before", [&uri])
        .map_err(|error| Error::at("read", before, error))?;
    stand_in_collations(&conn).map_err(at)?;
    Ok(conn)
}

fn compared(
    database: &Database<'_>,
    before: &Path,
    depth: Depth,
    checksums: Option<&Checksums>,
    progress: &DatabaseProgress<'_>,
) -> Result<(Report, bool)> {
    let conn = database.conn();
    let changed = pages::changed(database, before, checksums, progress)?;
    if changed.as_ref().is_some_and(|changed| changed.is_same) {
        return Ok((Report::default(), true));
    }
    let at = |error| Error::sqlite("compare", conn, error);
    let was = Schema::read_from(conn, "before").map_err(at)?;
    let now = Schema::read(conn).map_err(at)?;
    let touched = touched(database, changed.as_ref(), &now).map_err(at)?;
    progress.step("comparing rows", None);
    let mut report = Report::default();
    let looked = Look {
        conn,
        before: &was,
        after: &now,
        touched: &touched,
    };
    let matches = table_data::compare(&looked, &mut report)?;
    let both = Both {
        before: &was,
        after: &now,
        matches: &matches,
        look: &looked,
    };
    definitions::compare(both, &mut report);
    progress.step("checking", None);
    let of = |error| Error::sqlite("check the foreign keys of", conn, error);
    violations::new(conn, both, &mut report).map_err(of)?;
    report.losses.extend(broken::new(conn, both));
    let mut check = integrity::Check {
        conn,
        after: &now,
        touched: &touched,
        report: &mut report,
    };
    match depth {
        Depth::None => {}
        Depth::Quick => check.changed()?,
        Depth::Full => check.whole(progress)?,
    }
    report.notes.sort_by_key(|note| note.about);
    Ok((report, false))
}

fn touched(
    database: &Database<'_>,
    changed: Option<&Changed>,
    schema: &Schema,
) -> rusqlite::Result<Touched> {
    let Some(changed) = changed else {
        return Ok(Touched::Any);
    };
    let mut all = database
        .conn()
        .prepare("SELECT DISTINCT rootpage FROM main.sqlite_schema WHERE rootpage > 0")?;
    let roots = all.query_map([], |row| row.get(0))?;
    let roots: Vec<u32> = roots.collect::<rusqlite::Result<_>>()?;
    let ordinary = schema
        .tables
        .iter()
        .any(|table| table.kind != TableKind::Virtual);
    match ordinary {
        true => tree::touched(database, changed, roots),
        false => Ok(Touched::Any),
    }
}
