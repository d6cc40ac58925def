//! Taking out what is over, in small steps.
//!
//! There is no index of times: it would cost each set a page of its own. A
//! sweep reads the table from end to end instead, some rows at a time, and
//! finds out when the next will be due.

use rusqlite::Connection;

use crate::map::Map;
use crate::read::{blob, expiry, int};
use crate::write::remove;
use crate::{Result, Tables};

/// Rows of one step: well under a millisecond.
const STEP: usize = 512;

/// Where a sweep is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sweep {
    after: i64,
    /// Nothing was left to look at.
    pub done: bool,
    /// When the first of the entries that were left will be over, in
    /// milliseconds since 1970; `None`: none will be.
    pub next_ms: Option<i64>,
    over: Vec<i64>,
}

impl Default for Sweep {
    fn default() -> Self {
        Self {
            after: i64::MIN,
            done: false,
            next_ms: None,
            over: Vec::new(),
        }
    }
}

impl Sweep {
    /// True if [`Tables::sweep_out`] has something to do.
    pub fn found(&self) -> bool {
        !self.over.is_empty()
    }

    /// What was found has been taken out.
    #[cfg(feature = "handle")]
    pub(crate) fn forget(&mut self) {
        self.over.clear();
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
        let mut rows = next.query((sweep.after, int(STEP)))?;
        let mut seen = 0;
        while let Some(row) = rows.next()? {
            seen += 1;
            sweep.after = row.get(0)?;
            let expiry = expiry(row, 1)?;
            if expiry.is_over(now_ms) {
                sweep.over.push(sweep.after);
            } else if let Some(at) = expiry.expires_ms {
                sweep.next_ms = Some(sweep.next_ms.map_or(at, |next| next.min(at)));
            }
        }
        sweep.done = seen < STEP;
        Ok(())
    }

    /// Takes out those that were found, if they are still over.
    ///
    /// # Errors
    /// SQLite's.
    pub fn sweep_out(&self, conn: &Connection, sweep: &mut Sweep, now_ms: i64) -> Result<usize> {
        let mut get = conn.prepare_cached(
            "SELECT expires_ms, ttl_ms, runs, tags FROM _monolite_cache_entry WHERE id = ?1",
        )?;
        let mut map = Map::new(conn);
        let mut count = 0;
        for id in &sweep.over {
            let mut rows = get.query([id])?;
            let Some(row) = rows.next()? else {
                continue;
            };
            if !expiry(row, 0)?.is_over(now_ms) {
                continue;
            }
            let (runs, tags): (Option<Vec<u8>>, Option<Vec<u8>>) = (row.get(2)?, row.get(3)?);
            drop(rows);
            remove(conn, &mut map, *id, runs.as_deref(), tags.as_deref())?;
            count += 1;
        }
        map.flush()?;
        sweep.over.clear();
        Self::count(&self.counts.expirations, count as u64);
        Ok(count)
    }

    /// Deletes the entries of a namespace and of those in it among the next `most`, or all of
    /// those with `None`, from `after` on. Answers where to go on; `None`:
    /// there are no more.
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
        let mut map = Map::new(conn);
        for (id, runs, tags) in &mine {
            remove(conn, &mut map, *id, runs.as_deref(), tags.as_deref())?;
        }
        map.flush()?;
        Ok(((seen == most).then_some(last), mine.len()))
    }
}
