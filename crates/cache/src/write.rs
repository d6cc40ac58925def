//! Writes: changes of one key.

use std::borrow::Borrow;

use rusqlite::{CachedStatement, Connection, OptionalExtension};

use crate::blobs;
use crate::block_map::BlockMap;
use crate::capacity::Need;
use crate::expiry::{Deadline, Ttl};
use crate::hash::checksum;
use crate::key::Key;
use crate::removal::remove;
use crate::row::{blob, deadline, int};
use crate::tables::Tables;
use crate::{Error, Result, tag};

/// Up to this many bytes, key and value together, a value is kept in its row, which
/// then fits into one page.
const INLINE_MAX_BYTES: usize = 3900;

/// A change of one key, prepared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    key: Key,
    change: Change,
    /// Of a value that is kept in the blob file.
    checksum: i64,
}

/// What a [`Write`] does to its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Sets the value. [`Outcome::Done`]: true unless `if_absent` kept the old one.
    Set {
        /// The value.
        value: Vec<u8>,
        /// Its time to live.
        ttl: Ttl,
        /// The tags it can be deleted by.
        tags: Vec<String>,
        /// Only if the key has no value.
        if_absent: bool,
    },
    /// Deletes the key. Done: it had a value.
    Delete,
    /// Adds to a whole number in text; a missing one is 0. [`Outcome::Number`].
    Count {
        /// The number to add; may be negative.
        by: i64,
        /// The time to live of a number that was missing. An existing one keeps its
        /// own.
        ttl: Ttl,
    },
    /// Replaces the time to live. Done: the key has a value.
    Touch {
        /// Beginning now.
        ttl: Ttl,
    },
    /// Renews a sliding entry that was read.
    Renew,
}

/// The result of a [`Write`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Whether it took effect.
    Done(bool),
    /// The new number.
    Number(i64),
}

impl Change {
    /// When the entry it sets expires, as far as is known here.
    #[cfg(feature = "handle")]
    pub(crate) fn expires_ms(&self, now_ms: i64) -> Option<i64> {
        match self {
            Self::Set { ttl, .. } | Self::Count { ttl, .. } | Self::Touch { ttl } => {
                Deadline::new(*ttl, now_ms).expires_ms
            }
            Self::Delete | Self::Renew => None,
        }
    }
}

impl Write {
    /// Prepares a change. The checksum is computed here, on the caller's thread.
    pub fn new(key: Key, change: Change) -> Self {
        let checksum = match &change {
            Change::Set { value, .. } if !is_inline(&key, value) => checksum(value),
            _ => 0,
        };
        Self {
            key,
            change,
            checksum,
        }
    }

    #[cfg(feature = "handle")]
    pub(crate) fn key(&self) -> &Key {
        &self.key
    }

    /// About what it adds to memory and to the WAL, in bytes.
    #[cfg(feature = "handle")]
    pub(crate) fn weight(&self) -> usize {
        match &self.change {
            Change::Set { value, .. } => value.len(),
            _ => 0,
        }
    }

    fn need(&self) -> Need {
        match &self.change {
            Change::Set { value, tags, .. } => {
                let tags: usize = tags.iter().map(|tag| tag.len() * 2 + 32).sum();
                if is_inline(&self.key, value) {
                    Need::row(self.key.as_bytes().len() + value.len() + tags)
                } else {
                    Need {
                        blocks: blobs::blocks(value.len()).into(),
                        ..Need::row(self.key.as_bytes().len() + tags)
                    }
                }
            }
            Change::Count { .. } => Need::row(self.key.as_bytes().len()),
            Change::Delete | Change::Touch { .. } | Change::Renew => Need::default(),
        }
    }
}

fn is_inline(key: &Key, value: &[u8]) -> bool {
    key.as_bytes().len() + value.len() <= INLINE_MAX_BYTES
}

/// The row with the hash of a key.
struct Old {
    /// False for a row of another key, or an expired one: it is replaced.
    live: bool,
    deadline: Deadline,
    score: i64,
    runs: Option<Vec<u8>>,
    tags: Option<Vec<u8>>,
}

impl Tables {
    /// Does all of `writes`, in order. If one is refused, that is its own result.
    /// After an error of the whole the caller rolls back.
    ///
    /// # Errors
    /// SQLite's, or the blob file's.
    pub fn apply<W: Borrow<Write>>(
        &self,
        conn: &Connection,
        writes: &[W],
        now_ms: i64,
    ) -> Result<Vec<Result<Outcome>>> {
        self.void_claims(conn, writes.iter().map(|write| &write.borrow().key))?;
        let mut map = BlockMap::new(conn);
        let need = writes
            .iter()
            .map(|write| write.borrow().need())
            .fold(Need::default(), Need::plus);
        self.reserve(conn, &mut map, need, now_ms)?;
        let mut rows = Rows::new(self, conn, &mut map, now_ms)?;
        let outcomes = writes
            .iter()
            .map(|write| rows.run(write.borrow()))
            .collect::<Result<_>>()?;
        map.flush()?;
        Ok(outcomes)
    }

    /// Refuses a value that is too large for this cache.
    pub(crate) fn check(&self, write: &Write) -> Result<()> {
        let Change::Set { value, .. } = &write.change else {
            return Ok(());
        };
        let max_bytes = self.value_max_bytes();
        if value.len() as u64 <= max_bytes {
            return Ok(());
        }
        Err(Error::TooLarge {
            key: write.key.show(),
            bytes: value.len(),
            max_bytes,
        })
    }
}

/// The statements of one batch of writes.
struct Rows<'a, 'c> {
    tables: &'a Tables,
    conn: &'c Connection,
    map: &'a mut BlockMap<'c>,
    now_ms: i64,
    lookup: CachedStatement<'c>,
    insert: CachedStatement<'c>,
    update: CachedStatement<'c>,
}

impl<'a, 'c> Rows<'a, 'c> {
    fn new(
        tables: &'a Tables,
        conn: &'c Connection,
        map: &'a mut BlockMap<'c>,
        now_ms: i64,
    ) -> Result<Self> {
        Ok(Self {
            lookup: conn.prepare_cached(
                "SELECT expires_ms, ttl_ms, heat, key, runs, tags
                 FROM _monolite_cache_entry WHERE id = ?1",
            )?,
            // Not one upsert: it would keep a statement journal with a copy of each
            // page, a fifth of the cost of a write.
            insert: conn.prepare_cached(
                "INSERT INTO _monolite_cache_entry VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10)",
            )?,
            update: conn.prepare_cached(
                "UPDATE _monolite_cache_entry SET expires_ms = ?2, ttl_ms = ?3, heat = ?4,
                     size = ?5, key = ?6, tags = ?7, runs = ?8, checksum = ?9, value = ?10
                 WHERE id = ?1",
            )?,
            tables,
            conn,
            map,
            now_ms,
        })
    }

    fn run(&mut self, write: &Write) -> Result<Result<Outcome>> {
        let id = self.tables.id(&write.key);
        self.tables.changes.raise(id);
        let old = self.old(id, &write.key)?;
        let live = old.as_ref().filter(|old| old.live);
        let done = match &write.change {
            Change::Set {
                if_absent: true, ..
            } if live.is_some() => false,
            Change::Set {
                value, ttl, tags, ..
            } => {
                if let Err(refused) = self.tables.check(write) {
                    return Ok(Err(refused));
                }
                let tags = match tag::encode(tags) {
                    Ok(tags) => tags,
                    Err(refused) => return Ok(Err(refused)),
                };
                let deadline = Deadline::new(*ttl, self.now_ms);
                self.put(id, &write.key, value, write.checksum, deadline, tags, old)?;
                true
            }
            Change::Delete => {
                let was = live.is_some();
                if let Some(old) = old {
                    self.remove(id, &old)?;
                }
                was
            }
            Change::Count { by, ttl } => return self.count(id, &write.key, *by, *ttl, old),
            Change::Touch { ttl } => {
                let there = live.is_some();
                if there {
                    self.set_deadline(id, Deadline::new(*ttl, self.now_ms))?;
                }
                there
            }
            Change::Renew => {
                let renewed = live.and_then(|old| old.deadline.renewed(self.now_ms));
                if let Some(deadline) = renewed {
                    self.set_deadline(id, deadline)?;
                }
                renewed.is_some()
            }
        };
        Ok(Ok(Outcome::Done(done)))
    }

    fn old(&mut self, id: i64, key: &Key) -> Result<Option<Old>> {
        let found = self.lookup.query_row([id], |row| {
            let deadline = deadline(row, 0)?;
            let same = blob(row, 3)? == Some(key.as_bytes());
            Ok(Old {
                live: same && !deadline.has_expired(self.now_ms),
                deadline,
                score: row.get(2)?,
                runs: row.get(4)?,
                tags: row.get(5)?,
            })
        });
        Ok(found.optional()?)
    }

    #[expect(clippy::too_many_arguments, reason = "a row has so many columns")]
    fn put(
        &mut self,
        id: i64,
        key: &Key,
        value: &[u8],
        checksum: i64,
        deadline: Deadline,
        tags: Option<Vec<u8>>,
        old: Option<Old>,
    ) -> Result<()> {
        let now = self.tables.lrfu_clock();
        let mut score = now.first_use();
        let mut old_tags = None;
        let put = match old {
            None => &mut self.insert,
            Some(_) => &mut self.update,
        };
        if let Some(old) = old {
            if old.live {
                let hits = self.tables.hits.take(id) + 1;
                score = now.after_hits(old.score, hits);
            }
            if let Some(runs) = &old.runs {
                self.map.free(blobs::decode(runs))?;
            }
            old_tags = old.tags;
        }
        if old_tags != tags {
            tag::replace(self.conn, id, old_tags.as_deref(), tags.as_deref())?;
        }
        let inline = is_inline(key, value);
        let runs = if inline {
            None
        } else {
            let runs = self.map.allocate(blobs::blocks(value.len()))?;
            self.tables.blobs.write(&runs, value)?;
            Some(blobs::encode(&runs))
        };
        put.execute((
            id,
            deadline.expires_ms,
            deadline.ttl_ms,
            score,
            int(value.len()),
            key.as_bytes(),
            tags,
            runs,
            (!inline).then_some(checksum),
            inline.then_some(value),
        ))?;
        Tables::count(&self.tables.counts.sets, 1);
        Tables::count(&self.tables.written, (value.len() + 64) as u64);
        Ok(())
    }

    fn count(
        &mut self,
        id: i64,
        key: &Key,
        by: i64,
        ttl: Ttl,
        old: Option<Old>,
    ) -> Result<Result<Outcome>> {
        let live = old.as_ref().filter(|old| old.live);
        let (now, deadline, tags) = match live {
            None => (Some(0), Deadline::new(ttl, self.now_ms), None),
            Some(old) => {
                let mut get = self
                    .conn
                    .prepare_cached("SELECT value FROM _monolite_cache_entry WHERE id = ?1")?;
                let text: Option<Vec<u8>> = get.query_row([id], |row| row.get(0))?;
                let number = text.and_then(|text| std::str::from_utf8(&text).ok()?.parse().ok());
                let deadline = old.deadline.renewed(self.now_ms).unwrap_or(old.deadline);
                (number, deadline, old.tags.clone())
            }
        };
        let Some(now): Option<i64> = now else {
            return Ok(Err(Error::NotANumber { key: key.show() }));
        };
        let Some(sum) = now.checked_add(by) else {
            return Ok(Err(Error::Overflow {
                key: key.show(),
                by,
            }));
        };
        let text = sum.to_string();
        self.put(id, key, text.as_bytes(), 0, deadline, tags, old)?;
        Ok(Ok(Outcome::Number(sum)))
    }

    fn set_deadline(&self, id: i64, deadline: Deadline) -> Result<()> {
        let mut set = self.conn.prepare_cached(
            "UPDATE _monolite_cache_entry SET expires_ms = ?2, ttl_ms = ?3 WHERE id = ?1",
        )?;
        set.execute((id, deadline.expires_ms, deadline.ttl_ms))?;
        Ok(())
    }

    fn remove(&mut self, id: i64, old: &Old) -> Result<()> {
        remove(
            self.conn,
            self.map,
            id,
            old.runs.as_deref(),
            old.tags.as_deref(),
        )
    }
}
