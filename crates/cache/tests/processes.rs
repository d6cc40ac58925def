//! What a cache promises across processes. This program starts itself again
//! as the others; see `child`.

use std::path::Path;
use std::time::Duration;

use monolite_cache::{Cache, CacheOptions, EntryOptions, Error, Opened};
use monolite_testkit::child::Child;

fn options() -> CacheOptions {
    CacheOptions::new()
        .bound_bytes(16 << 20)
        .lease(Duration::from_secs(2))
}

/// Runs only when named by a parent test: does what its standard input says.
#[test]
#[ignore = "the other process of the tests below"]
fn child() {
    let path = std::env::var("CACHE_PATH").unwrap();
    let cache = Cache::open(path, options()).unwrap();
    println!(
        "\n{}",
        if *cache.opened() != Opened::Existing {
            "made"
        } else {
            "found"
        }
    );
    println!("ready");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .unwrap();
    for line in std::io::stdin().lines() {
        let line = line.unwrap();
        let mut words = line.split(' ');
        match words.next().unwrap() {
            "stampede" => runtime.block_on(stampede(&cache, words.next().unwrap())),
            "hang" => {
                let key = words.next().unwrap().to_string();
                let cache = cache.clone();
                runtime.spawn(async move {
                    let hang = async || {
                        println!("computing");
                        std::future::pending::<Result<String, Error>>().await
                    };
                    cache
                        .get_or_insert_with(key, &EntryOptions::new(), hang)
                        .await
                });
            }
            "write" => runtime.block_on(write(&cache)),
            "get" => {
                let found = cache.get_bytes_blocking(words.next().unwrap()).unwrap();
                let found =
                    found.map_or("nothing".into(), |found| String::from_utf8(found).unwrap());
                println!("got {found}");
            }
            other => panic!("{other}"),
        }
        println!("done {line}");
    }
}

async fn stampede(cache: &Cache, key: &str) {
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (cache, key) = (cache.clone(), key.to_string());
        all.spawn(async move {
            let compute = async || {
                println!("computed {key}");
                // Long enough for all to come.
                tokio::time::sleep(Duration::from_millis(100)).await;
                Ok::<_, Error>(format!("value of {key}"))
            };
            let value: Result<String, Error> = cache
                .get_or_insert_with(&key, &EntryOptions::new(), compute)
                .await;
            assert_eq!(value.unwrap(), format!("value of {key}"));
        });
    }
    all.join_all().await;
}

/// Sets of all sizes, until killed. Each value tells its key.
async fn write(cache: &Cache) {
    println!("writing");
    let mut all = tokio::task::JoinSet::new();
    for writer in 0..4_u64 {
        let cache = cache.clone();
        all.spawn(async move {
            for n in 0.. {
                let number = (n * 31 + writer * 7) % 500;
                let size = [20, 900, 12_000, 90_000][n as usize % 4];
                let value = format!("{number:08}").repeat(size / 8);
                let tags = EntryOptions::new().tag(format!("t{}", number % 3));
                cache
                    .set_bytes(number.to_string(), value, &tags)
                    .await
                    .unwrap();
            }
        });
    }
    all.join_all().await;
}

/// Another process with the cache in `path`.
fn other(path: &Path) -> Child {
    Child::start("child", [("CACHE_PATH", path)])
}

#[test]
fn those_who_open_at_once_have_one_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cache.sqlite3");
    std::fs::write(&path, b"no database".repeat(900)).unwrap();
    let mut all: Vec<_> = (0..6).map(|_| other(&path)).collect();
    let made = all
        .iter()
        .flat_map(|other| other.lines_until("ready"))
        .filter(|line| line == "made")
        .count();
    assert_eq!(made, 1);
    let cache = Cache::open(&path, options()).unwrap();
    assert_eq!(cache.opened(), &Opened::Existing);
    cache
        .set_bytes_blocking("k", "one", &EntryOptions::new())
        .unwrap();
    for other in &mut all {
        other.send("get k");
        assert_eq!(other.lines_until("done get k"), ["got one"]);
    }
}

#[test]
fn a_stampede_computes_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cache.sqlite3");
    let mut all: Vec<_> = (0..4).map(|_| other(&path)).collect();
    for other in &all {
        other.lines_until("ready");
    }
    for round in 0..5 {
        let line = format!("stampede k{round}");
        for other in &mut all {
            other.send(&line);
        }
        let done = format!("done {line}");
        let computed = format!("computed k{round}");
        let lines = all.iter().flat_map(|other| other.lines_until(&done));
        assert_eq!(
            lines.filter(|line| *line == computed).count(),
            1,
            "round {round}"
        );
    }
}

#[test]
fn who_dies_computing_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cache.sqlite3");
    let (mut one, mut two) = (other(&path), other(&path));
    one.lines_until("ready");
    two.lines_until("ready");
    one.send("hang k");
    one.lines_until("computing");
    two.send("stampede k");
    // Past its lease, alive and asked for: nobody takes it from it.
    std::thread::sleep(Duration::from_secs(3));
    assert!(two.received().is_empty(), "it is still being computed");
    one.kill();
    let lines = two.lines_until("done stampede k");
    assert_eq!(lines, ["computed k"]);
}

#[test]
fn kill_nine_while_writing_leaves_a_whole_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cache.sqlite3");
    for round in 0..20 {
        let mut others = [other(&path), other(&path)];
        for other in &mut others {
            other.lines_until("ready");
            other.send("write");
        }
        for other in &others {
            other.lines_until("writing");
        }
        std::thread::sleep(Duration::from_millis(20 + round * 7));
        for other in &mut others {
            other.kill();
        }
        let conn = rusqlite::Connection::open(&path).unwrap();
        let check: String = conn
            .query_row("PRAGMA integrity_check", [], |row| row.get(0))
            .unwrap();
        assert_eq!(check, "ok", "round {round}");
        drop(conn);
        let cache = Cache::open(&path, options()).unwrap();
        let opened = cache.opened();
        let kept = matches!(opened, Opened::Existing | Opened::Created);
        assert!(kept, "round {round}: {opened:?}");
        for number in 0..500 {
            if let Some(value) = cache.get_bytes_blocking(number.to_string()).unwrap() {
                let word = format!("{number:08}");
                assert!(value.chunks(8).all(|chunk| chunk == word.as_bytes()));
            }
        }
        cache.close_blocking();
    }
}
