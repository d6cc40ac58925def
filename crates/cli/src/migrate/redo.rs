//! `monolite migrate up --redo`, in development: files that were applied and edited since are undone
//! by a copy from before them, which an earlier `--redo` kept.

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use monolite_guard::earlier_copies;
use monolite_migrate::files::{self, State};
use monolite_platform::path::with_suffix;
use rusqlite::Connection;

use super::up::Up;
use crate::Failure;

/// The copy to go back to, and the files that it undoes.
#[derive(Debug, Clone)]
pub(super) struct GoBack {
    pub(super) copy: PathBuf,
    pub(super) files: Vec<String>,
}

/// What has to be undone, if an applied file was edited or removed since.
///
/// # Errors
/// There is no copy from before it.
pub(super) fn needed(conn: &Connection, up: &Up) -> Result<Option<GoBack>, Failure> {
    let entries = files::status(conn, &up.migrations)?;
    let is_other = |state| matches!(state, State::Edited | State::Gone);
    let Some(first) = entries.iter().find(|entry| is_other(entry.state)) else {
        return Ok(None);
    };
    let (volume, name) = up.found.root();
    for copy in earlier_copies(volume, name) {
        let Ok(undone) = files::would_undo(conn, &copy) else {
            continue;
        };
        let oldest = undone.files.first().map(|file| file.version);
        if oldest.is_some_and(|oldest| oldest <= first.version) {
            let files = undone.files.iter();
            return Ok(Some(GoBack {
                copy,
                files: files.map(|file| format!("{}.sql", file.name)).collect(),
            }));
        }
    }
    Err(Failure::Error(anyhow!(
        "{}.sql was changed or removed after it was applied, and there is no copy of {} from before it: \
         in development, apply with `monolite migrate up --redo`, which keeps one; in production, restore the file and write a new migration",
        first.name,
        up.found.shown()
    )))
}

/// Removes a database that was begun a moment ago, and in which nothing came to be.
pub(super) fn remove_if_empty(path: &Path) {
    let is_empty = || -> rusqlite::Result<bool> {
        let conn = Connection::open(path)?;
        conn.query_row("SELECT count(*) = 0 FROM sqlite_schema", [], |row| {
            row.get(0)
        })
    };
    if is_empty().unwrap_or(false) {
        for suffix in ["", "-wal", "-shm", "-journal"] {
            let _ = std::fs::remove_file(with_suffix(path, suffix));
        }
    }
}
