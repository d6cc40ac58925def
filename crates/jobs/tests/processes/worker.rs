//! The worker program: what a child process does.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use monolite_component::{Clock, SystemClock};
use monolite_jobs::{Backoff, Context, Event, Failure, Job, Jobs};
use monolite_store::{Options, Store};
use rustix::process::{Signal, getpid, kill_process};
use serde::{Deserialize, Serialize};

/// How a worker process is set up; handed over in `JOBS_WORKER`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Config {
    pub(super) dir: PathBuf,
    /// Beside the database, unless the disk is to be full there.
    pub(super) log: PathBuf,
    pub(super) name: String,
    pub(super) queues: Vec<(String, usize)>,
    pub(super) lease_ms: u64,
    pub(super) max_crashes: u32,
    /// For what still runs at the end.
    pub(super) deadline_ms: u64,
    /// Name and schedule; each tick is a `Task` with this number.
    pub(super) cron: Option<(String, String, u64)>,
    pub(super) current_thread: bool,
    /// Reads its clock's offset from the file `clock`.
    pub(super) file_clock: bool,
    /// Opens nothing before its standard input says so.
    pub(super) wait_for_go: bool,
    /// Jobs it enqueues itself, from this number on.
    pub(super) push: Option<(u64, u64)>,
}

/// What a job is to do.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Task {
    /// Tells it from all others, also where its id is not known.
    pub(super) n: u64,
    /// Sleeps, as async code does.
    #[serde(default)]
    pub(super) ms: u64,
    /// Sleeps longer by this on its first attempt.
    #[serde(default)]
    pub(super) first_ms: u64,
    /// Goes on once this file is there.
    #[serde(default)]
    pub(super) until: Option<PathBuf>,
    /// Blocks its thread.
    #[serde(default)]
    pub(super) block_ms: u64,
    /// Kills its process on this and earlier attempts.
    #[serde(default)]
    pub(super) kills: u32,
    /// Fails on this and earlier attempts …
    #[serde(default)]
    pub(super) fails: u32,
    /// … to be tried again after this pause.
    #[serde(default)]
    pub(super) retry_ms: u64,
    /// Enqueues a task with this number first.
    #[serde(default)]
    pub(super) spawns: Option<u64>,
}

impl Job for Task {
    const KIND: &'static str = "task";
}

/// Does nothing, and logs nothing.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Noop;

impl Job for Noop {
    const KIND: &'static str = "noop";
}

/// The system's clock, and an offset that is read anew each time.
#[derive(Debug)]
pub(super) struct FileClock(pub(super) PathBuf);

impl FileClock {
    pub(super) fn set(path: &Path, offset_ms: i64) {
        // In place, eight bytes: a reader sees the old or the new.
        let mut file = OpenOptions::new();
        let mut file = file.create(true).truncate(false).write(true).open(path);
        file.as_mut()
            .unwrap()
            .write_all(&offset_ms.to_le_bytes())
            .unwrap();
    }
}

impl Clock for FileClock {
    fn now_ms(&self) -> i64 {
        let mut bytes = [0; 8];
        File::open(&self.0).unwrap().read_exact(&mut bytes).unwrap();
        SystemClock.now_ms() + i64::from_le_bytes(bytes)
    }

    fn monotonic(&self) -> std::time::Duration {
        SystemClock.monotonic()
    }

    fn boottime(&self) -> std::time::Duration {
        SystemClock.boottime()
    }

    fn boot_id(&self) -> String {
        SystemClock.boot_id()
    }
}

/// Microseconds of the clock all processes share.
pub(super) fn steady_us() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap() * 1_000_000 + u64::try_from(now.tv_nsec).unwrap() / 1000
}

/// Appends whole lines, so that they survive this process and do not mix with
/// those of others.
#[derive(Clone)]
struct Log {
    file: Arc<File>,
    name: Arc<str>,
}

impl Log {
    fn open(config: &Config) -> Self {
        let mut file = OpenOptions::new();
        let file = file.append(true).create(true).open(&config.log).unwrap();
        Self {
            file: Arc::new(file),
            name: config.name.as_str().into(),
        }
    }

    fn line(&self, text: &str) {
        let line = format!("{} {} {text}\n", steady_us(), self.name);
        (&*self.file).write_all(line.as_bytes()).unwrap();
    }
}

async fn run(task: Task, context: Context, log: Log) -> Result<String, Failure> {
    let (id, n) = (context.id(), task.n);
    log.line(&format!("start {n} {id} {}", context.attempt()));
    if context.attempt() <= task.kills {
        kill_process(getpid(), Signal::KILL).unwrap();
    }
    if let Some(n) = task.spawns {
        let task = Task {
            n,
            ..Task::default()
        };
        let id = context.jobs().enqueue(task).await?;
        log.line(&format!("pushed {n} {id}"));
    }
    let first_ms = if context.attempt() == 1 {
        task.first_ms
    } else {
        0
    };
    tokio::time::sleep(Duration::from_millis(task.ms + first_ms)).await;
    while task.until.as_ref().is_some_and(|file| !file.exists()) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    std::thread::sleep(Duration::from_millis(task.block_ms));
    if context.attempt() <= task.fails {
        let pause = Duration::from_millis(task.retry_ms);
        return Err(Failure::retry_in(pause, "it was told to fail"));
    }
    log.line(&format!("end {n} {id}"));
    Ok(log.name.to_string())
}

fn observe(log: &Log, event: &Event) {
    let line = match event {
        Event::Lost { jobs } => format!("lost {jobs}"),
        Event::Stale { job, .. } => format!("stale {}", job.id),
        Event::Recovered { id, state } => format!("recovered {id} {state}"),
        Event::Fired { name, id } => format!("fired {name} {id}"),
        Event::Troubled { error, .. } => format!("troubled {error}"),
        Event::Stopped {
            handed_back,
            interrupted,
        } => format!("stopped {handed_back} {interrupted}"),
        _ => return,
    };
    log.line(&line);
}

pub(super) fn main() {
    let config: Config = serde_json::from_str(&std::env::var("JOBS_WORKER").unwrap()).unwrap();
    let mut builder = if config.current_thread {
        tokio::runtime::Builder::new_current_thread()
    } else {
        tokio::runtime::Builder::new_multi_thread()
    };
    let runtime = builder.worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(work(config));
}

/// The end of standard input: the parent is gone, or wants no more.
fn end_of_input() -> tokio::sync::oneshot::Receiver<()> {
    let (tx, rx) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        let _ = tx.send(());
    });
    rx
}

pub(super) async fn open(dir: &Path, file_clock: bool) -> (Store, Jobs) {
    let store = Store::open(dir.join("app.sqlite3"), Options::default()).unwrap();
    let clock: Arc<dyn Clock> = match file_clock {
        true => Arc::new(FileClock(dir.join("clock"))),
        false => Arc::new(SystemClock),
    };
    let jobs = Jobs::open_with_clock(&store, clock).await.unwrap();
    (store, jobs)
}

async fn work(config: Config) {
    let log = Log::open(&config);
    // Before anything else: a signal must find its handler.
    let terminate = tokio::signal::unix::SignalKind::terminate();
    let mut terminated = tokio::signal::unix::signal(terminate).unwrap();
    if config.wait_for_go {
        log.line("waits");
        let mut byte = [0];
        std::io::stdin().read_exact(&mut byte).unwrap();
    }
    let (store, jobs) = open(&config.dir, config.file_clock).await;
    let mut worker = jobs
        .worker()
        .name(&config.name)
        .lease(Duration::from_millis(config.lease_ms))
        .max_crashes(config.max_crashes)
        .max_attempts(u32::MAX)
        .backoff(Backoff::fixed(Duration::from_millis(200)));
    for (queue, at_once) in &config.queues {
        worker = worker.queue(queue, *at_once);
    }
    if let Some((name, schedule, n)) = &config.cron {
        let task = Task {
            n: *n,
            ..Task::default()
        };
        worker = worker.cron(name, schedule, "UTC", task.prepare());
    }
    let (of_task, of_events) = (log.clone(), log.clone());
    let worker = worker
        .on(move |task: Task, context| run(task, context, of_task.clone()))
        .on(|_: Noop, _| async { Ok(()) })
        .observe(move |event| observe(&of_events, event))
        .start()
        .await
        .unwrap();
    log.line("ready");
    let pushed = config.push.unwrap_or_default();
    for n in pushed.0..pushed.0 + pushed.1 {
        let task = Task {
            n,
            ..Task::default()
        };
        let id = jobs.enqueue(task).await.unwrap();
        log.line(&format!("pushed {n} {id}"));
    }
    tokio::select! {
        _ = terminated.recv() => {}
        _ = end_of_input() => {}
    }
    log.line("ending");
    worker
        .shutdown(Duration::from_millis(config.deadline_ms))
        .await;
    store.close().await;
    log.line("gone");
}
