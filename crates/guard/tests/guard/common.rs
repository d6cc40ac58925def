//! What tests of copies and of recovery have in common.

use std::path::Path;

use monolite_guard::{Active, Guard, Options, Rollback, Verdict};
use rusqlite::Connection;

use super::volume::Volume;

pub(crate) const DAY_MS: i64 = 24 * 3_600_000;
pub(crate) const LOSES: &str = "DELETE FROM comments";

pub(crate) fn volume() -> (tempfile::TempDir, Volume) {
    let dir = tempfile::tempdir().unwrap();
    let volume = Volume::filled(dir.path());
    (dir, volume)
}

pub(crate) fn begin(volume: &Volume) -> Active {
    let guard = Guard::enter(volume.host(), "the migration").unwrap();
    guard.begin(Options::new()).unwrap()
}

pub(crate) fn rolled_back(verdict: Verdict) -> Rollback {
    match verdict {
        Verdict::RolledBack { rollback, .. } => rollback,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn count(path: &Path, what: &str) -> i64 {
    let conn = Connection::open(path).unwrap();
    conn.query_row(&format!("SELECT count(*) FROM {what}"), [], |row| {
        row.get(0)
    })
    .unwrap()
}

pub(crate) fn now_ms() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    i64::try_from(now.unwrap().as_millis()).unwrap()
}

/// As it died after its command had run: the guard's own memory is gone.
pub(crate) fn died(volume: &Volume, options: Options, sql: &str) {
    let guard = Guard::enter(volume.host(), "the migration").unwrap();
    let active = guard.begin(options).unwrap();
    volume.run("app.sqlite3", sql);
    drop(active);
}
