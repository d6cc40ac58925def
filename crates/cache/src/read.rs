//! Reads. None of them writes.

use rusqlite::{Connection, OptionalExtension, Row};

use crate::expiry::Expiry;
use crate::hash::checksum;
use crate::{Key, Result, Tables};

/// What a get found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Found {
    /// The value.
    pub value: Vec<u8>,
    /// When it is over, in milliseconds since 1970; `None`: when evicted.
    pub expires_ms: Option<i64>,
    /// A sliding entry that is due for [`Change::Renew`](crate::Change::Renew).
    pub renew: bool,
}

/// The answer of [`Tables::get`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    /// Not there, or over.
    Miss,
    /// There.
    Hit(Found),
    /// There, and larger than was asked for.
    Large,
}

/// A value that is overwritten again and again while it is read is given up.
const TRIES: usize = 3;

impl Tables {
    /// Looks a value up, and counts a hit or a miss. A value in the blob file
    /// of more than `blob_max` bytes is not read.
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

    /// Looks a small value up in this process's memory: an answer is as good
    /// as that of [`Tables::get`], and counts as a hit.
    pub fn get_near(&self, key: &Key, now_ms: i64) -> Option<Found> {
        let id = self.id(key);
        let version = self.changes.version(id);
        let (value, expiry) = self.near.get(id, key, version, now_ms)?;
        self.hits.add(id);
        Self::count(&self.counts.hits, 1);
        Some(Found {
            value,
            expires_ms: expiry.expires_ms,
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
        for _ in 0..TRIES {
            let mut rows = select.query([id])?;
            let Some(row) = rows.next()? else {
                return Ok(Lookup::Miss);
            };
            let expiry = expiry(row, 0)?;
            if blob(row, 2)? != Some(key.as_bytes()) || expiry.is_over(now_ms) {
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
                // In a transaction of the caller's this may be a value that
                // others are not to see, or one from before its beginning.
                if conn.is_autocommit() {
                    self.near.put(id, key, &value, expiry, version, now_ms);
                }
                return Ok(Lookup::Hit(Found {
                    value,
                    expires_ms: expiry.expires_ms,
                    renew: expiry.renewed(now_ms).is_some(),
                }));
            }
            // Somebody else's value is there now; the row may tell more.
        }
        Ok(Lookup::Miss)
    }

    /// When an entry is over, in milliseconds since 1970: `Some(None)` for one
    /// that does not expire, `None` for one that is not there. Counts nothing.
    ///
    /// # Errors
    /// SQLite's.
    pub fn expires_ms(
        &self,
        conn: &Connection,
        key: &Key,
        now_ms: i64,
    ) -> Result<Option<Option<i64>>> {
        let mut select = conn.prepare_cached(
            "SELECT expires_ms, ttl_ms FROM _monolite_cache_entry WHERE id = ?1 AND key = ?2",
        )?;
        let found = select
            .query_row((self.id(key), key.as_bytes()), |row| expiry(row, 0))
            .optional()?;
        Ok(found
            .filter(|expiry| !expiry.is_over(now_ms))
            .map(|expiry| expiry.expires_ms))
    }

    /// Entries in the file, those over but not yet removed among them. Reads
    /// the whole table: about 50 ms a GiB.
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

pub(crate) fn expiry(row: &Row<'_>, first: usize) -> rusqlite::Result<Expiry> {
    Ok(Expiry {
        expires_ms: row.get(first)?,
        ttl_ms: row.get(first + 1)?,
    })
}

/// A column that is a blob or NULL.
pub(crate) fn blob<'r>(row: &'r Row<'_>, column: usize) -> rusqlite::Result<Option<&'r [u8]>> {
    Ok(row.get_ref(column)?.as_blob_or_null()?)
}

/// For the parameters of a statement.
pub(crate) fn int(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
