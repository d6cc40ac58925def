//! A full disk, in a mount namespace.

use std::path::PathBuf;

use monolite_cache::{Cache, CacheOptions, EntryOptions, Error, Opened};
use monolite_testkit::child::in_mount_namespace;

#[test]
fn a_full_disk_refuses_sets_and_recovers_when_there_is_space() {
    in_mount_namespace("full_disk", "mount -t tmpfs -o size=6m none \"$DIR\"");
}

#[tokio::test]
#[ignore = "the other half of a_full_disk_refuses_sets_and_recovers_when_there_is_space"]
async fn full_disk() {
    let dir: PathBuf = std::env::var_os("DIR").unwrap().into();
    let ballast = dir.join("ballast");
    for size in [3_000_usize, 60_000] {
        std::fs::write(&ballast, vec![1; 3 << 20]).unwrap();
        let path = dir.join(format!("cache-{size}.sqlite3"));
        let cache = Cache::open(&path, CacheOptions::new()).unwrap();
        let options = EntryOptions::new();
        let mut answered = 0_u32;
        let error = loop {
            let key = answered.to_le_bytes();
            match cache.set_bytes(key, vec![7; size], &options).await {
                Ok(()) => answered += 1,
                Err(error) => break error,
            }
            assert!(answered < 2_000, "6 MB were never full");
        };
        assert!(matches!(error, Error::DiskFull { .. }), "{error:?}");
        assert!(error.to_string().contains("Free some space"));
        for n in 0..answered {
            let found = cache.get_bytes(n.to_le_bytes()).await.unwrap();
            assert_eq!(found, Some(vec![7; size]), "reads go on");
        }
        // It is computed all the same.
        let value = cache
            .get_or_insert_bytes_with("k", &options, async || Ok::<_, Error>(vec![9; size]))
            .await;
        assert_eq!(value.unwrap(), vec![9; size]);

        std::fs::remove_file(&ballast).unwrap();
        cache
            .set_bytes("again", vec![8; size], &options)
            .await
            .unwrap();
        assert_eq!(cache.stats().await.unwrap().rebuilds, 0);
        cache.close().await;
        let cache = Cache::open(&path, CacheOptions::new()).unwrap();
        assert_eq!(cache.opened(), &Opened::Existing);
        assert_eq!(cache.get_bytes("again").await.unwrap(), Some(vec![8; size]));
        cache.close().await;
        for file in std::fs::read_dir(&dir).unwrap() {
            std::fs::remove_file(file.unwrap().path()).unwrap();
        }
    }
}
