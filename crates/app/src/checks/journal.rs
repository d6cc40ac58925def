//! In which journal mode the databases are, and how long their logs.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use monolite_sqlite_format::sibling_path;
use monolite_volume::Finding;

use super::{pass, warn};
use crate::database_filter::name_in;

const NAME: &str = "journal";
const WHY: &str = "without WAL mode a writer keeps all readers waiting, and a replica reads the whole database for each change; a log that is never reset fills the disk";
/// A log that is longer, and longer than its database, is not reset: a reader does not end, or there
/// are very large transactions.
const LOG_MAX: u64 = 64 << 20;

pub(super) fn inspect(volume: &Path, databases: &[PathBuf]) -> Finding {
    let name = |path: &Path| name_in(volume, path).unwrap_or_else(|| path.display().to_string());
    let mut in_wal = 0;
    let mut others = Vec::new();
    let mut long = Vec::new();
    for path in databases {
        match is_wal(path) {
            Some(true) => in_wal += 1,
            Some(false) => others.push(name(path)),
            None => {}
        }
        let size = |path: &Path| path.metadata().map_or(0, |of| of.len());
        let log = size(&sibling_path(path, "-wal"));
        if log > LOG_MAX && log > size(path) {
            long.push(format!("{} ({} MiB)", name(path), log >> 20));
        }
    }
    if !others.is_empty() {
        return warn(
            NAME,
            WHY,
            format!(
                "not in WAL mode (journal_mode=delete): {}",
                others.join(", ")
            ),
            "start the app with `monolite run`, which sets it (--wal), or run `PRAGMA journal_mode = WAL` in it once",
        );
    }
    if !long.is_empty() {
        return warn(
            NAME,
            WHY,
            format!("the log is longer than its database: {}", long.join(", ")),
            "end the transaction that has been open for long; set `PRAGMA journal_size_limit` in the app's connections",
        );
    }
    match in_wal {
        0 => pass(NAME, WHY, "no database yet"),
        1 => pass(NAME, WHY, "the database is in WAL mode (journal_mode=wal)"),
        n => pass(
            NAME,
            WHY,
            format!("{n} databases are in WAL mode (journal_mode=wal)"),
        ),
    }
}

/// What the header says; `None` of an empty file, or of none that SQLite made.
fn is_wal(path: &Path) -> Option<bool> {
    let mut header = [0; 20];
    File::open(path).ok()?.read_exact(&mut header).ok()?;
    let is_database = header.starts_with(b"SQLite format 3\0");
    // The versions that are needed to write and to read it: 2 is WAL.
    is_database.then(|| header.ends_with(&[2, 2]))
}

#[cfg(test)]
mod tests {
    use monolite_volume::Level;
    use rusqlite::Connection;

    use super::*;

    #[test]
    fn the_mode_and_a_long_log_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.sqlite3");
        let inspect = || super::inspect(dir.path(), std::slice::from_ref(&path));
        assert_eq!(inspect().level, Level::Pass);
        let set = |mode: &str| {
            let conn = Connection::open(&path).unwrap();
            let set = format!("PRAGMA journal_mode = {mode}; CREATE TABLE IF NOT EXISTS t(x)");
            conn.execute_batch(&set).unwrap();
        };
        set("delete");
        assert!(
            inspect()
                .what
                .ends_with("(journal_mode=delete): app.sqlite3")
        );
        set("wal");
        let found = inspect();
        assert_eq!((found.level, found.remedy.as_str()), (Level::Pass, ""));
        let log = File::create(dir.path().join("app.sqlite3-wal")).unwrap();
        log.set_len(LOG_MAX + (1 << 20)).unwrap();
        let found = inspect();
        assert_eq!(found.level, Level::Warn);
        assert!(found.what.ends_with("app.sqlite3 (65 MiB)"), "{found:?}");
    }
}
