//! Tags: what many entries can be deleted by at once.

use rusqlite::Connection;

use crate::map::Map;
use crate::read::int;
use crate::write::remove;
use crate::{Error, Result, Tables};

/// Most tags of one entry.
pub const TAGS_MAX: usize = 32;
/// Longest tag, in bytes.
pub const TAG_MAX_BYTES: usize = 255;

/// As the row stores them; in order, so that the same tags are the same bytes.
pub(crate) fn encode(tags: &[String]) -> Result<Option<Vec<u8>>> {
    if tags.is_empty() {
        return Ok(None);
    }
    let mut sorted: Vec<&str> = tags.iter().map(String::as_str).collect();
    sorted.sort_unstable();
    sorted.dedup();
    let bad = |tag: &&&str| tag.len() > TAG_MAX_BYTES || tag.contains('\0');
    let over = sorted.get(TAGS_MAX);
    if let Some(tag) = sorted.iter().find(bad).or(over) {
        return Err(Error::BadTag { tag: (*tag).into() });
    }
    let mut bytes = Vec::new();
    for tag in sorted {
        bytes.extend_from_slice(tag.as_bytes());
        bytes.push(0);
    }
    Ok(Some(bytes))
}

fn decode(bytes: Option<&[u8]>) -> impl Iterator<Item = &str> {
    bytes
        .unwrap_or_default()
        .split_inclusive(|byte| *byte == 0)
        .filter_map(|tag| std::str::from_utf8(tag.strip_suffix(b"\0")?).ok())
}

/// Puts the tags `new` of an entry in the place of `old`.
pub(crate) fn replace(
    conn: &Connection,
    id: i64,
    old: Option<&[u8]>,
    new: Option<&[u8]>,
) -> Result<()> {
    if old.is_some() {
        let mut delete =
            conn.prepare_cached("DELETE FROM _monolite_cache_tag WHERE tag = ?1 AND id = ?2")?;
        for tag in decode(old) {
            delete.execute((tag, id))?;
        }
    }
    if new.is_some() {
        let mut insert =
            conn.prepare_cached("INSERT OR IGNORE INTO _monolite_cache_tag VALUES (?1, ?2)")?;
        for tag in decode(new) {
            insert.execute((tag, id))?;
        }
    }
    Ok(())
}

impl Tables {
    /// Deletes at most `most` of the entries that have the tag; answers how
    /// many those were. Fewer than `most`: it was the last of them.
    ///
    /// # Errors
    /// SQLite's.
    pub fn delete_tagged(&self, conn: &Connection, tag: &str, most: usize) -> Result<usize> {
        let mut find = conn.prepare_cached(
            "SELECT e.id, e.runs, e.tags FROM _monolite_cache_tag t
             JOIN _monolite_cache_entry e ON e.id = t.id WHERE t.tag = ?1 LIMIT ?2",
        )?;
        type Row = (i64, Option<Vec<u8>>, Option<Vec<u8>>);
        let found = find
            .query_map((tag, int(most)), |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })?
            .collect::<rusqlite::Result<Vec<Row>>>()?;
        Self::void_all_claims(conn)?;
        self.changes.raise_all();
        let mut map = Map::new(conn);
        for (id, runs, tags) in &found {
            remove(conn, &mut map, *id, runs.as_deref(), tags.as_deref())?;
        }
        map.flush()?;
        Ok(found.len())
    }
}
