//! Removing entries: expired ones, those of a namespace, those with a tag; always
//! a bounded number in one transaction.
//!
//! There is no index of expiry times: it would cost each set a page write of its
//! own. A [`Sweep`] reads the table from end to end instead, some rows at a time,
//! and finds out when the next entry expires.

use rusqlite::Connection;

use crate::Result;
use crate::blobs;
use crate::block_map::BlockMap;
use crate::row::{blob, deadline, int};
use crate::tables::Tables;
use crate::tag;

/// Rows that one step looks at: well under a millisecond.
const STEP_ROWS: usize = 512;

/// The position of a sweep, and what it has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sweep {
    after: i64,
    /// True once the end of the table was reached.
    pub done: bool,
    /// When the first of the remaining entries expires, in milliseconds since
    /// 1970; `None`: none does.
    pub next_ms: Option<i64>,
    expired: Vec<i64>,
}

impl Default for Sweep {
    fn default() -> Self {
        Self {
            after: i64::MIN,
            done: false,
            next_ms: None,
            expired: Vec::new(),
        }
    }
}

impl Sweep {
    /// True if [`Tables::sweep_out`] has something to do.
    pub fn found(&self) -> bool {
        !self.expired.is_empty()
    }

    /// A sweep with nothing left to do.
    #[cfg(feature = "handle")]
    pub(crate) fn ended() -> Self {
        Self {
            done: true,
            ..Self::default()
        }
    }
}

impl Tables {
    /// Looks at the next 512 entries. Reads only.
    ///
    /// # Errors
    /// SQLite's.
    pub fn sweep_look(&self, conn: &Connection, sweep: &mut Sweep, now_ms: i64) -> Result<()> {
        let mut next = conn.prepare_cached(
            "SELECT id, expires_ms, ttl_ms FROM _monolite_cache_entry
             WHERE id > ?1 ORDER BY id LIMIT ?2",
        )?;
        let mut rows = next.query((sweep.after, int(STEP_ROWS)))?;
        let mut seen = 0;
        while let Some(row) = rows.next()? {
            seen += 1;
            sweep.after = row.get(0)?;
            let deadline = deadline(row, 1)?;
            if deadline.has_expired(now_ms) {
                sweep.expired.push(sweep.after);
            } else if let Some(at) = deadline.expires_ms {
                sweep.next_ms = Some(sweep.next_ms.map_or(at, |next| next.min(at)));
            }
        }
        sweep.done = seen < STEP_ROWS;
        Ok(())
    }

    /// Removes the entries that were found, if they are still expired; returns how
    /// many.
    ///
    /// # Errors
    /// SQLite's.
    pub fn sweep_out(&self, conn: &Connection, sweep: &mut Sweep, now_ms: i64) -> Result<usize> {
        let mut get = conn.prepare_cached(
            "SELECT expires_ms, ttl_ms, runs, tags FROM _monolite_cache_entry WHERE id = ?1",
        )?;
        let mut map = BlockMap::new(conn);
        let mut count = 0;
        for id in &sweep.expired {
            let mut rows = get.query([id])?;
            let Some(row) = rows.next()? else {
                continue;
            };
            if !deadline(row, 0)?.has_expired(now_ms) {
                continue;
            }
            let (runs, tags): (Option<Vec<u8>>, Option<Vec<u8>>) = (row.get(2)?, row.get(3)?);
            drop(rows);
            remove(conn, &mut map, *id, runs.as_deref(), tags.as_deref())?;
            count += 1;
        }
        map.flush()?;
        sweep.expired.clear();
        Self::count(&self.counts.expirations, count as u64);
        Ok(count)
    }

    /// Looks at the next `most` entries after the id `after`, and deletes those of
    /// a namespace and of the namespaces inside it; all of them if there is none.
    /// Returns where to continue (`None`: there are no more), and how many it
    /// deleted.
    ///
    /// # Errors
    /// SQLite's.
    pub fn clear(
        &self,
        conn: &Connection,
        namespace: Option<&str>,
        after: i64,
        most: usize,
    ) -> Result<(Option<i64>, usize)> {
        Self::void_all_claims(conn)?;
        let mut next = conn.prepare_cached(
            "SELECT id, key, runs, tags FROM _monolite_cache_entry
             WHERE id > ?1 ORDER BY id LIMIT ?2",
        )?;
        let is_mine = |key: &[u8]| {
            namespace.is_none_or(|namespace| {
                let rest = key.strip_prefix(namespace.as_bytes());
                rest.is_some_and(|rest| rest.starts_with(b"\0") || rest.starts_with(b"/"))
            })
        };
        type Row = (i64, Option<Vec<u8>>, Option<Vec<u8>>);
        let mut mine: Vec<Row> = Vec::new();
        let mut seen = 0;
        let mut last = after;
        let mut rows = next.query((after, int(most)))?;
        while let Some(row) = rows.next()? {
            seen += 1;
            last = row.get(0)?;
            let key = blob(row, 1)?.unwrap_or_default();
            if is_mine(key) {
                mine.push((last, row.get(2)?, row.get(3)?));
            }
        }
        drop(rows);
        self.changes.raise_all();
        let mut map = BlockMap::new(conn);
        for (id, runs, tags) in &mine {
            remove(conn, &mut map, *id, runs.as_deref(), tags.as_deref())?;
        }
        map.flush()?;
        Ok(((seen == most).then_some(last), mine.len()))
    }

    /// Deletes at most `most` of the entries that have the tag; returns how many
    /// those were. Fewer than `most`: there are no more.
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
        let mut map = BlockMap::new(conn);
        for (id, runs, tags) in &found {
            remove(conn, &mut map, *id, runs.as_deref(), tags.as_deref())?;
        }
        map.flush()?;
        Ok(found.len())
    }
}

/// Deletes a row, its tags and its blocks.
pub(crate) fn remove(
    conn: &Connection,
    map: &mut BlockMap<'_>,
    id: i64,
    runs: Option<&[u8]>,
    tags: Option<&[u8]>,
) -> Result<()> {
    conn.prepare_cached("DELETE FROM _monolite_cache_entry WHERE id = ?1")?
        .execute([id])?;
    if let Some(runs) = runs {
        map.free(blobs::decode(runs))?;
    }
    if tags.is_some() {
        tag::replace(conn, id, tags, None)?;
    }
    Ok(())
}
