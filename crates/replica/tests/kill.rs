//! A replicator that is killed at every step, beside writers that go on.
//!
//! Each transaction of a writer appends a row whose `chain` is made of the row
//! before, so that what is restored is a committed prefix exactly if its rows
//! are 1 to n and the chain holds. The replicator prints what it knows to be
//! stored; nothing restored may be older.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

mod common;

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::{LONG, Volume, busy};
use monolite_replica::{Destination, Follower, RestoreOptions, restore};
use monolite_testkit::s3::{Fault, Rule, S3Server};
use rusqlite::Connection;

/// Steps of a replicator's life.
const STEPS: [&str; 9] = [
    "sync.compared",
    "sync.sending",
    "sync.stored",
    "snapshot.encoded",
    "merge.fetched",
    "merge.merged",
    "merge.stored",
    "retention.deleting",
    "retention.deleted",
];

fn child(role: &str, volume: &Volume) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", role, "--ignored", "--nocapture"])
        .env("KILL_ROOT", volume.path(""))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    command
}

/// Ends with the test, whatever happens.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn wait_for_the_end_of_input() -> std::sync::mpsc::Receiver<()> {
    let (tx, rx) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        let _ = tx.send(());
    });
    rx
}

#[test]
#[ignore = "the other process of the tests here"]
fn writer() {
    let root = std::env::var_os("KILL_ROOT").unwrap();
    let volume = Volume::existing(root.as_ref());
    let conn = volume.database("app.sqlite3");
    let end = wait_for_the_end_of_input();
    let mut random = u64::from(std::process::id());
    while end.try_recv().is_err() {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        conn.execute_batch("BEGIN IMMEDIATE").unwrap();
        conn.execute(
            "INSERT INTO log SELECT n + 1, (chain * 31 + n) % 1000003, randomblob(?1)
             FROM log ORDER BY n DESC LIMIT 1",
            [(random >> 40) as i64 & 0x7ff],
        )
        .unwrap();
        if random >> 60 == 0 {
            conn.execute_batch("UPDATE log SET ballast = zeroblob(10) WHERE n % 7 = 3")
                .unwrap();
        }
        conn.execute_batch("COMMIT").unwrap();
        match random >> 52 & 0xff {
            0 => drop(conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))),
            1 => drop(conn.execute_batch("VACUUM")),
            _ => std::thread::sleep(Duration::from_micros(random >> 53 & 0x7ff)),
        }
    }
}

/// The step at which this process dies: its name, and the how-maniest.
static LEFT: AtomicU64 = AtomicU64::new(u64::MAX);

fn die_there(step: &'static str) {
    let wanted = std::env::var("KILL_STEP").unwrap();
    if step == wanted && LEFT.fetch_sub(1, Ordering::SeqCst) == 1 {
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL)
            .unwrap();
    }
}

#[test]
#[ignore = "the other process of the tests here"]
fn replicator() {
    let root = std::env::var_os("KILL_ROOT").unwrap();
    let volume = Volume::existing(root.as_ref());
    LEFT.store(
        std::env::var("KILL_AT").unwrap().parse().unwrap(),
        Ordering::SeqCst,
    );
    monolite_platform::failpoint::observe(die_there);
    let end = wait_for_the_end_of_input();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let follower: Follower = volume.follow_with(busy());
        let conn = volume.database("app.sqlite3");
        while end.try_recv().is_err() {
            let n = newest(&conn);
            if follower.sync(LONG).await.is_ok() {
                println!("stored {n}");
            } else {
                println!("failed {:?}", follower.status());
            }
        }
        follower.stop(LONG).await.unwrap();
    });
}

fn begin_log(conn: &Connection) {
    conn.execute_batch(
        "CREATE TABLE log (n INTEGER PRIMARY KEY, chain, ballast); INSERT INTO log VALUES (0, 0, 0)",
    )
    .unwrap();
}

fn newest(conn: &Connection) -> i64 {
    conn.query_row("SELECT max(n) FROM log", [], |row| row.get(0))
        .unwrap()
}

/// What is restored: checked to be a committed prefix; how long it is.
async fn restored(volume: &Volume, from: &Destination) -> i64 {
    let out = volume.path("restored.sqlite3");
    let options = RestoreOptions {
        overwrite: true,
        ..RestoreOptions::default()
    };
    let replica = from.replica("app.sqlite3");
    let restored = restore(&replica, &out, options).await.unwrap();
    assert!(restored.checksum.is_some());
    let conn = Connection::open(&out).unwrap();
    let check: String = conn
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(check, "ok");
    let mut all = conn.prepare("SELECT n, chain FROM log ORDER BY n").unwrap();
    let mut rows = all.query([]).unwrap();
    let (mut n, mut chain) = (0, 0);
    while let Some(row) = rows.next().unwrap() {
        let found: (i64, i64) = (row.get(0).unwrap(), row.get(1).unwrap());
        assert_eq!(found, (n, chain), "not a prefix");
        chain = (chain * 31 + n) % 1_000_003;
        n += 1;
    }
    n - 1
}

/// `turns` lives of a replicator, each killed at a step, or at any moment.
async fn lives(turns: u64, seed: u64) {
    let volume = Volume::new();
    let conn = volume.database("app.sqlite3");
    begin_log(&conn);
    let mut writer = Ended(child("writer", &volume).spawn().unwrap());
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut acknowledged, mut died_at) = (-1, std::collections::BTreeMap::new());
    for turn in 0..turns {
        let step = STEPS[random.usize(..STEPS.len())];
        let at_a_step = random.u8(..4) > 0;
        let nth = if at_a_step {
            random.u64(1..4)
        } else {
            u64::MAX
        };
        let mut replicator = child("replicator", &volume);
        replicator
            .env("KILL_STEP", step)
            .env("KILL_AT", nth.to_string());
        let mut replicator = Ended(replicator.spawn().unwrap());
        let mut lines = BufReader::new(replicator.0.stdout.take().unwrap()).lines();
        // Long enough for what is rare, and not for ever.
        let life = Duration::from_millis(match at_a_step {
            true => 1500,
            false => random.u64(20..800),
        });
        let (begun, mut killed) = (Instant::now(), false);
        for line in lines.by_ref() {
            let line = line.unwrap();
            if let Some(n) = line.strip_prefix("stored ") {
                acknowledged = n.parse::<i64>().unwrap().max(acknowledged);
                if begun.elapsed() >= life {
                    killed = true;
                    replicator.0.kill().unwrap();
                }
            }
            assert!(!line.starts_with("failed"), "{line}");
        }
        let ended = replicator.0.wait().unwrap();
        assert_eq!(ended.signal(), Some(9), "{ended:?}");
        *died_at
            .entry(if killed { "any moment" } else { step })
            .or_insert(0) += 1;
        if acknowledged >= 0 {
            let n = restored(&volume, &volume.destination()).await;
            assert!(
                n >= acknowledged,
                "turn {turn}, {step}: {n} of {acknowledged}"
            );
        }
        // Otherwise only the newest of thousands of rows would ever be new.
        if newest(&conn) > 20_000 {
            drop(writer.0.stdin.take());
            writer.0.wait().unwrap();
            conn.execute_batch("DELETE FROM log WHERE n > 0; UPDATE log SET chain = 0")
                .unwrap();
            acknowledged = -1;
            writer = Ended(child("writer", &volume).spawn().unwrap());
        }
    }
    println!("died at {died_at:?}");
    drop(writer.0.stdin.take());
    let mut rest = String::new();
    let _ = writer.0.stdout.take().unwrap().read_to_string(&mut rest);
    assert!(writer.0.wait().unwrap().success(), "{rest}");
    // And the last one lives.
    let follower = volume.follow();
    follower.sync(LONG).await.unwrap();
    follower.stop(LONG).await.unwrap();
    assert_eq!(
        restored(&volume, &volume.destination()).await,
        newest(&conn)
    );
    assert!(died_at.len() > STEPS.len() / 3, "{died_at:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn forty_kills_lose_nothing_that_was_stored() {
    lives(40, 7).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: run by `cargo xtask test soak`"]
async fn five_hundred_kills_lose_nothing_that_was_stored() {
    lives(500, fastrand::u64(..)).await;
}

/// Ten minutes beside two writers and a bucket that fails now and then; or as
/// many seconds as `MONOLITE_SOAK_SECONDS` says.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes ten minutes: run by `cargo xtask test soak`"]
async fn a_soak() {
    let seconds = std::env::var("MONOLITE_SOAK_SECONDS").map_or(600, |s| s.parse().unwrap());
    let (volume, server) = (Volume::new(), S3Server::start());
    let bucket = common::bucket(&server);
    let conn = volume.database("app.sqlite3");
    begin_log(&conn);
    let faults = [
        Fault::Status(503),
        Fault::Reset,
        Fault::DoneThenReset,
        Fault::TornAnswer(200),
        Fault::Delay(Duration::from_millis(100)),
    ];
    for (seed, fault) in faults.into_iter().enumerate() {
        server
            .faults()
            .add(Rule::new(fault).chance(0.01, seed as u64));
    }
    let data = volume.path("data");
    let follower = Follower::start(
        &data,
        &volume.path("state"),
        vec![bucket.clone(), volume.destination()],
        common::find(&data),
        busy(),
    )
    .unwrap();
    let _writers = [(); 2].map(|()| Ended(child("writer", &volume).spawn().unwrap()));
    let end = std::time::Instant::now() + Duration::from_secs(seconds);
    let mut rounds = 0;
    while std::time::Instant::now() < end {
        let before = newest(&conn);
        follower.sync(LONG).await.unwrap();
        for from in [&bucket, &volume.destination()] {
            let n = restored(&volume, from).await;
            assert!(n >= before, "{n} of {before}");
        }
        rounds += 1;
        let log = std::fs::metadata(volume.path("data/app.sqlite3-wal")).unwrap();
        assert!(log.len() < 256 << 20, "the log has {} bytes", log.len());
    }
    println!("{rounds} restores of each; {} rows", newest(&conn));
    follower.stop(LONG).await.unwrap();
}
