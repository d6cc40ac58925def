//! Writes: what is done to one key.

use std::borrow::Borrow;

use rusqlite::{CachedStatement, Connection, OptionalExtension};

use crate::blobs;
use crate::expiry::{Expiry, Ttl};
use crate::hash::checksum;
use crate::map::Map;
use crate::read::{blob, expiry, int};
use crate::room::Need;
use crate::{Error, Key, Result, Tables, tag};

/// Key and value up to this many bytes together are kept in the row, which
/// then fits into one page.
pub(crate) const INLINE_MAX: usize = 3900;

/// What is to be done to one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    key: Key,
    change: Change,
    /// Of a value that will not be kept in the row.
    checksum: i64,
}

/// See [`Write::new`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Puts a value in. Answers [`Outcome::Done`].
    Set {
        /// The value.
        value: Vec<u8>,
        /// How long it lives.
        ttl: Ttl,
        /// What it can be deleted by.
        tags: Vec<String>,
        /// Only if there is none.
        if_absent: bool,
    },
    /// Takes it out. Done: there was one.
    Delete,
    /// Adds to a whole number in text, or to nothing, which is 0. Answers
    /// [`Outcome::Number`].
    Count {
        /// May be negative.
        by: i64,
        /// For a number that was not there. One that was keeps its own.
        ttl: Ttl,
    },
    /// Gives it another time to live. Done: there is one.
    Touch {
        /// From now on.
        ttl: Ttl,
    },
    /// A sliding entry was read.
    Renew,
}

/// The answer to a [`Write`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Whether it took place.
    Done(bool),
    /// The new number.
    Number(i64),
}

impl Change {
    /// When what it puts in may be over first, at the latest known.
    #[cfg(feature = "handle")]
    pub(crate) fn due_ms(&self, now_ms: i64) -> Option<i64> {
        match self {
            Self::Set { ttl, .. } | Self::Count { ttl, .. } | Self::Touch { ttl } => {
                Expiry::new(*ttl, now_ms).expires_ms
            }
            Self::Delete | Self::Renew => None,
        }
    }
}

impl Write {
    /// Works out here, on the caller's thread, what can be.
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
    key.as_bytes().len() + value.len() <= INLINE_MAX
}

/// What is in the row of a key's hash.
struct Old {
    /// False: it is another key's, or over, and only in the way.
    live: bool,
    expiry: Expiry,
    heat: i64,
    runs: Option<Vec<u8>>,
    tags: Option<Vec<u8>>,
}

impl Tables {
    /// Does all of `writes`, in order. A refusal of one is its answer; an
    /// error of the whole is to be rolled back by the caller.
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
        let mut map = Map::new(conn);
        let need = writes
            .iter()
            .map(|write| write.borrow().need())
            .fold(Need::default(), Need::plus);
        self.make_room(conn, &mut map, need, now_ms)?;
        let mut rows = Rows::new(self, conn, &mut map, now_ms)?;
        let outcomes = writes
            .iter()
            .map(|write| rows.run(write.borrow()))
            .collect::<Result<_>>()?;
        map.flush()?;
        Ok(outcomes)
    }
}

impl Tables {
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

/// The statements of one batch.
struct Rows<'a, 'c> {
    tables: &'a Tables,
    conn: &'c Connection,
    map: &'a mut Map<'c>,
    now_ms: i64,
    lookup: CachedStatement<'c>,
    insert: CachedStatement<'c>,
    update: CachedStatement<'c>,
}

impl<'a, 'c> Rows<'a, 'c> {
    fn new(
        tables: &'a Tables,
        conn: &'c Connection,
        map: &'a mut Map<'c>,
        now_ms: i64,
    ) -> Result<Self> {
        Ok(Self {
            lookup: conn.prepare_cached(
                "SELECT expires_ms, ttl_ms, heat, key, runs, tags
                 FROM _monolite_cache_entry WHERE id = ?1",
            )?,
            // Not one statement for both: it would keep a journal of its own,
            // with a copy of each page, which is a fifth of all.
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
                let expiry = Expiry::new(*ttl, self.now_ms);
                self.put(id, &write.key, value, write.checksum, expiry, tags, old)?;
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
                    self.set_expiry(id, Expiry::new(*ttl, self.now_ms))?;
                }
                there
            }
            Change::Renew => {
                let renewed = live.and_then(|old| old.expiry.renewed(self.now_ms));
                if let Some(expiry) = renewed {
                    self.set_expiry(id, expiry)?;
                }
                renewed.is_some()
            }
        };
        Ok(Ok(Outcome::Done(done)))
    }

    fn old(&mut self, id: i64, key: &Key) -> Result<Option<Old>> {
        let found = self.lookup.query_row([id], |row| {
            let expiry = expiry(row, 0)?;
            let same = blob(row, 3)? == Some(key.as_bytes());
            Ok(Old {
                live: same && !expiry.is_over(self.now_ms),
                expiry,
                heat: row.get(2)?,
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
        expiry: Expiry,
        tags: Option<Vec<u8>>,
        old: Option<Old>,
    ) -> Result<()> {
        let now = self.tables.now();
        let mut heat = now.fresh();
        let mut old_tags = None;
        let put = match old {
            None => &mut self.insert,
            Some(_) => &mut self.update,
        };
        if let Some(old) = old {
            if old.live {
                let hits = self.tables.hits.take(id) + 1;
                heat = now.warmed(old.heat, hits);
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
            expiry.expires_ms,
            expiry.ttl_ms,
            heat,
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
        let (now, expiry, tags) = match live {
            None => (Some(0), Expiry::new(ttl, self.now_ms), None),
            Some(old) => {
                let mut get = self
                    .conn
                    .prepare_cached("SELECT value FROM _monolite_cache_entry WHERE id = ?1")?;
                let text: Option<Vec<u8>> = get.query_row([id], |row| row.get(0))?;
                let number = text.and_then(|text| std::str::from_utf8(&text).ok()?.parse().ok());
                let expiry = old.expiry.renewed(self.now_ms).unwrap_or(old.expiry);
                (number, expiry, old.tags.clone())
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
        self.put(id, key, text.as_bytes(), 0, expiry, tags, old)?;
        Ok(Ok(Outcome::Number(sum)))
    }

    fn set_expiry(&self, id: i64, expiry: Expiry) -> Result<()> {
        let mut set = self.conn.prepare_cached(
            "UPDATE _monolite_cache_entry SET expires_ms = ?2, ttl_ms = ?3 WHERE id = ?1",
        )?;
        set.execute((id, expiry.expires_ms, expiry.ttl_ms))?;
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

/// Takes a row out, with all that is its.
pub(crate) fn remove(
    conn: &Connection,
    map: &mut Map<'_>,
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
