//! One process of the contest, through the store or through raw rusqlite.

use std::path::PathBuf;
use std::sync::{Barrier, Mutex};
use std::time::Duration;

use anyhow::Context;
use clap::ValueEnum;
use monolite_store::{Error, Options, Store};
use rusqlite::{Connection, ErrorCode, TransactionBehavior, params};

use crate::contest::rules::{
    APPEND, BUSY_TIMEOUT, COUNTERS, Outcome, PAYLOAD, RAISE, READ, Turn, WRITERS,
};
use crate::random::Random;
use crate::store::raw;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[arg(long)]
    mode: Mode,
    #[arg(long)]
    seed: u64,
    #[arg(long)]
    time_ms: u64,
    path: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Mode {
    Ours,
    /// `BEGIN IMMEDIATE` and a busy timeout, SQLite as it comes.
    Immediate,
    /// The same, with the blocking locks this workspace's SQLite can do.
    BlockingLocks,
    /// `BEGIN`, then read, then write: what most code does.
    Deferred,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    match arguments.mode {
        Mode::Ours => through_store(arguments),
        mode => through_rusqlite(arguments, mode),
    }
}

fn through_store(arguments: &Arguments) -> anyhow::Result<()> {
    let store = Store::open(&arguments.path, Options::default())?;
    let writer = |_: usize, random: &mut Random| {
        let id = random.below(COUNTERS) as i64;
        let written = store.write_blocking(move |tx| Ok(write(tx, id)?));
        match written {
            Ok(()) => Ok(true),
            Err(Error::Busy { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    };
    super::serve(|| writers(arguments, writer))?;
    store.close_blocking();
    Ok(())
}

fn through_rusqlite(arguments: &Arguments, mode: Mode) -> anyhow::Result<()> {
    let connections = (0..WRITERS)
        .map(|_| {
            let conn = raw::open(&arguments.path, raw::NORMAL)?;
            conn.busy_timeout(BUSY_TIMEOUT)?;
            if !matches!(mode, Mode::BlockingLocks) {
                raw::without_blocking_locks(&conn);
            }
            Ok(Mutex::new(conn))
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    let behavior = match mode {
        Mode::Deferred => TransactionBehavior::Deferred,
        _ => TransactionBehavior::Immediate,
    };
    let writer = |index: usize, random: &mut Random| {
        let mut conn = connections[index].lock().unwrap();
        match transaction(&mut conn, behavior, random.below(COUNTERS) as i64) {
            Ok(()) => Ok(true),
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => Ok(false),
            Err(error) => Err(error.into()),
        }
    };
    super::serve(|| writers(arguments, writer))
}

fn transaction(
    conn: &mut Connection,
    behavior: TransactionBehavior,
    id: i64,
) -> rusqlite::Result<()> {
    // Rolls back when dropped.
    let tx = conn.transaction_with_behavior(behavior)?;
    write(&tx, id)?;
    tx.commit()
}

fn write(conn: &Connection, id: i64) -> rusqlite::Result<()> {
    let n: i64 = conn
        .prepare_cached(READ)?
        .query_row([id], |row| row.get(0))?;
    conn.prepare_cached(RAISE)?.execute(params![id, n + 1])?;
    conn.prepare_cached(APPEND)?.execute([PAYLOAD])?;
    Ok(())
}

/// Runs `write` on every writer's thread, with the writer's number; it says
/// whether it committed, or met a busy error.
fn writers(
    arguments: &Arguments,
    write: impl Fn(usize, &mut Random) -> anyhow::Result<bool> + Sync,
) -> anyhow::Result<Outcome> {
    let time = Duration::from_millis(arguments.time_ms);
    let start = Barrier::new(WRITERS);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..WRITERS)
            .map(|index| {
                let (start, write) = (&start, &write);
                scope.spawn(move || {
                    let mut random = Random::new(arguments.seed * 100 + index as u64);
                    let mut outcome = Outcome::default();
                    start.wait();
                    let mut turn = Turn::new(time);
                    while turn.goes_on(write(index, &mut random)?, &mut outcome) {}
                    anyhow::Ok(outcome)
                })
            })
            .collect();
        let mut total = Outcome::default();
        for thread in threads {
            let outcome = thread.join().ok().context("a writer panicked")??;
            total.merge(&outcome);
        }
        Ok(total)
    })
}
