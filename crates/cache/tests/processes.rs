//! What a cache promises across processes. This program starts itself again
//! as the others; see `child`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use monolite_cache::{Cache, CacheOptions, EntryOptions, Error, Rebuilt};

fn options() -> CacheOptions {
    CacheOptions {
        bound_bytes: 16 << 20,
        lease: Duration::from_secs(2),
        ..CacheOptions::default()
    }
}

/// Runs only when named by a parent test: does what its standard input says.
#[test]
#[ignore = "the other process of the tests below"]
fn child() {
    let path = std::env::var("CACHE_PATH").unwrap();
    let cache = Cache::open(path, options()).unwrap();
    println!(
        "\n{}",
        if cache.rebuilt().is_some() {
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
                        .get_or_insert_with(key, &EntryOptions::NONE, hang)
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
                .get_or_insert_with(&key, &EntryOptions::NONE, compute)
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

struct Other {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Other {
    fn start(path: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["child", "--exact", "--ignored", "--nocapture"])
            .env("CACHE_PATH", path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (tx, lines) = mpsc::channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let _ = tx.send(line);
            }
        });
        Self { child, lines }
    }

    fn say(&mut self, line: &str) {
        let stdin = self.child.stdin.as_mut().unwrap();
        writeln!(stdin, "{line}").unwrap();
    }

    /// The lines up to the wanted one.
    fn until(&self, wanted: &str) -> Vec<String> {
        let deadline = Instant::now() + Duration::from_secs(30);
        let mut seen = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left).expect(wanted);
            if line == wanted {
                return seen;
            }
            seen.push(line);
        }
    }

    fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        self.kill();
    }
}

#[test]
fn those_who_open_at_once_have_one_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cache.sqlite3");
    std::fs::write(&path, b"no database".repeat(900)).unwrap();
    let mut all: Vec<_> = (0..6).map(|_| Other::start(&path)).collect();
    let made = all
        .iter()
        .flat_map(|other| other.until("ready"))
        .filter(|line| line == "made")
        .count();
    assert_eq!(made, 1);
    let cache = Cache::open(&path, options()).unwrap();
    assert_eq!(cache.rebuilt(), None);
    cache
        .set_bytes_blocking("k", "one", &EntryOptions::NONE)
        .unwrap();
    for other in &mut all {
        other.say("get k");
        assert_eq!(other.until("done get k"), ["got one"]);
    }
}

#[test]
fn a_stampede_computes_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cache.sqlite3");
    let mut all: Vec<_> = (0..4).map(|_| Other::start(&path)).collect();
    for other in &all {
        other.until("ready");
    }
    for round in 0..5 {
        let line = format!("stampede k{round}");
        for other in &mut all {
            other.say(&line);
        }
        let done = format!("done {line}");
        let computed = format!("computed k{round}");
        let lines = all.iter().flat_map(|other| other.until(&done));
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
    let (mut one, mut two) = (Other::start(&path), Other::start(&path));
    one.until("ready");
    two.until("ready");
    one.say("hang k");
    one.until("computing");
    two.say("stampede k");
    // Past its lease, alive and asked for: nobody takes it from it.
    std::thread::sleep(Duration::from_secs(3));
    assert!(two.lines.try_recv().is_err(), "it is still being computed");
    one.kill();
    let lines = two.until("done stampede k");
    assert_eq!(lines, ["computed k"]);
}

#[test]
fn kill_nine_while_writing_leaves_a_whole_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cache.sqlite3");
    for round in 0..20 {
        let mut others = [Other::start(&path), Other::start(&path)];
        for other in &mut others {
            other.until("ready");
            other.say("write");
        }
        for other in &others {
            other.until("writing");
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
        let rebuilt = cache
            .rebuilt()
            .filter(|rebuilt| **rebuilt != Rebuilt::Missing);
        assert_eq!(rebuilt, None, "round {round}");
        for number in 0..500 {
            if let Some(value) = cache.get_bytes_blocking(number.to_string()).unwrap() {
                let word = format!("{number:08}");
                assert!(value.chunks(8).all(|chunk| chunk == word.as_bytes()));
            }
        }
        cache.close_blocking();
    }
}
