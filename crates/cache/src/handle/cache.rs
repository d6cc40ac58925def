//! A cache, as an app uses it.

use std::future::Future;
use std::path::Path;
use std::sync::Arc;

use monolite_component::Opened;
use monolite_store::park::block_on;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::engine::Engine;
use super::options::{CacheOptions, EntryOptions};
use super::single_flight::{Bytes, Flights, Json, decode, encode, get_or_compute};
use super::sqlite::Sqlite;
use super::stats::Stats;
use crate::{Change, Error, Expiry, Found, Key, Outcome, Result, Ttl};

/// A handle on a cache; cheap to clone. All handles on one file, in all
/// processes, see the same entries.
///
/// Values are bytes (`get_bytes`, `set_bytes`), or whatever serde can write as
/// JSON (`get`, `set`). Keys are bytes: `&str`, `String`, `&[u8]` and the like,
/// of at most [`KEY_MAX_BYTES`](crate::KEY_MAX_BYTES).
///
/// Dropping the last handle closes the files.
#[derive(Debug, Clone)]
pub struct Cache {
    engine: Arc<dyn Engine>,
    flights: Arc<Flights>,
    namespace: Arc<str>,
    ttl: Ttl,
    opened: Arc<Opened>,
}

impl Cache {
    /// Opens the cache in the file `path`, or creates it; the directory must
    /// exist. A file that is damaged, of a newer version, or no cache at all is
    /// replaced by an empty one: see [`Cache::opened`].
    ///
    /// Blocks this thread for some milliseconds, and while another process opens
    /// the same file.
    ///
    /// # Errors
    /// A missing or read-only directory, a full disk, a filesystem without WAL,
    /// [`Error::BoundTooLow`].
    pub fn open(path: impl AsRef<Path>, options: CacheOptions) -> Result<Self> {
        let ttl = options.ttl;
        let (engine, opened) = Sqlite::open(path.as_ref(), options)?;
        Ok(Self {
            engine: Arc::new(engine),
            flights: Arc::default(),
            namespace: "".into(),
            ttl,
            opened: Arc::new(opened),
        })
    }

    /// What was found when the cache was opened. [`Opened::Rebuilt`] and
    /// [`Opened::SetAside`] are worth a line in the log.
    pub fn opened(&self) -> &Opened {
        &self.opened
    }

    /// A handle with its own namespace: the same key in another namespace is
    /// another entry. On a handle that has one, this makes a namespace inside it.
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

    fn key(&self, key: impl AsRef<[u8]>) -> Result<Key> {
        Key::new(&self.namespace, key.as_ref())
    }

    fn setting(&self, value: Vec<u8>, options: &EntryOptions) -> Change {
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
    /// As [`Cache::get_bytes`]; [`Error::Decode`] if it is of another type.
    pub async fn get<T: DeserializeOwned>(&self, key: impl AsRef<[u8]>) -> Result<Option<T>> {
        let key = self.key(key)?;
        match self.engine.get(key.clone()).await? {
            Some(found) => Ok(Some(decode(&key, &found.value)?)),
            None => Ok(None),
        }
    }

    /// The values of many keys, in order.
    ///
    /// # Errors
    /// As [`Cache::get`].
    pub async fn get_many<T: DeserializeOwned, K: AsRef<[u8]>>(
        &self,
        keys: &[K],
    ) -> Result<Vec<Option<T>>> {
        let found = self.find_many(keys).await?;
        keys.iter()
            .zip(found)
            .map(|(key, found)| match found {
                Some(found) => Ok(Some(decode(&self.key(key)?, &found.value)?)),
                None => Ok(None),
            })
            .collect()
    }

    /// Sets the value of a key.
    ///
    /// # Errors
    /// As [`Cache::set_bytes`]; [`Error::Encode`].
    pub async fn set<T: Serialize + ?Sized>(
        &self,
        key: impl AsRef<[u8]>,
        value: &T,
        options: &EntryOptions,
    ) -> Result<()> {
        let key = self.key(key)?;
        let change = self.setting(encode(&key, value)?, options);
        self.engine.write(key, change).await?;
        Ok(())
    }

    /// Sets the value of a key that has none; false if it has one.
    ///
    /// # Errors
    /// As [`Cache::set`].
    pub async fn add<T: Serialize + ?Sized>(
        &self,
        key: impl AsRef<[u8]>,
        value: &T,
        options: &EntryOptions,
    ) -> Result<bool> {
        let key = self.key(key)?;
        let change = only_if_absent(self.setting(encode(&key, value)?, options));
        self.done(key, change).await
    }

    /// Sets many values with the same options, 64 in a transaction.
    ///
    /// # Errors
    /// As [`Cache::set`], of the first that was refused; others may be set.
    pub async fn set_many<K: AsRef<[u8]>, T: Serialize>(
        &self,
        entries: impl IntoIterator<Item = (K, T)>,
        options: &EntryOptions,
    ) -> Result<()> {
        let writes = entries
            .into_iter()
            .map(|(key, value)| {
                let key = self.key(key)?;
                let value = encode(&key, &value)?;
                Ok((key, self.setting(value, options)))
            })
            .collect::<Result<Vec<_>>>()?;
        self.write_many(writes).await.map(|_| ())
    }

    /// The value of a key; if it has none, what `compute` returns, which is then
    /// stored. However many tasks and processes ask at the same time, one computes
    /// and the others wait for its value.
    ///
    /// - An error of `compute` is returned to its own caller; one of those that
    ///   wait tries next.
    /// - A process that is killed while it computes delays the others by
    ///   [`CacheOptions::lease`] at most; a task that is dropped, not at all.
    /// - A value that cannot be stored (a full disk, a value too large) is
    ///   returned all the same.
    /// - A stored value of another type is computed again: types may change.
    ///
    /// `compute` must not ask for the same key: it would wait for itself.
    ///
    /// # Errors
    /// Those of `compute`; [`Error::KeyTooLong`], [`Error::Closed`].
    ///
    /// ```
    /// # use monolite_cache::{Cache, CacheOptions, EntryOptions, Error};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let cache = Cache::open(dir.path().join("cache.sqlite3"), CacheOptions::new())?;
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let options = EntryOptions::new().tag("posts");
    /// let titles: Vec<String> = cache
    ///     .get_or_insert_with("titles", &options, async || {
    ///         Ok::<_, Error>(vec!["Hello".to_string()]) // A slow query.
    ///     })
    ///     .await?;
    /// assert_eq!(titles, ["Hello"]);
    /// # Ok::<(), Error>(())
    /// # })?;
    /// # Ok::<(), Error>(())
    /// ```
    pub async fn get_or_insert_with<T, E, F, Fut>(
        &self,
        key: impl AsRef<[u8]>,
        options: &EntryOptions,
        compute: F,
    ) -> Result<T, E>
    where
        T: Serialize + DeserializeOwned,
        E: From<Error>,
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        let key = self.key(key)?;
        let setting = |value| self.setting(value, options);
        get_or_compute::<Json<T>, E, F, Fut>(&self.engine, &self.flights, key, setting, compute)
            .await
    }

    /// As [`Cache::get_or_insert_with`], for bytes.
    ///
    /// # Errors
    /// As [`Cache::get_or_insert_with`].
    pub async fn get_or_insert_bytes_with<E, F, Fut>(
        &self,
        key: impl AsRef<[u8]>,
        options: &EntryOptions,
        compute: F,
    ) -> Result<Vec<u8>, E>
    where
        E: From<Error>,
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<Vec<u8>, E>>,
    {
        let key = self.key(key)?;
        let setting = |value| self.setting(value, options);
        get_or_compute::<Bytes, E, F, Fut>(&self.engine, &self.flights, key, setting, compute).await
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

    async fn find_many<K: AsRef<[u8]>>(&self, keys: &[K]) -> Result<Vec<Option<Found>>> {
        let keys = keys
            .iter()
            .map(|key| self.key(key))
            .collect::<Result<_>>()?;
        self.engine.get_many(keys).await
    }

    /// Sets the value of a key.
    ///
    /// # Errors
    /// [`Error::TooLarge`] over a quarter of the bound; [`Error::DiskFull`];
    /// [`Error::KeyTooLong`], [`Error::BadTag`]; those of the store. After any of
    /// them the key has its old value.
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

    /// Sets the value of a key that has none; false if it has one.
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

    async fn done(&self, key: Key, change: Change) -> Result<bool> {
        let outcome = self.engine.write(key, change).await?;
        Ok(outcome == Outcome::Done(true))
    }

    /// Sets many values with the same options, 64 in a transaction.
    ///
    /// # Errors
    /// As [`Cache::set_bytes`], of the first that was refused; others may be set.
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

    async fn write_many(&self, writes: Vec<(Key, Change)>) -> Result<Vec<Outcome>> {
        let outcomes = self.engine.write_many(writes).await?;
        outcomes.into_iter().collect()
    }

    /// Deletes a key; false if it had no value.
    ///
    /// # Errors
    /// [`Error::KeyTooLong`]; those of the store.
    pub async fn delete(&self, key: impl AsRef<[u8]>) -> Result<bool> {
        self.done(self.key(key)?, Change::Delete).await
    }

    /// Deletes many keys; returns how many of them had a value.
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

    /// Adds to a whole number, atomically, and returns the sum. A key without a
    /// value counts as 0, and is set with the time to live of `options` (their
    /// tags are ignored); an existing number keeps its time to live.
    ///
    /// The number is stored as text: `get_bytes` returns `b"42"`, `get::<i64>` 42.
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

    /// As [`Cache::increment`], subtracting.
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

    /// Replaces the time to live of an entry, beginning now; false if there is no
    /// such entry.
    ///
    /// # Errors
    /// As [`Cache::delete`].
    pub async fn touch(&self, key: impl AsRef<[u8]>, ttl: impl Into<Ttl>) -> Result<bool> {
        let ttl = ttl.into();
        self.done(self.key(key)?, Change::Touch { ttl }).await
    }

    /// True if the key has a value. Does not count as a use of it.
    ///
    /// # Errors
    /// As [`Cache::get_bytes`].
    pub async fn contains(&self, key: impl AsRef<[u8]>) -> Result<bool> {
        Ok(self.expiry(key).await? != Expiry::Missing)
    }

    /// How long an entry still lives. Does not count as a use of it.
    ///
    /// # Errors
    /// As [`Cache::get_bytes`].
    pub async fn expiry(&self, key: impl AsRef<[u8]>) -> Result<Expiry> {
        self.engine.expiry(self.key(key)?).await
    }

    /// Deletes all entries that have the tag, in every namespace; returns how
    /// many. Entries set while it runs may be deleted too.
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

    /// Deletes every entry of this handle's namespace and of those inside it;
    /// every entry of the file if the handle has no namespace. Returns how many.
    /// Reads the whole table, in steps; entries set while it runs may stay.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn clear(&self) -> Result<u64> {
        let namespace = (!self.namespace.is_empty()).then(|| self.namespace.to_string());
        self.engine.clear(namespace).await
    }

    /// Removes expired entries now, instead of within the next minute; returns
    /// how many. It is never needed: expired entries are not returned, and are
    /// the first to be evicted.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn remove_expired(&self) -> Result<u64> {
        self.engine.remove_expired().await
    }

    /// Counts and sizes. Counting the entries takes about 50 ms for each GiB, on
    /// a thread of the store.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn stats(&self) -> Result<Stats> {
        self.engine.stats().await
    }

    /// Sets the bound of this process, and evicts down to it in small steps
    /// between which other writes run. Afterwards the files are no larger than
    /// that, unless a long read transaction of another program holds the WAL.
    ///
    /// # Errors
    /// [`Error::BoundTooLow`]; those of the store.
    pub async fn set_bound_bytes(&self, bytes: u64) -> Result<()> {
        self.engine.set_bound_bytes(bytes).await
    }

    /// Closes the files, for every handle, after the waiting writes were done.
    pub async fn close(&self) {
        let _ = self.engine.close().await;
    }

    /// As [`Cache::get_bytes`], blocking this thread. Not for async code.
    ///
    /// # Errors
    /// As [`Cache::get_bytes`].
    pub fn get_bytes_blocking(&self, key: impl AsRef<[u8]>) -> Result<Option<Vec<u8>>> {
        block_on(self.get_bytes(key))
    }

    /// As [`Cache::set_bytes`], blocking this thread. Not for async code.
    ///
    /// # Errors
    /// As [`Cache::set_bytes`].
    pub fn set_bytes_blocking(
        &self,
        key: impl AsRef<[u8]>,
        value: impl Into<Vec<u8>>,
        options: &EntryOptions,
    ) -> Result<()> {
        block_on(self.set_bytes(key, value, options))
    }

    /// As [`Cache::close`], blocking this thread. Not for async code.
    pub fn close_blocking(&self) {
        block_on(self.close());
    }

    /// As [`Cache::get`], blocking this thread. Not for async code.
    ///
    /// # Errors
    /// As [`Cache::get`].
    pub fn get_blocking<T: DeserializeOwned>(&self, key: impl AsRef<[u8]>) -> Result<Option<T>> {
        block_on(self.get(key))
    }

    /// As [`Cache::set`], blocking this thread. Not for async code.
    ///
    /// # Errors
    /// As [`Cache::set`].
    pub fn set_blocking<T: Serialize + ?Sized>(
        &self,
        key: impl AsRef<[u8]>,
        value: &T,
        options: &EntryOptions,
    ) -> Result<()> {
        block_on(self.set(key, value, options))
    }
}

fn only_if_absent(change: Change) -> Change {
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
