//! The app's database.

use std::path::Path;

use rusqlite::Connection;

use crate::random::Random;
use crate::store::raw;

/// Half of an item is random and half is text: it compresses to about half.
const HALF: usize = 500;
const ITEMS_A_PAGE: u64 = 4;
const PAGE: u64 = 4096;

const SCHEMA: &str = "
    CREATE TABLE item (id INTEGER PRIMARY KEY, hits INTEGER NOT NULL, body BLOB NOT NULL) STRICT;
    CREATE TABLE event (id INTEGER PRIMARY KEY, kind TEXT, payload TEXT) STRICT;
    CREATE INDEX event_by_kind ON event (kind, id);
    CREATE TABLE stamp (id INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT";

/// Enough of one to be written to.
pub(super) const SMALL: u64 = 1 << 20;

/// Makes one of about `bytes`, in WAL mode.
pub(super) fn make(path: &Path, bytes: u64) -> anyhow::Result<()> {
    let conn = Connection::open(path)?;
    conn.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; BEGIN")?;
    conn.execute_batch(SCHEMA)?;
    conn.execute("INSERT INTO stamp VALUES (1, ?1)", [stamp(0)])?;
    let mut random = Random::new(1);
    let mut insert = conn.prepare("INSERT INTO item VALUES (?1, 0, ?2)")?;
    let words = ["commit ", "volume ", "replica ", "snapshot ", "restore "];
    let mut body = Vec::new();
    for id in 0..(bytes / PAGE * ITEMS_A_PAGE).max(1) {
        body.clear();
        while body.len() < HALF {
            body.extend_from_slice(&(random.below(1 << 24) as u32).to_le_bytes()[..3]);
        }
        while body.len() < 2 * HALF {
            let word = words[random.below(words.len() as u64) as usize];
            body.extend_from_slice(word.as_bytes());
        }
        body.truncate(2 * HALF);
        insert.execute((id.cast_signed() + 1, &body))?;
    }
    drop(insert);
    conn.execute_batch("COMMIT")?;
    drop(conn);
    raw::open(path, raw::NORMAL)?;
    rustix::fs::sync();
    Ok(())
}

const STAMP: &str = "stamp ";
const DIGITS: usize = 12;

/// What the row of the table `stamp` says after so many commits; always as long.
pub(super) fn stamp(commits: u64) -> String {
    format!("{STAMP}{commits:0DIGITS$}")
}

/// The highest stamp on a page. What a cell held before may lie beside it.
pub(super) fn stamp_on(page: &[u8]) -> Option<u64> {
    page.windows(STAMP.len() + DIGITS)
        .filter_map(|text| str::from_utf8(text).ok()?.strip_prefix(STAMP)?.parse().ok())
        .max()
}

/// The page that has it.
pub(super) fn stamp_page(path: &Path) -> anyhow::Result<u32> {
    let conn = Connection::open(path)?;
    let sql = "SELECT rootpage FROM sqlite_schema WHERE name = 'stamp'";
    Ok(conn.query_row(sql, [], |row| row.get(0))?)
}
