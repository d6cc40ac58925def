//! The cases of the jobs bench, through effectum with its own settings, which
//! are `synchronous` NORMAL and, as it misspells the pragma that should make it
//! WAL, a rollback journal. Started by `monolite-bench jobs`.

#[path = "../../../src/peers/asked.rs"]
mod asked;
#[path = "../../../src/jobs"]
mod jobs {
    pub(crate) mod work;
}
#[allow(dead_code)]
#[path = "../../../src/rounds.rs"]
mod rounds;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use effectum::{Job, JobRunner, Queue, RunningJob, Worker};
use tokio::runtime::Runtime;

use crate::asked::{Asked, answer};
use crate::jobs::work::{BATCH, MANY, Mail, WAITING, drain_rate};
use crate::rounds::rate;

const KIND: &str = "mail";
const CALLERS: usize = 64;

fn main() -> anyhow::Result<()> {
    let Asked { case, time, path } = Asked::from_arguments()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    // The queue, when dropped, asks for the runtime.
    let _entered = runtime.enter();
    let queue = Arc::new(runtime.block_on(Queue::new(&path))?);
    let reached = match case.as_str() {
        "enqueue" => enqueue(&runtime, &queue, time),
        "enqueue-many" => enqueue_many(&runtime, &queue, time),
        "enqueue-by-64" => runtime.block_on(enqueue_by_many(&queue, time))?,
        "work" => work(&runtime, &queue, time)?,
        other => anyhow::bail!("no such case: {other:?}"),
    };
    answer(&reached)?;
    runtime.block_on(queue.close(Duration::from_secs(5)))?;
    Ok(())
}

fn job(number: u64) -> Job {
    Job::builder(KIND)
        .json_payload(&Mail::new(number))
        .unwrap()
        .build()
}

fn enqueue(runtime: &Runtime, queue: &Queue, time: Duration) -> f64 {
    let mut enqueue = || {
        runtime.block_on(queue.add_job(job(1))).unwrap();
    };
    rate(time / 10, 1, &mut enqueue);
    rate(time, 1, enqueue)
}

fn enqueue_many(runtime: &Runtime, queue: &Queue, time: Duration) -> f64 {
    let mut enqueue = || {
        let jobs = (0..MANY).map(job).collect();
        runtime.block_on(queue.add_jobs(jobs)).unwrap();
    };
    rate(time / 10, 1, &mut enqueue);
    rate(time, 1, enqueue) * MANY as f64
}

/// Its writer takes what waits into one transaction.
async fn enqueue_by_many(queue: &Arc<Queue>, time: Duration) -> anyhow::Result<f64> {
    let started = Instant::now();
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let queue = queue.clone();
            tokio::spawn(async move {
                let mut added = 0_u64;
                while started.elapsed() < time {
                    queue.add_job(job(added)).await.unwrap();
                    added += 1;
                }
                added
            })
        })
        .collect();
    let mut added = 0;
    for caller in callers {
        added += caller.await?;
    }
    Ok(added as f64 / started.elapsed().as_secs_f64())
}

/// Runs, and acknowledges, jobs that do nothing, as many at once as others
/// claim at once.
fn work(runtime: &Runtime, queue: &Queue, time: Duration) -> anyhow::Result<f64> {
    let ran = Arc::new(AtomicU64::new(0));
    let run = |job: RunningJob, ran: Arc<AtomicU64>| async move {
        let _: Mail = job.json_payload()?;
        ran.fetch_add(1, Ordering::Relaxed);
        anyhow::Ok(())
    };
    let runner = JobRunner::builder(KIND, run).build();
    drain_rate(
        time,
        &mut (),
        |()| {
            let jobs = (0..WAITING).map(job).collect();
            runtime.block_on(queue.add_jobs(jobs))?;
            Ok(())
        },
        |()| {
            runtime.block_on(async {
                let worker = Worker::builder(queue, ran.clone())
                    .max_concurrency(BATCH as u16)
                    .min_concurrency(BATCH as u16 / 2)
                    .jobs([runner.clone()])
                    .build()
                    .await?;
                // It counts a job when that is acknowledged.
                while worker.counts().finished < WAITING {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                worker.unregister(None).await?;
                Ok(ran.swap(0, Ordering::Relaxed))
            })
        },
    )
}
