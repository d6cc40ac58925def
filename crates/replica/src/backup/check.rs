//! Does a copy hold together.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use rusqlite::ErrorCode;

use super::compression::{Compression, decoder};
use super::direct::DirectFile;
use super::error::{Error, Result};
use super::source::open_immutable;
use super::temporary::create;
use crate::Progress;
use monolite_platform::cancel::Cancel;
use monolite_platform::durable::Temporary;

/// How thoroughly a finished copy is looked at before it gets its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Check {
    /// Not at all.
    #[default]
    None,
    /// `PRAGMA quick_check`: every page, but not whether indexes agree with
    /// their tables.
    Quick,
    /// `PRAGMA integrity_check`.
    Full,
}

/// Statements of SQLite's machine between two looks at whether to go on.
const STEPS: i32 = 10_000;

/// Checks the copy of `db` in `copy`, which nobody writes any more.
pub(super) fn check(
    db: &Path,
    copy: &Temporary,
    check: Check,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<()> {
    let sql = match check {
        Check::None => return Ok(()),
        Check::Quick => "PRAGMA quick_check(10)",
        Check::Full => "PRAGMA integrity_check(10)",
    };
    read_ahead(copy, progress, cancel)?;
    progress.begin("checking", None);
    let findings = open_immutable(copy.path()).and_then(|mut conn| {
        let conn = &mut conn;
        let cancel = cancel.clone();
        conn.progress_handler(STEPS, Some(move || cancel.is_cancelled()))?;
        conn.execute_batch("PRAGMA temp_store = MEMORY")?;
        let mut findings = conn.prepare(sql)?;
        let findings = findings.query_map([], |row| row.get(0))?;
        findings.collect::<rusqlite::Result<Vec<String>>>()
    });
    cancel.check()?;
    let findings = match findings {
        Ok(findings) if findings == ["ok"] => return Ok(()),
        Ok(findings) => findings,
        // Too damaged to be looked at.
        Err(error) if is_damage(&error) => vec![error.to_string()],
        Err(source) => {
            let path = db.into();
            return Err(Error::Unchecked { path, source });
        }
    };
    let path = db.into();
    Err(Error::Damaged { path, findings })
}

/// Reads the whole file once. SQLite checks a table from its end to its start,
/// page by page, which the system's own reading ahead does not foresee: on a
/// file that is not in memory that takes ten times as long.
fn read_ahead(copy: &Temporary, progress: &dyn Progress, cancel: &Cancel) -> Result<()> {
    let at = |error| Error::file("read", copy.path(), error);
    let bytes = copy.file().metadata().map_err(at)?.len();
    progress.begin("reading", Some(bytes));
    let (mut buffer, mut read) = (vec![0; 1 << 20], 0);
    loop {
        cancel.check()?;
        match copy.file().read_at(&mut buffer, read).map_err(at)? {
            0 => return Ok(()),
            more => {
                read += more as u64;
                progress.advance(more as u64);
            }
        }
    }
}

fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
    )
}

/// As [`check`], for a copy that is compressed: it is unpacked into a file
/// next to it, and that is checked.
pub(super) fn check_compressed(
    db: &Path,
    packed: &Temporary,
    compression: Compression,
    bytes: u64,
    how: Check,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<()> {
    let path = packed.path();
    let plain = create(packed.target(), 0o600)?;
    progress.begin("unpacking", Some(bytes));
    let unpacked = File::open(path)
        .and_then(|file| decoder(file, compression))
        .map_err(|error| Error::file("read", path, error))?;
    let mut from = io::BufReader::with_capacity(1 << 20, unpacked);
    let mut to = DirectFile::new(plain.file());
    loop {
        cancel.check()?;
        let read = io::BufRead::fill_buf(&mut from);
        let read = read.map_err(|error| Error::file("read", path, error))?;
        if read.is_empty() {
            break;
        }
        to.write_all(read)
            .map_err(|error| Error::file("write", plain.path(), error))?;
        let taken = read.len();
        progress.advance(taken as u64);
        io::BufRead::consume(&mut from, taken);
    }
    let unpacked = to
        .finish()
        .map_err(|error| Error::file("write", plain.path(), error))?;
    if unpacked != bytes {
        return Err(Error::Damaged {
            path: db.into(),
            findings: vec![format!("{unpacked} bytes instead of {bytes}")],
        });
    }
    check(db, &plain, how, progress, cancel)
}
