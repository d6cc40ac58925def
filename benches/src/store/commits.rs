//! One commit per write, by one caller and by 64.

use std::path::Path;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use monolite_store::{Options, Store, Synchronous};
use rusqlite::Connection;
use tokio::runtime::Runtime;

use crate::place;
use crate::report::Report;
use crate::rounds::{Pace, Samples, rate};
use crate::store::raw;

const CALLERS: usize = 64;
pub(crate) const SCHEMA: &str = "CREATE TABLE q (id INTEGER PRIMARY KEY, queue TEXT, payload TEXT);
     CREATE INDEX qi ON q (queue, id)";
const INSERT: &str = "INSERT INTO q (queue, payload) VALUES (?1, ?2)";
const JOB: [&str; 2] = ["default", r#"{"job":"SendWelcomeMail","user":42,"try":1}"#];

pub(crate) fn run(pace: Pace, report: &mut Report) -> anyhow::Result<()> {
    for synchronous in [Synchronous::Normal, Synchronous::Full] {
        at(synchronous, pace, report)?;
    }
    Ok(())
}

/// All at one level of durability.
fn at(synchronous: Synchronous, pace: Pace, report: &mut Report) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()?;
    let ways: [(&str, Way<'_>); 4] = [
        ("1 caller, blocking", &|store, time| {
            rate(time, 1, || store.write_blocking(insert).unwrap())
        }),
        ("1 caller, async", &|store, time| {
            tasks(store, time, &runtime, 1)
        }),
        ("64 callers, tasks", &|store, time| {
            tasks(store, time, &runtime, CALLERS)
        }),
        ("64 callers, threads", &threads),
    ];

    let mut scores = ways
        .each_ref()
        .map(|_| (Samples::default(), Samples::default()));
    for _ in 0..pace.rounds {
        let dir = place::scratch()?;
        let path = dir.path().join("q.sqlite3");
        raw::open(&path, synchronous)?.execute_batch(SCHEMA)?;
        for ((_, way), (ours, peer)) in ways.iter().zip(&mut scores) {
            // Each beside a turn of its own of the peer, on the same file.
            ours.push(through_store(&path, synchronous, pace.short, *way)?);
            peer.push(autocommit(&path, synchronous, pace.short)?);
        }
    }

    let level = match synchronous {
        Synchronous::Normal => "NORMAL",
        Synchronous::Full => "FULL",
        Synchronous::Off => "OFF",
    };
    for ((name, _), (ours, peer)) in ways.iter().zip(&scores) {
        let wanted = match (synchronous, name.starts_with('1')) {
            (Synchronous::Normal, true) => ">= 0.5",
            (Synchronous::Normal, false) => ">= 4",
            (Synchronous::Full, true) | (Synchronous::Off, _) => "",
            (Synchronous::Full, false) => ">= 25",
        };
        report
            .versus(
                format!("{name}, one commit each, {level}"),
                "writes/s",
                ours.median(),
                "rusqlite autocommit, 1 caller",
                peer.median(),
            )
            .wanted(wanted);
    }
    Ok(())
}

type Way<'a> = &'a dyn Fn(&Store, Duration) -> f64;

fn through_store(
    path: &Path,
    synchronous: Synchronous,
    time: Duration,
    way: Way<'_>,
) -> anyhow::Result<f64> {
    let store = Store::open(path, Options::new().synchronous(synchronous))?;
    way(&store, time / 10);
    let reached = way(&store, time);
    store.close_blocking();
    Ok(reached)
}

pub(crate) fn autocommit(
    path: &Path,
    synchronous: Synchronous,
    time: Duration,
) -> anyhow::Result<f64> {
    let conn = raw::open(path, synchronous)?;
    let mut statement = conn.prepare(INSERT)?;
    let mut insert = || {
        statement.execute(JOB).unwrap();
    };
    rate(time / 10, 1, &mut insert);
    Ok(rate(time, 1, &mut insert))
}

fn insert(tx: &Connection) -> monolite_store::Result<()> {
    tx.prepare_cached(INSERT)?.execute(JOB)?;
    Ok(())
}

fn tasks(store: &Store, time: Duration, runtime: &Runtime, count: usize) -> f64 {
    let started = Instant::now();
    let tasks: Vec<_> = (0..count)
        .map(|_| {
            let store = store.clone();
            runtime.spawn(async move {
                let mut writes = 0_u64;
                while started.elapsed() < time {
                    store.write(insert).await.unwrap();
                    writes += 1;
                }
                writes
            })
        })
        .collect();
    let writes: u64 = runtime.block_on(async {
        let mut writes = 0;
        for task in tasks {
            writes += task.await.unwrap();
        }
        writes
    });
    writes as f64 / started.elapsed().as_secs_f64()
}

fn threads(store: &Store, time: Duration) -> f64 {
    let writes = AtomicU64::new(0);
    // One more: the clock starts when all the threads are there.
    let start = Barrier::new(CALLERS + 1);
    let mut started = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..CALLERS {
            scope.spawn(|| {
                start.wait();
                let started = Instant::now();
                let mut count = 0;
                while started.elapsed() < time {
                    store.write_blocking(insert).unwrap();
                    count += 1;
                }
                writes.fetch_add(count, Ordering::Relaxed);
            });
        }
        start.wait();
        started = Instant::now();
    });
    writes.into_inner() as f64 / started.elapsed().as_secs_f64()
}
