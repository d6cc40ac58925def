//! Asking SQLite whether a database holds together.

use std::path::Path;

use rusqlite::{Connection, ErrorCode, OpenFlags};

/// What SQLite is asked about a restored database, beyond the checksums.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IntegrityCheck {
    /// Nothing.
    None,
    /// As [`Quick`](Self::Quick), but only if the replica holds no checksum of
    /// the whole database, as one by Litestream does not.
    #[default]
    IfUnproven,
    /// `PRAGMA quick_check`: all but whether indexes agree with their tables.
    Quick,
    /// `PRAGMA integrity_check`: everything; reads each index once more.
    Full,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Integrity {
    /// SQLite was not asked.
    Unchecked,
    /// It found nothing wrong.
    Ok,
    /// Not known, as where an index needs a collation that only the
    /// app has: its words.
    Unknown(String),
}

impl IntegrityCheck {
    fn pragma(self, proven: bool) -> Option<&'static str> {
        match self {
            Self::IfUnproven if proven => None,
            Self::None => None,
            Self::IfUnproven | Self::Quick => Some("PRAGMA quick_check(10)"),
            Self::Full => Some("PRAGMA integrity_check(10)"),
        }
    }

    /// Whether anything is asked of SQLite.
    pub(super) fn is_done(self, proven: bool) -> bool {
        self.pragma(proven).is_some()
    }

    /// Checks a database file that nobody writes and that has no WAL. What is
    /// wrong with it is in the `Err`.
    pub(super) fn run(self, path: &Path, proven: bool) -> Result<Integrity, Vec<String>> {
        let Some(pragma) = self.pragma(proven) else {
            return Ok(Integrity::Unchecked);
        };
        match ask(path, pragma) {
            Ok(findings) if findings == ["ok"] => Ok(Integrity::Ok),
            Ok(findings) => Err(findings),
            Err(error) => match error.sqlite_error_code() {
                Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                    Err(vec![error.to_string()])
                }
                _ => Ok(Integrity::Unknown(error.to_string())),
            },
        }
    }
}

fn ask(path: &Path, pragma: &str) -> rusqlite::Result<Vec<String>> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_URI
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    // Immutable: no locks, and no `-wal` or `-shm` next to the file.
    let conn = Connection::open_with_flags(uri(path), flags)?;
    let mut statement = conn.prepare(pragma)?;
    statement.query_map((), |row| row.get(0))?.collect()
}

fn uri(path: &Path) -> String {
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => {
                uri.push(char::from(*byte));
            }
            _ => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    uri + "?immutable=1"
}
