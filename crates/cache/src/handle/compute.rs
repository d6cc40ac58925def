//! Values computed once, however many ask for them at a time.
//!
//! Within a process the first who misses leads, and hands what it computed to
//! the others (`flight.rs`). Between processes the leaders claim the key in the
//! file (`claim.rs`); who does not get it sleeps until the file changes.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::engine::Engine;
use super::flight::{Joined, landed};
use super::typed::{decode, encode};
use crate::{Cache, Change, Claim, EntryOptions, Error, Key, Result};

/// Abandons the claim unless it was settled.
struct Claimed<'c> {
    engine: &'c Arc<dyn Engine>,
    key: &'c Key,
    token: i64,
}

impl Drop for Claimed<'_> {
    fn drop(&mut self) {
        self.engine.abandon(self.key.clone(), self.token);
    }
}

/// A number nobody else uses: random for each process, and counted there.
fn token() -> i64 {
    use std::hash::{BuildHasher, RandomState};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    // The state is random; the process tells a fork from its parent.
    RandomState::new()
        .hash_one((number, std::process::id()))
        .cast_signed()
}

/// What a value is, and what the file keeps of it.
trait Form {
    type Value;
    /// `None`: it is not of this form (any more), and is computed anew.
    fn read(key: &Key, bytes: &[u8]) -> Option<Self::Value>;
    fn bytes(key: &Key, value: &Self::Value) -> Result<Vec<u8>>;
}

struct Bytes;

impl Form for Bytes {
    type Value = Vec<u8>;
    fn read(_: &Key, bytes: &[u8]) -> Option<Vec<u8>> {
        Some(bytes.to_vec())
    }
    fn bytes(_: &Key, value: &Vec<u8>) -> Result<Vec<u8>> {
        Ok(value.clone())
    }
}

struct Json<T>(std::marker::PhantomData<T>);

impl<T: Serialize + DeserializeOwned> Form for Json<T> {
    type Value = T;
    fn read(key: &Key, bytes: &[u8]) -> Option<T> {
        decode(key, bytes).ok()
    }
    fn bytes(key: &Key, value: &T) -> Result<Vec<u8>> {
        encode(key, value)
    }
}

impl Cache {
    /// The value of a key; if there is none, what `compute` answers, which is
    /// put in. However many tasks and processes ask at a time, one computes
    /// and the others wait for it.
    ///
    /// - An error of `compute` is answered to its own caller; one of those
    ///   that wait tries next.
    /// - A process that dies while it computes holds the others up for
    ///   [`CacheOptions::lease`](crate::CacheOptions::lease) at most; a task
    ///   that is dropped, not at all.
    /// - A value that cannot be put in (a full disk, a value too large) is
    ///   answered all the same.
    /// - A value of another type is computed anew: types may change.
    ///
    /// `compute` must not ask for the same key: it would wait for itself.
    ///
    /// # Errors
    /// Those of `compute`; [`Error::KeyTooLong`], [`Error::Closed`].
    ///
    /// ```
    /// # use monolite_cache::{Cache, CacheOptions, EntryOptions, Error};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let cache = Cache::open(dir.path().join("cache.sqlite3"), CacheOptions::default())?;
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let options = EntryOptions::new().tag("posts");
    /// let titles: Vec<String> = cache
    ///     .get_or_insert_with("titles", &options, async || {
    ///         Ok::<_, Error>(vec!["Hello".to_string()]) // A query that takes its time.
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
        self.single_flight::<Json<T>, E, F, Fut>(key, options, compute)
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
        self.single_flight::<Bytes, E, F, Fut>(key, options, compute)
            .await
    }

    async fn single_flight<V, E, F, Fut>(
        &self,
        key: Key,
        options: &EntryOptions,
        compute: F,
    ) -> Result<V::Value, E>
    where
        V: Form,
        E: From<Error>,
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<V::Value, E>>,
    {
        let lead = loop {
            if let Some(value) = self.look_for::<V>(&key).await? {
                return Ok(value);
            }
            match self.flights.join(&key) {
                Joined::Lead(lead) => break lead,
                Joined::Follow(flight) => {
                    if let Some(bytes) = landed(flight).await
                        && let Some(value) = V::read(&key, &bytes)
                    {
                        return Ok(value);
                    }
                }
            }
        };
        let claimed = Claimed {
            engine: &self.engine,
            key: &key,
            token: token(),
        };
        loop {
            match self.engine.claim(key.clone(), claimed.token).await {
                Ok(Claim::Mine) => break,
                Ok(Claim::Present) => match self.look_for::<V>(&key).await? {
                    Some(value) => return Ok(value),
                    // Gone again, or of another form.
                    None => {
                        let _ = self.engine.write(key.clone(), Change::Delete).await;
                    }
                },
                Ok(Claim::Theirs { .. }) => self.engine.unclaimed(key.clone()).await?,
                Err(Error::Closed) => return Err(Error::Closed.into()),
                // Without a claim it may be computed twice, but it is.
                Err(_) => break,
            }
        }
        let value = compute().await?;
        if let Ok(bytes) = V::bytes(&key, &value) {
            let bytes = Arc::new(bytes);
            let change = self.setting(bytes.to_vec(), options);
            let _ = self.engine.settle(key.clone(), claimed.token, change).await;
            lead.land(bytes);
        }
        Ok(value)
    }

    async fn look_for<V: Form>(&self, key: &Key) -> Result<Option<V::Value>> {
        let found = match self.engine.get(key.clone()).await {
            Err(Error::Closed) => return Err(Error::Closed),
            // A cache that fails is one that has nothing.
            other => other.unwrap_or(None),
        };
        Ok(found.and_then(|found| V::read(key, &found.value)))
    }
}
