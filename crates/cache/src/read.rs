//! Reads. None of them writes.

use rusqlite::{Connection, OptionalExtension};

use crate::Result;
use crate::expiry::Expiry;
use crate::hash::checksum;
use crate::key::Key;
use crate::row::{blob, deadline};
use crate::tables::Tables;

/// A value that a get found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Found {
    /// The value.
    pub value: Vec<u8>,
    /// When it expires, in milliseconds since 1970; `None`: when evicted.
    pub expires_ms: Option<i64>,
    /// True for a sliding entry that is due for [`Change::Renew`](crate::Change::Renew).
    pub renew: bool,
}

/// The answer of [`Tables::get`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    /// There is no such entry, or it has expired.
    Miss,
    /// The value.
    Hit(Found),
    /// The value is larger than `blob_max`, and was not read.
    Large,
}

/// Tries to read a value that is overwritten while it is read.
const TRIES_MAX: usize = 3;

impl Tables {
    /// Looks a value up, and counts a hit or a miss. A value of more than
    /// `blob_max` bytes in the blob file is not read.
    ///
    /// # Errors
    /// SQLite's, or the blob file's. A damaged value is a miss.
    pub fn get(
        &self,
        conn: &Connection,
        key: &Key,
        now_ms: i64,
        blob_max: usize,
    ) -> Result<Lookup> {
        let found = self.find(conn, key, now_ms, blob_max)?;
        match &found {
            Lookup::Miss => Self::count(&self.counts.misses, 1),
            Lookup::Hit(_) => Self::count(&self.counts.hits, 1),
            Lookup::Large => {}
        }
        Ok(found)
    }

    /// Looks a small value up in this process's memory: it is as current as that
    /// of [`Tables::get`], and counts as a hit. `None`: ask [`Tables::get`].
    pub fn get_local(&self, key: &Key, now_ms: i64) -> Option<Found> {
        let id = self.id(key);
        let version = self.changes.version(id);
        let (value, deadline) = self.local.get(id, key, version, now_ms)?;
        self.hits.add(id);
        Self::count(&self.counts.hits, 1);
        Some(Found {
            value,
            expires_ms: deadline.expires_ms,
            renew: false,
        })
    }

    /// As [`Tables::get`], counting nothing.
    pub(crate) fn find(
        &self,
        conn: &Connection,
        key: &Key,
        now_ms: i64,
        blob_max: usize,
    ) -> Result<Lookup> {
        let id = self.id(key);
        let version = self.changes.version(id);
        let mut select = conn.prepare_cached(
            "SELECT expires_ms, ttl_ms, key, size, runs, checksum, value
             FROM _monolite_cache_entry WHERE id = ?1",
        )?;
        for _ in 0..TRIES_MAX {
            let mut rows = select.query([id])?;
            let Some(row) = rows.next()? else {
                return Ok(Lookup::Miss);
            };
            let deadline = deadline(row, 0)?;
            if blob(row, 2)? != Some(key.as_bytes()) || deadline.has_expired(now_ms) {
                return Ok(Lookup::Miss);
            }
            let value = match blob(row, 4)? {
                None => Some(blob(row, 6)?.unwrap_or_default().to_vec()),
                Some(runs) => {
                    let size = usize::try_from(row.get::<_, i64>(3)?).unwrap_or(usize::MAX);
                    if size > blob_max {
                        return Ok(Lookup::Large);
                    }
                    let sum: i64 = row.get(5)?;
                    let value = self.blobs.read(runs, size)?;
                    value.filter(|value| checksum(value) == sum)
                }
            };
            if let Some(value) = value {
                self.hits.add(id);
                // In a transaction of the caller this may be a value that is not
                // committed, or one from before the transaction began.
                if conn.is_autocommit() {
                    self.local.put(id, key, &value, deadline, version, now_ms);
                }
                return Ok(Lookup::Hit(Found {
                    value,
                    expires_ms: deadline.expires_ms,
                    renew: deadline.renewed(now_ms).is_some(),
                }));
            }
            // Overwritten meanwhile: the row has changed too.
        }
        Ok(Lookup::Miss)
    }

    /// How long an entry still lives. Counts nothing.
    ///
    /// # Errors
    /// SQLite's.
    pub fn expiry(&self, conn: &Connection, key: &Key, now_ms: i64) -> Result<Expiry> {
        let mut select = conn.prepare_cached(
            "SELECT expires_ms, ttl_ms FROM _monolite_cache_entry WHERE id = ?1 AND key = ?2",
        )?;
        let found = select
            .query_row((self.id(key), key.as_bytes()), |row| deadline(row, 0))
            .optional()?;
        Ok(match found {
            Some(deadline) if !deadline.has_expired(now_ms) => deadline.left(now_ms),
            _ => Expiry::Missing,
        })
    }

    /// Entries in the file, including those that have expired. Reads the whole
    /// table: about 50 ms for each GiB.
    ///
    /// # Errors
    /// SQLite's.
    pub fn entries(&self, conn: &Connection) -> Result<u64> {
        let count: i64 =
            conn.query_row("SELECT count(*) FROM _monolite_cache_entry", [], |row| {
                row.get(0)
            })?;
        Ok(count.unsigned_abs())
    }
}
