//! Our side of the cache bench, one function a case. Each opens a cache in the
//! directory it is given, closes it in the end, and measures for about the time
//! given, after a warm-up of a tenth of it.

use std::path::Path;
use std::time::{Duration, Instant};

use monolite_cache::{Cache, CacheOptions, EntryOptions};
use tokio::runtime::Runtime;

use crate::cache::load::{Load, key};
use crate::contest::histogram::Histogram;
use crate::random::Random;
use crate::turns::Ours;

/// The waits of sets of 1 KB by one caller in a cache that is full.
pub(crate) const SET_WHILE_EVICTING: Ours<Histogram> = Some(while_evicting);

/// A cache, and the runtime its callers run on.
struct Place {
    runtime: Runtime,
    cache: Cache,
}

impl Place {
    fn open(dir: &Path, bound_bytes: u64) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_time()
            .build()?;
        let options = CacheOptions::new().bound_bytes(bound_bytes);
        // Some of it runs on the runtime it is opened on.
        let entered = runtime.enter();
        let cache = Cache::open(dir.join("cache.sqlite3"), options)?;
        drop(entered);
        Ok(Self { runtime, cache })
    }

    fn close(self) {
        self.runtime.block_on(self.cache.close());
    }

    /// Every key of the load once.
    fn fill(&self, load: Load) -> anyhow::Result<()> {
        let (keys, value) = (load.keys(), load.value());
        self.runtime.block_on(async {
            for number in 0..keys {
                let options = EntryOptions::new();
                self.cache
                    .set_bytes(key(number), value.clone(), &options)
                    .await?;
            }
            Ok(())
        })
    }
}

/// What 64 MB of values take, and as much again.
const ROOM: u64 = 256 << 20;

/// Values found or stored per second: keys at random among [`Load::keys`], all
/// of them there.
pub(crate) fn speed(dir: &Path, verb: &str, load: Load, time: Duration) -> anyhow::Result<f64> {
    let place = Place::open(dir, ROOM)?;
    place.fill(load)?;
    let set = verb == "set";
    calls(&place, set, load, time / 10)?;
    let rate = calls(&place, set, load, time)?;
    place.close();
    Ok(rate)
}

fn calls(place: &Place, set: bool, load: Load, time: Duration) -> anyhow::Result<f64> {
    let started = Instant::now();
    let callers: Vec<_> = (0..load.callers as u64)
        .map(|caller| {
            let cache = place.cache.clone();
            place.runtime.spawn(async move {
                let (keys, value) = (load.keys(), load.value());
                let options = EntryOptions::new();
                let mut random = Random::new(caller + 1);
                let mut count = 0_u32;
                while started.elapsed() < time {
                    let key = key(random.below(keys));
                    if set {
                        // Never what is there: SQLite writes only what differs.
                        let mut value = value.clone();
                        value[..4].copy_from_slice(&count.to_le_bytes());
                        cache.set_bytes(key, value, &options).await?;
                    } else {
                        let found = cache.get_bytes(&key).await?;
                        anyhow::ensure!(found.is_some(), "{key} is not there");
                    }
                    count += 1;
                }
                anyhow::Ok(count)
            })
        })
        .collect();
    let mut count = 0;
    for caller in callers {
        count += place.runtime.block_on(caller)??;
    }
    Ok(f64::from(count) / started.elapsed().as_secs_f64())
}

fn while_evicting(dir: &Path, time: Duration) -> anyhow::Result<Histogram> {
    let place = Place::open(dir, 16 << 20)?;
    let value = vec![b'x'; 1024];
    let mut number = 0;
    let mut waits = Histogram::default();
    place.runtime.block_on(async {
        let mut set = async || {
            number += 1;
            let options = EntryOptions::new();
            place
                .cache
                .set_bytes(key(number), value.clone(), &options)
                .await
        };
        // Over its bound for sure.
        for _ in 0..24_000 {
            set().await?;
        }
        let end = Instant::now() + time;
        while Instant::now() < end {
            let before = Instant::now();
            set().await?;
            waits.record(before.elapsed());
        }
        anyhow::Ok(())
    })?;
    let stats = place.runtime.block_on(place.cache.stats())?;
    anyhow::ensure!(stats.evictions > 1000, "{} evictions", stats.evictions);
    place.close();
    Ok(waits)
}

/// A cache to be asked for the keys of a trace.
pub(crate) struct Asked {
    place: Place,
    value: Vec<u8>,
}

impl Asked {
    pub(crate) fn open(dir: &Path, bound_bytes: u64, value_bytes: usize) -> anyhow::Result<Self> {
        Ok(Self {
            place: Place::open(dir, bound_bytes)?,
            value: vec![b'x'; value_bytes],
        })
    }

    /// True for a hit; takes the key in otherwise.
    pub(crate) fn ask(&self, number: u32) -> anyhow::Result<bool> {
        self.place.runtime.block_on(async {
            let cache = &self.place.cache;
            if cache.get_bytes(key(number.into())).await?.is_some() {
                return Ok(true);
            }
            let options = EntryOptions::new();
            let value = self.value.clone();
            cache.set_bytes(key(number.into()), value, &options).await?;
            Ok(false)
        })
    }

    /// Entries held now.
    pub(crate) fn entries(&self) -> anyhow::Result<usize> {
        let stats = self.place.runtime.block_on(self.place.cache.stats())?;
        Ok(usize::try_from(stats.entries)?)
    }

    pub(crate) fn close(self) {
        self.place.close();
    }
}
