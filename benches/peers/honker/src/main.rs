//! The cases of the jobs and pub/sub benches, through honker with its own
//! settings: WAL, `synchronous` NORMAL, a cache of 32 MB, a checkpoint every
//! 10,000 pages. Started by `monolite-bench jobs` and `pubsub`.

#[path = "../../../src/peers/asked.rs"]
mod asked;
#[allow(dead_code)]
#[path = "../../../src/clock.rs"]
mod clock;
#[path = "../../../src/contest"]
mod contest {
    pub(crate) mod histogram;
}
#[path = "../../../src/jobs"]
mod jobs {
    pub(crate) mod work;
}
#[path = "../../../src/pubsub"]
mod pubsub {
    pub(crate) mod steady;
}
#[allow(dead_code)]
#[path = "../../../src/rounds.rs"]
mod rounds;

use std::path::Path;
use std::time::Duration;

use honker::{Database, EnqueueOpts, OpenOptions, Queue, QueueOpts};

use crate::asked::{Asked, answer, ready_and_wait, say_ready};
use crate::contest::histogram::Histogram;
use crate::jobs::work::{BATCH, MANY, Mail, WAITING, drain_rate};
use crate::pubsub::steady::{self, Arrivals};
use crate::rounds::rate;

const WORKER: &str = "bench";
const CHANNEL: &str = "bench";

fn main() -> anyhow::Result<()> {
    let Asked { case, time, path } = Asked::from_arguments()?;
    let words: Vec<&str> = case.split(' ').collect();
    match words.as_slice() {
        ["listen", watcher] => return answer(&listen(&path, watcher, time)?),
        ["notify"] => return notify(&path, time),
        _ => {}
    }
    let database = Database::open(&path)?;
    let queue = database.queue("default", QueueOpts::default());
    let reached = match words.as_slice() {
        ["enqueue"] => enqueue(&queue, time),
        ["enqueue-many"] => enqueue_many(&database, &queue, time),
        ["claim-one"] => claim_one(&database, &queue, time)?,
        ["claim-batch"] => claim_batch(&database, &queue, time)?,
        other => anyhow::bail!("no such case: {other:?}"),
    };
    answer(&reached)
}

fn enqueue(queue: &Queue, time: Duration) -> f64 {
    let mut number = 0;
    let mut enqueue = || {
        number += 1;
        queue
            .enqueue(&Mail::new(number), EnqueueOpts::default())
            .unwrap();
    };
    rate(time / 10, 1, &mut enqueue);
    rate(time, 1, enqueue)
}

fn enqueue_many(database: &Database, queue: &Queue, time: Duration) -> f64 {
    let mut enqueue = || put(database, queue, MANY).unwrap();
    rate(time / 10, 1, &mut enqueue);
    rate(time, 1, enqueue) * MANY as f64
}

/// Enqueues so many in one transaction.
fn put(database: &Database, queue: &Queue, count: u64) -> anyhow::Result<()> {
    let tx = database.transaction()?;
    for number in 0..count {
        queue.enqueue_tx(&tx, &Mail::new(number), EnqueueOpts::default())?;
    }
    Ok(tx.commit()?)
}

/// One after the other, of [`WAITING`] and more.
fn claim_one(database: &Database, queue: &Queue, time: Duration) -> anyhow::Result<f64> {
    put(database, queue, WAITING)?;
    let mut claimed = 0;
    let mut work = || {
        let job = queue.claim_one(WORKER).unwrap().unwrap();
        assert!(job.ack().unwrap());
        claimed += 1;
        if claimed % 1000 == 0 {
            put(database, queue, 1000).unwrap();
        }
    };
    rate(time / 10, 1, &mut work);
    Ok(rate(time, 1, work))
}

fn claim_batch(database: &Database, queue: &Queue, time: Duration) -> anyhow::Result<f64> {
    drain_rate(
        time,
        &mut (),
        |()| put(database, queue, WAITING),
        |()| {
            let mut done = 0;
            loop {
                let jobs = queue.claim_batch(WORKER, BATCH as i64)?;
                if jobs.is_empty() {
                    return Ok(done);
                }
                let ids: Vec<i64> = jobs.iter().map(|job| job.id).collect();
                done += queue.ack_batch(&ids, WORKER)? as u64;
            }
        },
    )
}

fn listen(path: &Path, watcher: &str, time: Duration) -> anyhow::Result<Histogram> {
    let options = OpenOptions::default().watcher_backend(watcher)?;
    let database = Database::open_with_options(path, options)?;
    let mut notifications = database.listen(CHANNEL)?;
    say_ready();
    let mut arrivals = Arrivals::default();
    while let Some(notification) = notifications.recv() {
        let text: String = notification?.payload_as()?;
        if !arrivals.take(&text)? {
            break;
        }
    }
    arrivals.waits(time)
}

fn notify(path: &Path, time: Duration) -> anyhow::Result<()> {
    let database = Database::open(path)?;
    ready_and_wait()?;
    steady::publish(time, |text| {
        database.notify(CHANNEL, &text)?;
        Ok(())
    })
}
