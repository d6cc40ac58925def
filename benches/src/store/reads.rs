//! Point reads by two threads.

use std::path::Path;
use std::time::Duration;

use monolite_store::{Options, Store};

use crate::place;
use crate::random::Random;
use crate::report::Report;
use crate::rounds::{Pace, Samples, rate};
use crate::store::raw;

const THREADS: usize = 2;
const ROWS: u64 = 100_000;
const SELECT: &str = "SELECT payload FROM item WHERE id = ?1";

pub(crate) fn run(pace: Pace, report: &mut Report) -> anyhow::Result<()> {
    let dir = place::scratch()?;
    let path = dir.path().join("items.sqlite3");
    fill(&path)?;

    let mut ours = Samples::default();
    let (mut cached, mut kept) = (Samples::default(), Samples::default());
    for _ in 0..pace.rounds {
        let store = Store::open(&path, Options::default())?;
        ours.push(on_threads(|random| {
            through_store(&store, random, pace.short)
        }));
        store.close_blocking();
        cached.push(on_threads(|random| {
            through_statement_cache(&path, random, pace.short)
        }));
        kept.push(on_threads(|random| {
            through_kept_statement(&path, random, pace.short)
        }));
    }
    // What a program that shares connections can do, and what one that never
    // lets go of its one statement can.
    for (peer, samples) in [
        ("rusqlite, 2 connections, prepare_cached", &cached),
        ("rusqlite, 2 connections, statement kept", &kept),
    ] {
        report
            .versus(
                "point reads, 2 threads",
                "reads/s",
                ours.median(),
                peer,
                samples.median(),
            )
            .wanted(">= 0.8");
    }
    Ok(())
}

fn fill(path: &Path) -> anyhow::Result<()> {
    let conn = raw::open(path, raw::NORMAL)?;
    conn.execute_batch("CREATE TABLE item (id INTEGER PRIMARY KEY, payload TEXT NOT NULL); BEGIN")?;
    let mut insert = conn.prepare("INSERT INTO item VALUES (?1, ?2)")?;
    for id in 1..=ROWS {
        insert.execute((id as i64, format!("{id:060}")))?;
    }
    conn.execute_batch("COMMIT")?;
    Ok(())
}

/// The threads' rates together.
fn on_threads(read: impl Fn(Random) -> f64 + Sync) -> f64 {
    std::thread::scope(|scope| {
        let read = &read;
        let threads: Vec<_> = (0..THREADS)
            .map(|seed| scope.spawn(move || read(Random::new(seed as u64))))
            .collect();
        threads.into_iter().map(|t| t.join().unwrap()).sum()
    })
}

fn through_store(store: &Store, mut random: Random, time: Duration) -> f64 {
    measure(time, || {
        let id = random.below(ROWS) as i64 + 1;
        let payload: String = store
            .read_blocking(|conn| {
                let mut statement = conn.prepare_cached(SELECT)?;
                Ok(statement.query_row([id], |row| row.get(0))?)
            })
            .unwrap();
        payload.len()
    })
}

fn through_statement_cache(path: &Path, mut random: Random, time: Duration) -> f64 {
    let conn = raw::open(path, raw::NORMAL).unwrap();
    measure(time, || {
        let id = random.below(ROWS) as i64 + 1;
        let mut statement = conn.prepare_cached(SELECT).unwrap();
        let payload: String = statement.query_row([id], |row| row.get(0)).unwrap();
        payload.len()
    })
}

fn through_kept_statement(path: &Path, mut random: Random, time: Duration) -> f64 {
    let conn = raw::open(path, raw::NORMAL).unwrap();
    let mut statement = conn.prepare(SELECT).unwrap();
    measure(time, || {
        let id = random.below(ROWS) as i64 + 1;
        let payload: String = statement.query_row([id], |row| row.get(0)).unwrap();
        payload.len()
    })
}

fn measure(time: Duration, mut read: impl FnMut() -> usize) -> f64 {
    let mut checked = || assert_eq!(read(), 60);
    // The first reads map the file and fill the cache.
    rate(time / 4, 64, &mut checked);
    rate(time, 64, &mut checked)
}
