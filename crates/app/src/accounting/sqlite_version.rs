//! How old the SQLite is that an app runs, read from the program or library that it is in.
//!
//! Every build of SQLite holds the time of its last change, as `2022-12-28 14:03:47 df5c253c0b…`. SQLite
//! before 3.51.3 can lose commits when two connections copy the log at the same instant (the WAL-reset
//! bug); a version into which the fix was taken over has a later time, too.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// What was changed last on a day before this one lacks the fix.
const FIXED: &str = "2026-03-06";
/// Larger files are not looked into.
const FILE_BYTES_MAX: u64 = 256 << 20;
const CHUNK_BYTES: usize = 1 << 20;
/// `2022-12-28 14:03:47 df5c253c0b3dd24916e4`: so much of it tells it from any other date.
const SOURCE_ID: usize = 40;
/// Every SQLite holds this.
const MAGIC: &[u8] = b"SQLite format 3\0";

/// The day of the oldest SQLite in the file, if it has one that lacks the fix.
///
/// # Errors
/// The file cannot be read.
pub(super) fn old_sqlite(path: &Path) -> io::Result<Option<String>> {
    let mut file = File::open(path)?;
    if file.metadata()?.len() > FILE_BYTES_MAX {
        return Ok(None);
    }
    let (mut oldest, mut has_magic): (Option<String>, bool) = (None, false);
    let mut bytes = Vec::with_capacity(CHUNK_BYTES + SOURCE_ID);
    loop {
        let read = file
            .by_ref()
            .take(CHUNK_BYTES as u64)
            .read_to_end(&mut bytes)?;
        if read == 0 {
            break;
        }
        has_magic |= contains(&bytes, MAGIC);
        for at in positions(&bytes, b'2') {
            let Some(day) = bytes.get(at..at + SOURCE_ID).and_then(source_day) else {
                continue;
            };
            if oldest.as_deref().is_none_or(|oldest| day < oldest) {
                oldest = Some(day.to_owned());
            }
        }
        let keep = bytes.len().saturating_sub(SOURCE_ID - 1);
        bytes.drain(..keep);
    }
    Ok(oldest.filter(|day| has_magic && &**day < FIXED))
}

fn positions(bytes: &[u8], wanted: u8) -> impl Iterator<Item = usize> {
    let all = bytes.iter().enumerate();
    all.filter(move |(_, byte)| **byte == wanted)
        .map(|(at, _)| at)
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    positions(bytes, wanted[0]).any(|at| bytes[at..].starts_with(wanted))
}

/// The day, if the bytes are a source id.
fn source_day(bytes: &[u8]) -> Option<&str> {
    const SHAPE: &[u8] = b"20##-##-## ##:##:## ";
    let fits = |(byte, shape): (&u8, &u8)| match shape {
        b'#' => byte.is_ascii_digit(),
        shape => byte == shape,
    };
    let (date, hash) = bytes.split_at_checked(SHAPE.len())?;
    let is_hash = hash.iter().all(u8::is_ascii_hexdigit);
    let is_id = is_hash && date.iter().zip(SHAPE).all(fits);
    is_id.then(|| std::str::from_utf8(&date[..10]).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(parts: &[&[u8]]) -> Option<String> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("lib"), parts.concat()).unwrap();
        old_sqlite(&dir.path().join("lib")).unwrap()
    }

    #[test]
    fn the_day_of_the_source_says_whether_the_fix_is_in() {
        let old = b"2022-12-28 14:03:47 df5c253c0b3dd24916e4ec7cf77d3db5294cc9fd";
        let fixed = b"2026-03-13 10:38:09 737ae4a34738ffa0c3ff7f9bb18df914dd1cad16";
        let other = b"2020-01-01 00:00:00 and this is no source id of any SQLite";
        let long = vec![b'x'; CHUNK_BYTES - 20];
        assert_eq!(found(&[MAGIC, b"2", old]).as_deref(), Some("2022-12-28"));
        assert_eq!(found(&[MAGIC, &long, old]).as_deref(), Some("2022-12-28"));
        assert_eq!(found(&[MAGIC, fixed, other]), None);
        assert_eq!(found(&[old]), None, "not SQLite");
        assert_eq!(found(&[fixed, old, MAGIC]).as_deref(), Some("2022-12-28"));
    }
}
