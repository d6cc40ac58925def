//! The cases of the jobs bench, through apalis-sqlite with its own settings:
//! WAL, and `synchronous` as weak as OFF on the connection that its `setup`
//! happens to take; NORMAL, by our choice, where it would be FULL. Started by
//! `monolite-bench jobs`.

#[path = "../../../src/peers/asked.rs"]
mod asked;
#[path = "../../../src/jobs"]
mod jobs {
    pub(crate) mod work;
}
#[allow(dead_code)]
#[path = "../../../src/rounds.rs"]
mod rounds;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use apalis::prelude::*;
use apalis_sqlite::{Config, SqliteConnectOptions, SqlitePool, SqliteStorage};
use futures::stream;
use sqlx::sqlite::{SqliteJournalMode, SqliteSynchronous};
use tokio::runtime::Runtime;

use crate::asked::{Asked, answer};
use crate::jobs::work::{MANY, Mail, WAITING};
use crate::rounds::rate;

fn main() -> anyhow::Result<()> {
    let Asked { case, time, path } = Asked::from_arguments()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let pool = runtime.block_on(open(&path))?;
    let words: Vec<&str> = case.split(' ').collect();
    let reached = match words.as_slice() {
        ["enqueue"] => enqueue(&runtime, &pool, time),
        ["enqueue-many"] => enqueue_many(&runtime, &pool, time),
        ["work", batch] => work(&runtime, &pool, batch.parse()?, time)?,
        other => anyhow::bail!("no such case: {other:?}"),
    };
    answer(&reached)?;
    runtime.block_on(pool.close());
    Ok(())
}

async fn open(path: &Path) -> anyhow::Result<SqlitePool> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Normal);
    let pool = SqlitePool::connect_with(options).await?;
    SqliteStorage::setup(&pool).await?;
    Ok(pool)
}

fn enqueue(runtime: &Runtime, pool: &SqlitePool, time: Duration) -> f64 {
    let mut storage = SqliteStorage::<Mail>::new(pool);
    let mut enqueue = || runtime.block_on(storage.push(Mail::new(1))).unwrap();
    rate(time / 10, 1, &mut enqueue);
    rate(time, 1, enqueue)
}

fn enqueue_many(runtime: &Runtime, pool: &SqlitePool, time: Duration) -> f64 {
    let mut enqueue = || runtime.block_on(put(pool, MANY)).unwrap();
    rate(time / 10, 1, &mut enqueue);
    rate(time, 1, enqueue) * MANY as f64
}

async fn put(pool: &SqlitePool, count: u64) -> anyhow::Result<()> {
    let mut storage = SqliteStorage::<Mail>::new(pool);
    let mut mails = stream::iter((0..count).map(Mail::new));
    storage.push_stream(&mut mails).await?;
    Ok(())
}

/// One worker, stopped when the time is over: it would take minutes to do all
/// that are waiting. Once stopped it has acknowledged what it ran.
fn work(runtime: &Runtime, pool: &SqlitePool, batch: usize, time: Duration) -> anyhow::Result<f64> {
    runtime.block_on(put(pool, WAITING))?;
    let config = Config::default()
        .queue(std::any::type_name::<Mail>())
        .batch_size(batch);
    let started = Instant::now();
    let ran = Arc::new(Ran {
        count: AtomicU64::new(0),
        end: started + time,
    });
    let worker = WorkerBuilder::new("worker")
        .backend(SqliteStorage::<Mail>::new(pool).with_config(config))
        .data(ran.clone())
        .build(run);
    runtime.block_on(worker.run())?;
    let ran = ran.count.load(Ordering::Relaxed);
    let rate = ran as f64 / started.elapsed().as_secs_f64();
    let done = "SELECT count(*) FROM Jobs WHERE status = 'Done'";
    let done: i64 = runtime.block_on(sqlx::query_scalar(done).fetch_one(pool))?;
    anyhow::ensure!(done as u64 == ran, "{ran} jobs ran, {done} are done");
    Ok(rate)
}

struct Ran {
    count: AtomicU64,
    end: Instant,
}

async fn run(_: Mail, ran: Data<Arc<Ran>>, worker: WorkerContext) -> Result<(), BoxDynError> {
    let count = ran.count.fetch_add(1, Ordering::Relaxed) + 1;
    if count == WAITING || Instant::now() >= ran.end {
        worker.stop()?;
    }
    Ok(())
}
