//! Values computed once, however many ask for them at the same time.
//!
//! Within a process the first task that misses computes, and hands the value to
//! the others ([`Flights`]). Between processes the computing tasks claim the key
//! in the file; whoever does not get the claim waits until it ends.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use super::engine::Engine;
use crate::{Change, Claim, Error, Key, Result};

/// The value, or `None` if the task that computed it gave up.
type Computed = Option<Arc<Vec<u8>>>;

/// The keys that tasks of this process compute.
#[derive(Debug, Default)]
pub(crate) struct Flights {
    of: Mutex<HashMap<Key, watch::Receiver<Computed>>>,
}

enum Joined<'f> {
    /// The caller computes.
    Lead(Lead<'f>),
    /// Another task does.
    Follow(watch::Receiver<Computed>),
}

/// Ends the flight when dropped.
struct Lead<'f> {
    flights: &'f Flights,
    key: Key,
    computed: watch::Sender<Computed>,
}

impl Flights {
    fn lock(&self) -> MutexGuard<'_, HashMap<Key, watch::Receiver<Computed>>> {
        self.of.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn join(&self, key: &Key) -> Joined<'_> {
        match self.lock().entry(key.clone()) {
            Entry::Occupied(flight) => Joined::Follow(flight.get().clone()),
            Entry::Vacant(entry) => {
                let (computed, receiver) = watch::channel(None);
                entry.insert(receiver);
                Joined::Lead(Lead {
                    flights: self,
                    key: key.clone(),
                    computed,
                })
            }
        }
    }
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        // Before the sender is dropped: a task that finds the sender gone must
        // not find this flight again.
        self.flights.lock().remove(&self.key);
    }
}

/// Waits for the end of another task's flight.
async fn landed(mut flight: watch::Receiver<Computed>) -> Computed {
    // An error: the sender is gone. Its last value is still there.
    let _ = flight.wait_for(Option::is_some).await;
    flight.borrow().clone()
}

/// Abandons the claim when dropped, unless it was settled.
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

/// A number that nobody else uses: random for each process, and counted there.
fn new_token() -> i64 {
    use std::hash::{BuildHasher, RandomState};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    // The state is random; the process id differs between a fork and its parent.
    RandomState::new()
        .hash_one((number, std::process::id()))
        .cast_signed()
}

/// How a value is stored.
pub(crate) trait Form {
    type Value;
    /// `None`: the stored bytes are of another form; the value is computed.
    fn read(key: &Key, bytes: &[u8]) -> Option<Self::Value>;
    fn bytes(key: &Key, value: &Self::Value) -> Result<Vec<u8>>;
}

pub(crate) struct Bytes;

impl Form for Bytes {
    type Value = Vec<u8>;
    fn read(_: &Key, bytes: &[u8]) -> Option<Vec<u8>> {
        Some(bytes.to_vec())
    }
    fn bytes(_: &Key, value: &Vec<u8>) -> Result<Vec<u8>> {
        Ok(value.clone())
    }
}

pub(crate) struct Json<T>(std::marker::PhantomData<T>);

impl<T: Serialize + DeserializeOwned> Form for Json<T> {
    type Value = T;
    fn read(key: &Key, bytes: &[u8]) -> Option<T> {
        decode(key, bytes).ok()
    }
    fn bytes(key: &Key, value: &T) -> Result<Vec<u8>> {
        encode(key, value)
    }
}

pub(crate) fn encode<T: Serialize + ?Sized>(key: &Key, value: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|source| Error::Encode {
        key: key.show(),
        source,
    })
}

pub(crate) fn decode<T: DeserializeOwned>(key: &Key, value: &[u8]) -> Result<T> {
    serde_json::from_slice(value).map_err(|source| Error::Decode {
        key: key.show(),
        source,
    })
}

/// The value of `key`; if there is none, what `compute` returns, which is stored
/// as the change that `setting` makes of its bytes.
pub(crate) async fn get_or_compute<V, E, F, Fut>(
    engine: &Arc<dyn Engine>,
    flights: &Flights,
    key: Key,
    setting: impl FnOnce(Vec<u8>) -> Change,
    compute: F,
) -> Result<V::Value, E>
where
    V: Form,
    E: From<Error>,
    F: FnOnce() -> Fut,
    Fut: Future<Output = Result<V::Value, E>>,
{
    let lead = loop {
        if let Some(value) = look_up::<V>(engine, &key).await? {
            return Ok(value);
        }
        match flights.join(&key) {
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
        engine,
        key: &key,
        token: new_token(),
    };
    loop {
        match engine.claim(key.clone(), claimed.token).await {
            Ok(Claim::Mine) => break,
            Ok(Claim::Present) => match look_up::<V>(engine, &key).await? {
                Some(value) => return Ok(value),
                // Deleted meanwhile, or of another form.
                None => {
                    let _ = engine.write(key.clone(), Change::Delete).await;
                }
            },
            Ok(Claim::Taken { .. }) => engine.unclaimed(key.clone()).await?,
            Err(Error::Closed) => return Err(Error::Closed.into()),
            // Without a claim it may be computed twice.
            Err(_) => break,
        }
    }
    let value = compute().await?;
    if let Ok(bytes) = V::bytes(&key, &value) {
        let bytes = Arc::new(bytes);
        let change = setting(bytes.to_vec());
        let _ = engine.settle(key.clone(), claimed.token, change).await;
        lead.computed.send_replace(Some(bytes));
    }
    Ok(value)
}

async fn look_up<V: Form>(engine: &Arc<dyn Engine>, key: &Key) -> Result<Option<V::Value>> {
    let found = match engine.get(key.clone()).await {
        Err(Error::Closed) => return Err(Error::Closed),
        // A cache that fails is treated as an empty one.
        other => other.unwrap_or(None),
    };
    Ok(found.and_then(|found| V::read(key, &found.value)))
}
