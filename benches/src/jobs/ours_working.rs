//! Our side of the cases with a worker.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use monolite_jobs::Worker;
use tokio::sync::mpsc;

use crate::clock::{monotonic_ns, own_cpu};
use crate::contest::histogram::Histogram;
use crate::jobs::claim::Backlog;
use crate::jobs::ours::{Place, mail};
use crate::jobs::work::{Mail, WAITING, drain_rate};
use crate::process::{Running, own, ready_and_wait};
use crate::turns::Ours;

/// Done per second; ended jobs are kept, as by default.
pub(crate) const CLAIM: Ours<f64> = Some(|dir, time| claim(dir, None, time));
/// The same, in a worker that removes them at once, as honker does.
pub(crate) const CLAIM_REMOVE: Ours<f64> = Some(|dir, time| claim(dir, Some(Duration::ZERO), time));
/// From before `enqueue` to the first line of the handler, an idle worker in
/// the same process.
pub(crate) const START_HERE: Ours<Histogram> = Some(start_here);
/// The same, the worker in another process.
pub(crate) const START_ACROSS: Ours<Histogram> = Some(start_across);
/// Milliseconds of CPU that idle workers use in the time given.
pub(crate) const IDLE: Ours<f64> = Some(idle);

/// Jobs that run at once.
const AT_ONCE: usize = 50;
/// Enqueues a second where latency is measured.
const RATE: u32 = 200;

/// A worker that counts what it runs, and tells of every [`WAITING`]th.
fn counting(
    place: &Place,
    keep_done: Option<Duration>,
) -> anyhow::Result<(Worker, mpsc::UnboundedReceiver<()>)> {
    let (all_done, done) = mpsc::unbounded_channel();
    let count = Arc::new(AtomicU64::new(0));
    let mut builder = place.jobs.worker().queue("default", AT_ONCE);
    if let Some(keep) = keep_done {
        builder = builder.keep_done(keep);
    }
    let builder = builder.on(move |mail: Mail, _| {
        let (count, all_done) = (Arc::clone(&count), all_done.clone());
        async move {
            std::hint::black_box(mail.number);
            if count.fetch_add(1, Ordering::Relaxed) + 1 == WAITING {
                all_done.send(())?;
            }
            Ok(())
        }
    });
    Ok((place.runtime.block_on(builder.start())?, done))
}

/// Starts a worker, waits until it has run [`WAITING`] jobs, and until the end
/// of each is committed.
fn drain(place: &Place, keep_done: Option<Duration>) -> anyhow::Result<u64> {
    let (worker, mut done) = counting(place, keep_done)?;
    place.runtime.block_on(async {
        done.recv().await;
        worker.shutdown(Duration::from_secs(10)).await;
    });
    Ok(WAITING)
}

fn claim(dir: &Path, keep_done: Option<Duration>, time: Duration) -> anyhow::Result<f64> {
    let mut place = Place::in_dir(dir)?;
    let fill = |place: &mut Place| place.fill(WAITING);
    let drain = |place: &mut Place| drain(place, keep_done);
    drain_rate(time / 10, &mut place, fill, drain)?;
    let rate = drain_rate(time, &mut place, fill, drain)?;
    place.close();
    Ok(rate)
}

/// Done per second beside a backlog, which is made outside the time.
pub(crate) fn claim_beside(dir: &Path, backlog: Backlog, time: Duration) -> anyhow::Result<f64> {
    let mut place = Place::in_dir(dir)?;
    place.fill(backlog.done)?;
    let mark_done = "UPDATE _monolite_job SET state = 5, run = 1;
         DELETE FROM _monolite_job_ready";
    place
        .store
        .write_blocking(|tx| Ok(tx.execute_batch(mark_done)?))?;
    place.fill(backlog.pending)?;
    // As many are added as are taken: the backlog stays as large as it is.
    let rate = drain_rate(
        time,
        &mut place,
        |place| place.fill(WAITING),
        |place| {
            let (worker, mut done) = counting(place, None)?;
            place.runtime.block_on(async {
                done.recv().await;
                drop(worker);
            });
            Ok(WAITING)
        },
    )?;
    place.close();
    Ok(rate)
}

/// A worker that passes on when each job began.
fn timing(place: &Place) -> anyhow::Result<(Worker, mpsc::UnboundedReceiver<(u64, i64)>)> {
    let (begun, begins) = mpsc::unbounded_channel();
    let builder = place.jobs.worker().on(move |mail: Mail, _| {
        let begun = begun.clone();
        let now = monotonic_ns();
        async move { Ok(begun.send((now, mail.number.cast_signed()))?) }
    });
    Ok((place.runtime.block_on(builder.start())?, begins))
}

fn start_here(dir: &Path, time: Duration) -> anyhow::Result<Histogram> {
    let place = Place::in_dir(dir)?;
    let (worker, mut begins) = timing(&place)?;
    let mut waits = Histogram::default();
    let count = (time.as_secs_f64() * f64::from(RATE)) as u64;
    let result = place.runtime.block_on(async {
        for number in 0..count {
            tokio::time::sleep(Duration::from_secs(1) / RATE).await;
            let before = monotonic_ns();
            place.jobs.push(mail(number)).await?;
            let (begun, _) = begins.recv().await.unwrap();
            waits.record(Duration::from_nanos(begun.saturating_sub(before)));
        }
        worker.shutdown(Duration::from_secs(5)).await;
        anyhow::Ok(())
    });
    place.close();
    result.map(|()| waits)
}

#[derive(clap::Args)]
pub(crate) struct EnqueuerArguments {
    #[arg(long)]
    count: u64,
    path: PathBuf,
}

/// The other process: enqueues at an even pace, then tells when it did.
pub(crate) fn enqueue(arguments: &EnqueuerArguments) -> anyhow::Result<()> {
    let place = Place::open(&arguments.path, monolite_store::Synchronous::Normal)?;
    ready_and_wait()?;
    let mut moments = Vec::new();
    for number in 0..arguments.count {
        std::thread::sleep(Duration::from_secs(1) / RATE);
        moments.push(monotonic_ns());
        place.runtime.block_on(place.jobs.push(mail(number)))?;
    }
    println!("{}", serde_json::to_string(&moments)?);
    place.close();
    Ok(())
}

fn start_across(dir: &Path, time: Duration) -> anyhow::Result<Histogram> {
    let place = Place::in_dir(dir)?;
    let (worker, mut begins) = timing(&place)?;
    let count = (time.as_secs_f64() * f64::from(RATE)) as u64;
    let mut command = own()?;
    command.args(["enqueuer", "--count", &count.to_string()]);
    let mut enqueuer = Running::start_talking(command.arg(place.store.path()))?;
    enqueuer.wait_ready()?;
    enqueuer.go()?;
    let mut begun = vec![0; count as usize];
    let deadline = Instant::now() + time * 4 + Duration::from_secs(10);
    place.runtime.block_on(async {
        for _ in 0..count {
            let left = deadline.saturating_duration_since(Instant::now());
            let (at, number) = tokio::time::timeout(left, begins.recv()).await?.unwrap();
            begun[number as usize] = at;
        }
        worker.shutdown(Duration::from_secs(5)).await;
        anyhow::Ok(())
    })?;
    let moments: Vec<u64> = serde_json::from_str(&enqueuer.output()?)?;
    let mut waits = Histogram::default();
    for (before, begun) in moments.into_iter().zip(begun) {
        waits.record(Duration::from_nanos(begun.saturating_sub(before)));
    }
    place.close();
    Ok(waits)
}

fn idle(dir: &Path, time: Duration) -> anyhow::Result<f64> {
    let place = Place::in_dir(dir)?;
    place.fill(WAITING)?;
    // Idle as it is in life: after some work.
    let (worker, mut done) = counting(&place, None)?;
    place.runtime.block_on(done.recv());
    std::thread::sleep(Duration::from_secs(1));
    let before = own_cpu();
    std::thread::sleep(time);
    let spent = own_cpu() - before;
    place
        .runtime
        .block_on(worker.shutdown(Duration::from_secs(5)));
    place.close();
    Ok(spent.as_secs_f64() * 1000.0)
}
