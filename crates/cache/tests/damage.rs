//! A file that is not what it should be is no error, neither when opening nor
//! later.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use monolite_cache::{Cache, CacheOptions, EntryOptions, Opened};

fn open(path: &Path) -> Cache {
    Cache::open(path, CacheOptions::new()).unwrap()
}

async fn works(cache: &Cache) {
    let options = EntryOptions::new();
    for size in [10, 100_000] {
        cache
            .set_bytes("works", vec![3; size], &options)
            .await
            .unwrap();
        let found = cache.get_bytes("works").await.unwrap();
        assert_eq!(found, Some(vec![3; size]));
    }
}

/// A closed cache with some entries in it.
async fn filled(dir: &Path) -> PathBuf {
    let path = dir.join("cache.sqlite3");
    let cache = open(&path);
    assert_eq!(cache.opened(), &Opened::Created);
    let entries = (0..3_000).map(|n| (format!("k{n}"), vec![7; 300]));
    cache
        .set_many_bytes(entries, &EntryOptions::new())
        .await
        .unwrap();
    cache
        .set_bytes("large", vec![9; 50_000], &EntryOptions::new())
        .await
        .unwrap();
    cache.close().await;
    path
}

#[tokio::test]
async fn a_whole_one_is_opened_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = filled(dir.path()).await;
    let cache = open(&path);
    assert_eq!(cache.opened(), &Opened::Existing);
    assert_eq!(cache.get_bytes("k7").await.unwrap(), Some(vec![7; 300]));
    assert_eq!(
        cache.get_bytes("large").await.unwrap(),
        Some(vec![9; 50_000])
    );
}

#[tokio::test]
async fn garbage_is_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cache.sqlite3");
    fs::write(&path, b"my diary".repeat(1000)).unwrap();
    let cache = open(&path);
    let Opened::SetAside { path: set_aside } = cache.opened() else {
        panic!("{:?}", cache.opened());
    };
    assert!(fs::read(set_aside).unwrap().starts_with(b"my diary"));
    works(&cache).await;
}

#[tokio::test]
async fn somebody_elses_database_is_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cache.sqlite3");
    let conn = rusqlite::Connection::open(&path).unwrap();
    conn.execute_batch("CREATE TABLE post (x); INSERT INTO post VALUES (1)")
        .unwrap();
    drop(conn);
    let cache = open(&path);
    let Opened::SetAside { path: set_aside } = cache.opened() else {
        panic!("{:?}", cache.opened());
    };
    let conn = rusqlite::Connection::open(set_aside).unwrap();
    let posts: i64 = conn
        .query_row("SELECT count(*) FROM post", [], |row| row.get(0))
        .unwrap();
    assert_eq!(posts, 1);
    works(&cache).await;
}

#[tokio::test]
async fn a_truncated_one_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let path = filled(dir.path()).await;
    let length = fs::metadata(&path).unwrap().len();
    File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(length / 3)
        .unwrap();
    let cache = open(&path);
    works(&cache).await;
    for n in 0..3_000 {
        cache.get_bytes(format!("k{n}")).await.unwrap();
    }
    works(&cache).await;
    assert!(*cache.opened() != Opened::Existing || cache.stats().await.unwrap().rebuilds > 0);
}

#[tokio::test]
async fn half_of_it_zeroed_is_noticed_when_it_is_met() {
    let dir = tempfile::tempdir().unwrap();
    let path = filled(dir.path()).await;
    let length = fs::metadata(&path).unwrap().len();
    let file = File::options().write(true).open(&path).unwrap();
    file.write_all_at(&vec![0; length as usize / 2], length / 2)
        .unwrap();
    let cache = open(&path);
    for n in 0..3_000 {
        cache.get_bytes(format!("k{n}")).await.unwrap();
    }
    works(&cache).await;
    assert!(*cache.opened() != Opened::Existing || cache.stats().await.unwrap().rebuilds > 0);
}

#[tokio::test]
async fn one_of_a_newer_version_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let path = filled(dir.path()).await;
    let conn = rusqlite::Connection::open(&path).unwrap();
    conn.execute("UPDATE _monolite_schema SET version = 99", [])
        .unwrap();
    drop(conn);
    let cache = open(&path);
    assert!(matches!(cache.opened(), Opened::Rebuilt { reason } if reason.contains("99")));
    works(&cache).await;
}

#[tokio::test]
async fn damage_while_it_is_open_is_a_miss_and_mended() {
    for large in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let path = filled(dir.path()).await;
        let cache = open(&path);
        let other = open(&path);
        let length = fs::metadata(&path).unwrap().len();
        let file = File::options().write(true).open(&path).unwrap();
        let (from, size) = if large {
            (0, length)
        } else {
            (8192, length - 8192)
        };
        file.write_all_at(&vec![0xa5; size as usize], from).unwrap();
        for n in 0..300 {
            cache.get_bytes(format!("k{n}")).await.unwrap();
        }
        works(&cache).await;
        assert!(cache.stats().await.unwrap().rebuilds > 0);
        // The other one finds the same file, sooner or later.
        for n in 0..600 {
            other.get_bytes(format!("k{n}")).await.unwrap();
        }
        works(&other).await;
        assert_eq!(
            cache.get_bytes("works").await.unwrap(),
            Some(vec![3; 100_000])
        );
        other.close().await;
        cache.close().await;
        let cache = open(&path);
        assert_eq!(cache.opened(), &Opened::Existing);
        assert_eq!(
            cache.get_bytes("works").await.unwrap(),
            Some(vec![3; 100_000])
        );
    }
}

#[tokio::test]
async fn a_write_that_meets_damage_is_done_in_the_new_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = filled(dir.path()).await;
    let cache = open(&path);
    let length = fs::metadata(&path).unwrap().len();
    let file = File::options().write(true).open(&path).unwrap();
    file.write_all_at(&vec![0xa5; length as usize], 0).unwrap();
    works(&cache).await;
    assert_eq!(
        cache.increment("n", 2, &EntryOptions::new()).await.unwrap(),
        2
    );
}

#[tokio::test]
async fn a_damaged_or_missing_blob_is_a_miss() {
    let dir = tempfile::tempdir().unwrap();
    let path = filled(dir.path()).await;
    let blobs = dir.path().join("cache.sqlite3-blobs");
    let cache = open(&path);
    File::options()
        .write(true)
        .open(&blobs)
        .unwrap()
        .write_all_at(b"x", 49_999)
        .unwrap();
    assert_eq!(cache.get_bytes("large").await.unwrap(), None);
    works(&cache).await;
    cache.close().await;
    fs::remove_file(&blobs).unwrap();
    let cache = open(&path);
    assert_eq!(cache.get_bytes("large").await.unwrap(), None);
    assert_eq!(cache.get_bytes("works").await.unwrap(), None);
    works(&cache).await;
}

#[tokio::test]
async fn files_taken_away_while_open_are_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let path = filled(dir.path()).await;
    let cache = open(&path);
    for suffix in ["", "-wal", "-shm", "-blobs"] {
        let _ = fs::remove_file(dir.path().join(format!("cache.sqlite3{suffix}")));
    }
    for _ in 0..400 {
        cache.get_bytes("k1").await.unwrap();
    }
    assert!(path.exists());
    works(&cache).await;
}
