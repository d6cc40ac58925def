//! Tags: names by which many entries can be deleted at once.

use rusqlite::Connection;

use crate::{Error, Result};

/// Most tags of one entry.
pub const TAGS_MAX: usize = 32;
/// Longest tag, in bytes.
pub const TAG_MAX_BYTES: usize = 255;

/// The tags as the row stores them; sorted, so that the same tags are the same
/// bytes.
pub(crate) fn encode(tags: &[String]) -> Result<Option<Vec<u8>>> {
    if tags.is_empty() {
        return Ok(None);
    }
    let mut sorted: Vec<&str> = tags.iter().map(String::as_str).collect();
    sorted.sort_unstable();
    sorted.dedup();
    let bad = |tag: &&&str| tag.len() > TAG_MAX_BYTES || tag.contains('\0');
    let too_many = sorted.get(TAGS_MAX);
    if let Some(tag) = sorted.iter().find(bad).or(too_many) {
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

/// Replaces the tags `old` of an entry by `new`.
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
