//! Bytes on disk, and what is kept when there is no room for all.

use std::collections::{BTreeMap, HashMap};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use monolite_cache::{Cache, CacheOptions, EntryOptions, Error};

const MIB: u64 = 1 << 20;

fn open(path: &Path, bound_bytes: u64) -> Cache {
    Cache::open(path, CacheOptions::new().bound_bytes(bound_bytes)).unwrap()
}

/// As `ls` counts and as the disk does, whichever is more; of the blob file,
/// which has holes, as the disk does.
fn on_disk(dir: &Path) -> u64 {
    let mut total = 0;
    for entry in std::fs::read_dir(dir).unwrap() {
        // A file may go while it is looked at.
        let Ok(found) = entry.as_ref().unwrap().metadata() else {
            continue;
        };
        let blocks = found.blocks() * 512;
        let holes = entry
            .unwrap()
            .file_name()
            .to_string_lossy()
            .ends_with("-blobs");
        total += if holes {
            blocks
        } else {
            blocks.max(found.len())
        };
    }
    total
}

fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// Sizes from 10 bytes to 1 MB, each magnitude as likely as the other.
fn size(state: &mut u64) -> usize {
    let magnitude = random(state) % 5;
    let low = 10_u64.pow(magnitude as u32 + 1);
    (low + random(state) % (low * 9)).min(1_000_000) as usize
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_bound_holds_at_every_moment() {
    for bound in [8 * MIB, 16 * MIB] {
        let dir = tempfile::tempdir().unwrap();
        let cache = open(&dir.path().join("cache.sqlite3"), bound);
        let stop = Arc::new(AtomicBool::new(false));
        let sampler = std::thread::spawn({
            let (dir, stop) = (dir.path().to_path_buf(), Arc::clone(&stop));
            move || {
                let (mut most, mut samples) = (0, 0);
                while !stop.load(Ordering::Relaxed) {
                    most = on_disk(&dir).max(most);
                    samples += 1;
                    std::thread::yield_now();
                }
                (most, samples)
            }
        });
        let mut writers = tokio::task::JoinSet::new();
        for writer in 1..=4_u64 {
            let cache = cache.clone();
            writers.spawn(async move {
                let mut state = writer * 7919;
                let options = EntryOptions::new().tag(format!("w{writer}"));
                for n in 0..100 {
                    let value = vec![n as u8; size(&mut state)];
                    let key = format!("{writer}:{}", random(&mut state) % 400);
                    cache.set_bytes(key, value, &options).await.unwrap();
                }
                // Then small ones, that want the room of the large ones.
                for n in 0..800 {
                    let key = format!("{writer}:small:{n}");
                    cache.set_bytes(key, vec![1; 700], &options).await.unwrap();
                }
            });
        }
        while let Some(done) = writers.join_next().await {
            done.unwrap();
        }
        let stats = cache.stats().await.unwrap();
        assert!(stats.evictions > 0, "{stats:?}");
        assert!(stats.live_bytes > bound / 2, "it is used: {stats:?}");
        stop.store(true, Ordering::Relaxed);
        let (most, samples) = sampler.join().unwrap();
        assert!(samples > 10);
        assert!(most <= bound + bound / 20, "{most} of {bound}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_files_shrink_when_the_bound_does() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cache.sqlite3");
    let cache = open(&path, 40 * MIB);
    let options = EntryOptions::new();
    for n in 0..400_u32 {
        cache
            .set_bytes(n.to_le_bytes(), vec![1; 40_000], &options)
            .await
            .unwrap();
        let small = (0..40).map(|m: u32| (format!("{n}:{m}"), vec![2; 900]));
        cache.set_many_bytes(small, &options).await.unwrap();
    }
    assert!(on_disk(dir.path()) > 30 * MIB);
    cache.set_bound_bytes(10 * MIB).await.unwrap();
    let now = on_disk(dir.path());
    assert!(now <= 10 * MIB, "{now}");
    let stats = cache.stats().await.unwrap();
    assert!(
        stats.live_bytes > 5 * MIB,
        "not more than needed: {stats:?}"
    );
    // Once more, by opening with less.
    cache.set_bound_bytes(40 * MIB).await.unwrap();
    for n in 0..700_u32 {
        cache
            .set_bytes(n.to_le_bytes(), vec![1; 40_000], &options)
            .await
            .unwrap();
    }
    assert!(on_disk(dir.path()) > 20 * MIB);
    cache.close().await;
    let cache = open(&path, 8 * MIB);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while on_disk(dir.path()) > 8 * MIB {
        assert!(
            std::time::Instant::now() < deadline,
            "{}",
            on_disk(dir.path())
        );
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let error = cache.set_bound_bytes(MIB).await.unwrap_err();
    assert!(matches!(error, Error::BoundTooLow { .. }));
}

#[tokio::test]
async fn a_reader_that_holds_the_wal_does_not_break_the_bound() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cache.sqlite3");
    let cache = open(&path, 8 * MIB);
    cache
        .set_bytes("first", "x", &EntryOptions::new())
        .await
        .unwrap();
    let reader = rusqlite::Connection::open(&path).unwrap();
    reader
        .execute_batch("BEGIN; SELECT count(*) FROM _monolite_cache_entry")
        .unwrap();
    let options = EntryOptions::new();
    let mut refused = None;
    for n in 0..3_000_u32 {
        let value = vec![1; 3_000];
        let set = cache.set_bytes(n.to_le_bytes(), value, &options).await;
        if let Err(error) = set {
            refused = Some(error);
            break;
        }
        assert!(on_disk(dir.path()) <= 8 * MIB + 8 * MIB / 20);
    }
    let refused = refused.expect("the WAL is held");
    assert!(matches!(refused, Error::WalHeld { .. }), "{refused}");
    assert!(
        cache.get_bytes("first").await.unwrap().is_some(),
        "reads go on"
    );
    reader.execute_batch("COMMIT").unwrap();
    cache
        .set_bytes("now", "x", &EntryOptions::new())
        .await
        .unwrap();
}

/// Entries in the order they are given up, at most so many.
struct Exact {
    capacity: usize,
    moves: bool,
    order: BTreeMap<u64, u32>,
    places: HashMap<u32, u64>,
    clock: u64,
}

impl Exact {
    fn new(capacity: usize, moves: bool) -> Self {
        Self {
            capacity,
            moves,
            order: BTreeMap::new(),
            places: HashMap::new(),
            clock: 0,
        }
    }

    fn hit(&mut self, key: u32) -> bool {
        self.clock += 1;
        if let Some(place) = self.places.get_mut(&key) {
            if self.moves {
                self.order.remove(place);
                *place = self.clock;
                self.order.insert(self.clock, key);
            }
            return true;
        }
        self.order.insert(self.clock, key);
        self.places.insert(key, self.clock);
        if self.places.len() > self.capacity
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.places.remove(&oldest);
        }
        false
    }
}

/// Of `count` requests, for keys of which few are asked for often.
fn zipf(keys: u32, count: usize, alpha: f64) -> Vec<u32> {
    let mut sums = Vec::new();
    let mut sum = 0.0;
    for key in 1..=keys {
        sum += f64::from(key).powf(-alpha);
        sums.push(sum);
    }
    let mut state = 88_172_645_463_325_252;
    (0..count)
        .map(|_| {
            let at = (random(&mut state) >> 11) as f64 / (1_u64 << 53) as f64 * sum;
            sums.partition_point(|sum| *sum < at) as u32
        })
        .collect()
}

/// Measured in full (release, 8 MiB, α 0.9, 1.5 million requests): 66 % at
/// 100 bytes a value, where LRU at the same size has 62 % and FIFO 58 %.
#[test]
fn it_hits_more_often_than_lru_of_the_same_size() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(&dir.path().join("cache.sqlite3"), 8 * MIB);
    let requests = zipf(12_000, 36_000, 0.9);
    let warm = requests.len() / 3;
    let options = EntryOptions::new();
    let mut hits = Vec::new();
    for key in &requests {
        let name = key.to_le_bytes();
        let hit = cache.get_bytes_blocking(name).unwrap().is_some();
        if !hit {
            cache
                .set_bytes_blocking(name, vec![1; 2_500], &options)
                .unwrap();
        }
        hits.push(hit);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let entries = runtime.block_on(cache.stats()).unwrap().entries as usize;
    assert!((1_000..6_000).contains(&entries), "{entries}");
    let rate = |hits: &[bool]| {
        let late = &hits[warm..];
        late.iter().filter(|hit| **hit).count() as f64 / late.len() as f64
    };
    let simulate = |moves| {
        let mut exact = Exact::new(entries, moves);
        rate(
            &requests
                .iter()
                .map(|key| exact.hit(*key))
                .collect::<Vec<_>>(),
        )
    };
    let (ours, lru, fifo) = (rate(&hits), simulate(true), simulate(false));
    println!("{entries} entries: {ours:.3}, LRU {lru:.3}, FIFO {fifo:.3}");
    assert!(lru > fifo);
    assert!(ours >= lru, "{ours:.3}, LRU {lru:.3}");
}
