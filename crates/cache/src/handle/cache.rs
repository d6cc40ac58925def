//! A cache, as the app has it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use monolite_component::Clock;

use super::engine::Engine;
use super::files::Rebuilt;
use super::flight::Flights;
use super::sqlite::Sqlite;
use crate::{CacheOptions, Change, EntryOptions, Error, Found, Key, Outcome, Result, Stats, Ttl};

/// A handle on a cache; cheap to clone. All handles on one file, in all
/// processes, see the same entries.
///
/// Values are bytes (`get_bytes`, `set_bytes`), or whatever serde can turn
/// into JSON (`get`, `set`). Keys are bytes: `&str`, `String`, `&[u8]` and the
/// like, at most [`crate::KEY_MAX_BYTES`].
///
/// Dropping the last handle closes the files.
#[derive(Debug, Clone)]
pub struct Cache {
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) flights: Arc<Flights>,
    namespace: Arc<str>,
    ttl: Ttl,
    clock: Arc<dyn Clock>,
    rebuilt: Option<Arc<Rebuilt>>,
}

impl Cache {
    /// Opens the cache in the file `path`, or makes it; the directory must
    /// exist. A file that is damaged, of a newer version, or no cache at all
    /// is made anew: see [`Cache::rebuilt`].
    ///
    /// Blocks for some milliseconds, and while another process opens the same.
    ///
    /// # Errors
    /// A missing or read-only directory, a full disk, a filesystem without
    /// WAL, [`Error::BoundTooLow`].
    pub fn open(path: impl AsRef<Path>, options: CacheOptions) -> Result<Self> {
        let path = std::path::absolute(path.as_ref()).map_err(|source| Error::Io {
            what: "find the current directory for",
            path: path.as_ref().into(),
            source,
        })?;
        let (ttl, clock) = (options.ttl, Arc::clone(&options.clock));
        let engine = Sqlite::open(path, options)?;
        let rebuilt = engine.rebuilt().map(Arc::new);
        Ok(Self {
            rebuilt,
            ..Self::over(Arc::new(engine), ttl, clock)
        })
    }

    /// A handle over any engine; `ttl` is for entries that bring none.
    pub fn over(engine: Arc<dyn Engine>, ttl: Ttl, clock: Arc<dyn Clock>) -> Self {
        Self {
            engine,
            flights: Arc::default(),
            namespace: "".into(),
            ttl,
            clock,
            rebuilt: None,
        }
    }

    /// Why the cache was empty when it was opened, if it was made then. Worth
    /// a line in the log unless it is [`Rebuilt::Missing`].
    pub fn rebuilt(&self) -> Option<&Rebuilt> {
        self.rebuilt.as_deref()
    }

    /// A handle whose keys are apart from those of any other namespace. Inside
    /// of a namespace it makes one within it.
    #[must_use]
    pub fn namespace(&self, name: &str) -> Self {
        let namespace = if self.namespace.is_empty() {
            name.into()
        } else {
            format!("{}/{name}", self.namespace).into()
        };
        Self {
            namespace,
            ..self.clone()
        }
    }

    pub(crate) fn key(&self, key: impl AsRef<[u8]>) -> Result<Key> {
        Key::new(&self.namespace, key.as_ref())
    }

    pub(crate) fn setting(&self, value: Vec<u8>, options: &EntryOptions) -> Change {
        Change::Set {
            value,
            ttl: options.ttl.unwrap_or(self.ttl),
            tags: options.tags.clone(),
            if_absent: false,
        }
    }

    /// The value of a key.
    ///
    /// # Errors
    /// [`Error::KeyTooLong`]; those of the store. Never because of what is in
    /// the file.
    pub async fn get_bytes(&self, key: impl AsRef<[u8]>) -> Result<Option<Vec<u8>>> {
        let found = self.engine.get(self.key(key)?).await?;
        Ok(found.map(|found| found.value))
    }

    /// The values of many keys, in order.
    ///
    /// # Errors
    /// As [`Cache::get_bytes`].
    pub async fn get_many_bytes<K: AsRef<[u8]>>(&self, keys: &[K]) -> Result<Vec<Option<Vec<u8>>>> {
        let found = self.find_many(keys).await?;
        Ok(found
            .into_iter()
            .map(|found| found.map(|found| found.value))
            .collect())
    }

    pub(crate) async fn find_many<K: AsRef<[u8]>>(&self, keys: &[K]) -> Result<Vec<Option<Found>>> {
        let keys = keys
            .iter()
            .map(|key| self.key(key))
            .collect::<Result<_>>()?;
        self.engine.get_many(keys).await
    }

    /// Puts a value in, in the place of what was there.
    ///
    /// # Errors
    /// [`Error::TooLarge`] over a quarter of the bound; [`Error::DiskFull`];
    /// [`Error::KeyTooLong`], [`Error::BadTag`]; those of the store. The old
    /// value is still there then.
    pub async fn set_bytes(
        &self,
        key: impl AsRef<[u8]>,
        value: impl Into<Vec<u8>>,
        options: &EntryOptions,
    ) -> Result<()> {
        let change = self.setting(value.into(), options);
        self.engine.write(self.key(key)?, change).await?;
        Ok(())
    }

    /// Puts a value in if there is none; false if there is.
    ///
    /// # Errors
    /// As [`Cache::set_bytes`].
    pub async fn add_bytes(
        &self,
        key: impl AsRef<[u8]>,
        value: impl Into<Vec<u8>>,
        options: &EntryOptions,
    ) -> Result<bool> {
        let change = only_if_absent(self.setting(value.into(), options));
        self.done(self.key(key)?, change).await
    }

    pub(crate) async fn done(&self, key: Key, change: Change) -> Result<bool> {
        let outcome = self.engine.write(key, change).await?;
        Ok(outcome == Outcome::Done(true))
    }

    /// Puts many values in, 64 a transaction; all with the same options.
    ///
    /// # Errors
    /// As [`Cache::set_bytes`], of the first that was refused; others may be
    /// in.
    pub async fn set_many_bytes<K: AsRef<[u8]>, V: Into<Vec<u8>>>(
        &self,
        entries: impl IntoIterator<Item = (K, V)>,
        options: &EntryOptions,
    ) -> Result<()> {
        let writes = entries
            .into_iter()
            .map(|(key, value)| Ok((self.key(key)?, self.setting(value.into(), options))))
            .collect::<Result<Vec<_>>>()?;
        self.write_many(writes).await.map(|_| ())
    }

    pub(crate) async fn write_many(&self, writes: Vec<(Key, Change)>) -> Result<Vec<Outcome>> {
        let outcomes = self.engine.write_many(writes).await?;
        outcomes.into_iter().collect()
    }

    /// Takes a key out; false if it was not there.
    ///
    /// # Errors
    /// [`Error::KeyTooLong`]; those of the store.
    pub async fn delete(&self, key: impl AsRef<[u8]>) -> Result<bool> {
        self.done(self.key(key)?, Change::Delete).await
    }

    /// Takes many keys out; answers how many there were.
    ///
    /// # Errors
    /// As [`Cache::delete`].
    pub async fn delete_many<K: AsRef<[u8]>>(&self, keys: &[K]) -> Result<u64> {
        let writes = keys
            .iter()
            .map(|key| Ok((self.key(key)?, Change::Delete)))
            .collect::<Result<Vec<_>>>()?;
        let outcomes = self.write_many(writes).await?;
        let there = |outcome: &&Outcome| **outcome == Outcome::Done(true);
        Ok(outcomes.iter().filter(there).count() as u64)
    }

    /// Adds to a whole number, atomically, and answers the sum. A number that
    /// is not there is 0, and is put in with `options` (without its tags); one
    /// that is there keeps its time to live.
    ///
    /// The number is text: `get_bytes` answers `b"42"`, `get::<i64>` 42.
    ///
    /// # Errors
    /// [`Error::NotANumber`], [`Error::Overflow`]; as [`Cache::set_bytes`].
    pub async fn increment(
        &self,
        key: impl AsRef<[u8]>,
        by: i64,
        options: &EntryOptions,
    ) -> Result<i64> {
        let ttl = options.ttl.unwrap_or(self.ttl);
        let change = Change::Count { by, ttl };
        match self.engine.write(self.key(key)?, change).await? {
            Outcome::Number(number) => Ok(number),
            Outcome::Done(_) => Ok(by),
        }
    }

    /// As [`Cache::increment`], the other way.
    ///
    /// # Errors
    /// As [`Cache::increment`].
    pub async fn decrement(
        &self,
        key: impl AsRef<[u8]>,
        by: i64,
        options: &EntryOptions,
    ) -> Result<i64> {
        let key = self.key(key)?;
        let Some(by) = by.checked_neg() else {
            let key = key.show();
            return Err(Error::Overflow { key, by });
        };
        let ttl = options.ttl.unwrap_or(self.ttl);
        match self.engine.write(key, Change::Count { by, ttl }).await? {
            Outcome::Number(number) => Ok(number),
            Outcome::Done(_) => Ok(by),
        }
    }

    /// Gives an entry another time to live, from now on; false if it is not
    /// there.
    ///
    /// # Errors
    /// As [`Cache::delete`].
    pub async fn touch(&self, key: impl AsRef<[u8]>, ttl: Ttl) -> Result<bool> {
        self.done(self.key(key)?, Change::Touch { ttl }).await
    }

    /// True if there is such an entry. Does not count as a use of it.
    ///
    /// # Errors
    /// As [`Cache::get_bytes`].
    pub async fn contains(&self, key: impl AsRef<[u8]>) -> Result<bool> {
        Ok(self.engine.expires_ms(self.key(key)?).await?.is_some())
    }

    /// How long an entry has still to live: `None` if it is not there,
    /// `Some(None)` if it does not expire. Does not count as a use of it.
    ///
    /// # Errors
    /// As [`Cache::get_bytes`].
    pub async fn ttl(&self, key: impl AsRef<[u8]>) -> Result<Option<Option<Duration>>> {
        let expires = self.engine.expires_ms(self.key(key)?).await?;
        let now = self.clock.wall_ms();
        Ok(expires.map(|at| {
            let left = at?.saturating_sub(now);
            Some(Duration::from_millis(u64::try_from(left).unwrap_or(0)))
        }))
    }

    /// Takes out all entries that have the tag, whatever their namespace;
    /// answers how many. Those put in while it runs may go as well.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn delete_tag(&self, tag: &str) -> Result<u64> {
        self.engine.delete_tag(tag.into()).await
    }

    /// As [`Cache::delete_tag`], for many tags.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn delete_tags<T: AsRef<str>>(&self, tags: &[T]) -> Result<u64> {
        let mut total = 0;
        for tag in tags {
            total += self.delete_tag(tag.as_ref()).await?;
        }
        Ok(total)
    }

    /// Takes out everything in this handle's namespace and those within it;
    /// everything at all if it has none. Answers how many entries. Reads the
    /// whole table, in steps; what is put in while it runs may stay.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn clear(&self) -> Result<u64> {
        let namespace = (!self.namespace.is_empty()).then(|| self.namespace.to_string());
        self.engine.clear(namespace).await
    }

    /// Takes out what is over now, instead of some time within the next
    /// minute. Answers how many entries. It is never needed: what is over is
    /// not answered, and is the first to go when there is no room.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn remove_expired(&self) -> Result<u64> {
        self.engine.remove_expired().await
    }

    /// What was done, and what there is. Counts the entries: about 50 ms a
    /// GiB, on a thread of its own.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn stats(&self) -> Result<Stats> {
        self.engine.stats().await
    }

    /// Sets the bound, and evicts down to it in small steps, between which
    /// other writes go on. The files are no larger than that afterwards,
    /// unless a long read transaction of somebody else holds them.
    ///
    /// # Errors
    /// [`Error::BoundTooLow`]; those of the store.
    pub async fn set_bound_bytes(&self, bytes: u64) -> Result<()> {
        self.engine.set_bound_bytes(bytes).await
    }

    /// Ends it on every handle: what waits is written, and the file closed.
    pub async fn close(&self) {
        let _ = self.engine.close().await;
    }
}

pub(crate) fn only_if_absent(change: Change) -> Change {
    match change {
        Change::Set {
            value, ttl, tags, ..
        } => Change::Set {
            value,
            ttl,
            tags,
            if_absent: true,
        },
        other => other,
    }
}
