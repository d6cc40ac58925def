//! Which SQLite is in a library or a program, by what every build of it carries: the time and the
//! hash of its source, and its version.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// A file that is larger is not read.
const FILE_MAX: u64 = 300 << 20;
/// From this day on the source has no WAL-reset bug. It is fixed in 3.51.3, and in what was made of
/// older versions since then.
const WAL_RESET_FIXED: &str = "2026-03-03";
/// Digits of the hash; a build of changed sources has letters at the end.
const HASH_MIN: usize = 56;

/// A build of SQLite.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Build {
    /// As `3.40.1`, if the file has only one text like that.
    pub(super) version: Option<String>,
    /// The day of its source, as `2022-12-28`.
    pub(super) day: String,
}

impl Build {
    /// The one in the file at `path`; `None` if there is none, or it cannot be read.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let file = File::open(path).ok()?;
        let metadata = file.metadata().ok()?;
        if !metadata.is_file() || metadata.len() > FILE_MAX {
            return None;
        }
        let mut bytes = Vec::new();
        file.take(FILE_MAX).read_to_end(&mut bytes).ok()?;
        Self::find(&bytes)
    }

    fn find(bytes: &[u8]) -> Option<Self> {
        let mut days: Vec<&str> = positions(bytes, b"20")
            .filter_map(|at| source_day(bytes.get(at..)?))
            .collect();
        days.sort_unstable();
        // More than one: the oldest is the one to worry about.
        let day = (*days.first()?).to_owned();
        let mut versions: Vec<&str> = positions(bytes, b"\x003.")
            .filter_map(|at| version(bytes.get(at + 1..)?))
            .collect();
        versions.sort_unstable();
        versions.dedup();
        let version = match versions[..] {
            [only] => Some(only.to_owned()),
            _ => None,
        };
        Some(Self { version, day })
    }

    /// Two connections that write and reset the log at the same moment can damage a database.
    pub(super) fn has_wal_reset_bug(&self) -> bool {
        self.day.as_str() < WAL_RESET_FIXED
    }
}

impl fmt::Display for Build {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.version {
            Some(version) => write!(f, "SQLite {version} (source of {})", self.day),
            None => write!(f, "SQLite (source of {})", self.day),
        }
    }
}

fn positions<'b>(bytes: &'b [u8], text: &'b [u8]) -> impl Iterator<Item = usize> + 'b {
    let windows = bytes.windows(text.len()).enumerate();
    windows
        .filter(move |(_, window)| *window == text)
        .map(|(at, _)| at)
}

/// `2022-12-28 14:03:47 HASH`: what `sqlite3_sourceid()` says.
fn source_day(bytes: &[u8]) -> Option<&str> {
    const SHAPE: &[u8] = b"0000-00-00 00:00:00 ";
    let head = bytes.get(..SHAPE.len())?;
    let fits = head.iter().zip(SHAPE).all(|(byte, shape)| match shape {
        b'0' => byte.is_ascii_digit(),
        _ => byte == shape,
    });
    let hash = bytes.get(SHAPE.len()..SHAPE.len() + HASH_MIN)?;
    let is_hash = hash
        .iter()
        .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    match fits && is_hash {
        true => std::str::from_utf8(head.get(..10)?).ok(),
        false => None,
    }
}

/// `3.MINOR.PATCH` and a NUL.
fn version(bytes: &[u8]) -> Option<&str> {
    let end = bytes.iter().take(12).position(|byte| *byte == 0)?;
    let text = std::str::from_utf8(bytes.get(..end)?).ok()?;
    let numbers: Vec<u32> = text
        .split('.')
        .map(|n| n.parse().ok())
        .collect::<Option<_>>()?;
    // The first with a log is 3.7.0.
    matches!(numbers[..], [3, minor, _] if minor >= 7).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(texts: &[&str]) -> Vec<u8> {
        let mut bytes = vec![0x7f, b'E', b'L', b'F', 0];
        for text in texts {
            bytes.extend_from_slice(text.as_bytes());
            bytes.push(0);
        }
        bytes
    }

    const HASH: &str = "ebead0e7230cd33bcec9f95d2183069565b9e709bf745c9b5db65cc0cbf92c0f";

    #[test]
    fn a_build_is_known_by_its_source() {
        let old = format!("2022-12-28 14:03:47 {HASH}");
        let build = Build::find(&file(&["3.40.1", &old, "3.x", "2021-01-01 00:00:00 x"])).unwrap();
        assert_eq!(build.to_string(), "SQLite 3.40.1 (source of 2022-12-28)");
        assert!(build.has_wal_reset_bug());
        // Of changed sources, next to another library's version.
        let new = format!("2026-03-13 10:38:09 {}alt1", &HASH[..60]);
        let build = Build::find(&file(&["3.12.0", "3.51.3", &new])).unwrap();
        assert_eq!(build.to_string(), "SQLite (source of 2026-03-13)");
        assert!(!build.has_wal_reset_bug());
        for none in [
            &[][..],
            &["3.40.1"],
            &["2022-12-28 14:03:47 short"],
            &["20"],
        ] {
            assert_eq!(Build::find(&file(none)), None, "{none:?}");
        }
    }

    #[test]
    fn the_sqlite_in_this_program_is_found() {
        let build = Build::of(&std::env::current_exe().unwrap()).unwrap();
        let conn = rusqlite::Connection::open_in_memory().unwrap();
        let id: String = conn
            .query_row("SELECT sqlite_source_id()", [], |row| row.get(0))
            .unwrap();
        assert!(id.starts_with(&build.day), "{id}: {build:?}");
        assert!(!build.has_wal_reset_bug());
    }
}
