//! A value from this process's memory is the one in the file.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use monolite_cache::{Cache, CacheOptions, EntryOptions};

/// Two that share nothing but the files, as two processes do.
fn two(dir: &tempfile::TempDir) -> (Cache, Cache) {
    let open = || Cache::open(dir.path().join("cache.sqlite3"), CacheOptions::new()).unwrap();
    (open(), open())
}

#[test]
fn nobody_gets_what_was_before_an_answered_write() {
    let dir = tempfile::tempdir().unwrap();
    let (writer, reader) = two(&dir);
    let answered = Arc::new(AtomicI64::new(0));
    writer
        .set_blocking("n", &0_i64, &EntryOptions::new())
        .unwrap();
    let readers: Vec<_> = (0..2)
        .map(|n| {
            let cache = if n == 0 {
                reader.clone()
            } else {
                writer.clone()
            };
            let answered = Arc::clone(&answered);
            std::thread::spawn(move || {
                let mut gets = 0_u64;
                loop {
                    let least = answered.load(Ordering::SeqCst);
                    if least < 0 {
                        return gets;
                    }
                    let found: i64 = cache.get_blocking("n").unwrap().unwrap();
                    assert!(found >= least, "{found} after {least} was answered");
                    gets += 1;
                }
            })
        })
        .collect();
    for n in 1..=3_000 {
        writer.set_blocking("n", &n, &EntryOptions::new()).unwrap();
        answered.store(n, Ordering::SeqCst);
    }
    answered.store(-1, Ordering::SeqCst);
    for reader in readers {
        assert!(reader.join().unwrap() > 0);
    }
}

#[tokio::test]
async fn every_way_of_deleting_is_seen_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = two(&dir);
    let tagged = EntryOptions::new().tag("t");
    for way in 0..6 {
        let key = format!("k{way}");
        one.set_bytes(&key, "x", &tagged).await.unwrap();
        for _ in 0..3 {
            assert!(two.get_bytes(&key).await.unwrap().is_some());
        }
        match way {
            0 => assert!(one.delete(&key).await.unwrap()),
            1 => assert_eq!(one.delete_tag("t").await.unwrap(), 1),
            2 => assert_eq!(one.clear().await.unwrap(), 1),
            3 => assert_eq!(one.delete_many(&[&key]).await.unwrap(), 1),
            4 => one.set_bytes(&key, "y", &tagged).await.unwrap(),
            _ => {
                let life = monolite_cache::Ttl::After(std::time::Duration::ZERO);
                assert!(one.touch(&key, life).await.unwrap());
            }
        }
        let found = two.get_bytes(&key).await.unwrap();
        let expected = (way == 4).then(|| b"y".to_vec());
        assert_eq!(found, expected, "way {way}");
        one.clear().await.unwrap();
    }
    let stats = two.stats().await.unwrap();
    assert_eq!((stats.hits, stats.misses), (19, 5));
}

/// A byte of the mapped file without a place on the disk would end the process
/// that touches it once the disk is full.
#[test]
fn the_counters_have_their_place_on_the_disk_from_the_start() {
    use std::os::unix::fs::MetadataExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cache.sqlite3");
    let sparse = dir.path().join("cache.sqlite3-changes");
    std::fs::File::create(&sparse)
        .unwrap()
        .set_len(4096)
        .unwrap();
    let cache = monolite_cache::Cache::open(&path, monolite_cache::CacheOptions::new());
    let file = std::fs::metadata(sparse).unwrap();
    assert!(file.len() > 4096);
    assert!(
        file.blocks() * 512 >= file.len(),
        "{} blocks",
        file.blocks()
    );
    cache.unwrap().close_blocking();
}
