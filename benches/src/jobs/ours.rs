//! Our side of the jobs bench, one function a case. Each opens its file in
//! the directory it is given, closes it in the end, and measures for about the
//! time given, after a warm-up of a tenth of it.

use std::path::Path;
use std::time::{Duration, Instant};

use monolite_jobs::{Job, Jobs, NewJob};
use monolite_store::{Options, Store, Synchronous};
use tokio::runtime::Runtime;

use crate::jobs::work::{MANY, Mail};
use crate::turns::Ours;

/// Enqueued per second by one caller, one commit each, NORMAL.
pub(crate) const ENQUEUE: Ours<f64> = Some(|dir, time| by_callers(dir, 1, NORMAL, time));
/// Enqueued per second, [`MANY`] in one call, NORMAL.
pub(crate) const ENQUEUE_MANY: Ours<f64> = Some(|dir, time| many(dir, MANY, time));
/// The same with 1,000 in one call.
pub(crate) const ENQUEUE_THOUSAND: Ours<f64> = Some(|dir, time| many(dir, 1000, time));
/// Enqueued per second by 64 callers, each told after its commit, NORMAL.
pub(crate) const ENQUEUE_BY_64: Ours<f64> = Some(|dir, time| by_callers(dir, 64, NORMAL, time));
/// The same at FULL.
pub(crate) const ENQUEUE_BY_64_FULL: Ours<f64> =
    Some(|dir, time| by_callers(dir, 64, Synchronous::Full, time));

const NORMAL: Synchronous = Synchronous::Normal;

impl Job for Mail {
    const KIND: &'static str = "mail";
}

/// Jobs in a file, and the runtime that handles them.
pub(crate) struct Place {
    pub(crate) runtime: Runtime,
    pub(crate) store: Store,
    pub(crate) jobs: Jobs,
}

impl Place {
    pub(crate) fn open(path: &Path, synchronous: Synchronous) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_time()
            .build()?;
        let options = Options::new().synchronous(synchronous);
        let store = Store::open(path, options)?;
        let jobs = runtime.block_on(Jobs::open(&store))?;
        Ok(Self {
            runtime,
            store,
            jobs,
        })
    }

    pub(crate) fn in_dir(dir: &Path) -> anyhow::Result<Self> {
        Self::open(&dir.join("jobs.sqlite3"), NORMAL)
    }

    pub(crate) fn close(self) {
        self.runtime.block_on(self.store.close());
    }

    /// Enqueues this many.
    pub(crate) fn fill(&self, count: u64) -> anyhow::Result<()> {
        let numbers: Vec<_> = (0..count).collect();
        for numbers in numbers.chunks(1000) {
            let mails = numbers.iter().map(|number| mail(*number)).collect();
            self.runtime.block_on(self.jobs.push_many(mails))?;
        }
        Ok(())
    }
}

pub(crate) fn mail(number: u64) -> NewJob {
    Mail::new(number).prepare().unwrap()
}

fn by_callers(
    dir: &Path,
    callers: u64,
    synchronous: Synchronous,
    time: Duration,
) -> anyhow::Result<f64> {
    let place = Place::open(&dir.join("jobs.sqlite3"), synchronous)?;
    let run = |time: Duration| {
        let started = Instant::now();
        let callers: Vec<_> = (0..callers)
            .map(|caller| {
                let jobs = place.jobs.clone();
                place.runtime.spawn(async move {
                    let mut pushed = 0;
                    while started.elapsed() < time {
                        jobs.enqueue(Mail::new(caller)).await.unwrap();
                        pushed += 1;
                    }
                    pushed
                })
            })
            .collect();
        let mut pushed = 0;
        for caller in callers {
            pushed += place.runtime.block_on(caller).unwrap();
        }
        f64::from(pushed) / started.elapsed().as_secs_f64()
    };
    run(time / 10);
    let rate = run(time);
    place.close();
    Ok(rate)
}

fn many(dir: &Path, at_once: u64, time: Duration) -> anyhow::Result<f64> {
    let place = Place::in_dir(dir)?;
    let run = |time: Duration| {
        place.runtime.block_on(async {
            let started = Instant::now();
            let mut pushed = 0;
            while started.elapsed() < time {
                let mails = (0..at_once).map(mail).collect();
                place.jobs.push_many(mails).await.unwrap();
                pushed += at_once;
            }
            pushed as f64 / started.elapsed().as_secs_f64()
        })
    };
    run(time / 10);
    let rate = run(time);
    place.close();
    Ok(rate)
}
