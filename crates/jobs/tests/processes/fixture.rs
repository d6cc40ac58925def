//! Where a test takes fixture: a directory with a database, a log that all
//! processes append to, and the processes.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use monolite_jobs::{Jobs, NewJob};
use monolite_store::Store;
use rusqlite::Connection;
use rustix::process::{Pid, Signal, kill_process};

use super::check::dump;
use super::worker::{Config, Task, open};

pub(super) const SECOND: Duration = Duration::from_secs(1);

pub(super) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub(super) struct Fixture {
    dir: PathBuf,
    logs: PathBuf,
    /// Removed at the end.
    _temp: tempfile::TempDir,
}

/// What some process logged.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) us: u64,
    pub(super) who: String,
    pub(super) what: String,
    rest: Vec<String>,
}

impl Line {
    pub(super) fn number(&self, fixture: usize) -> u64 {
        self.rest[fixture].parse().unwrap()
    }

    pub(super) fn text(&self) -> String {
        self.rest.join(" ")
    }
}

impl Fixture {
    pub(super) fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path();
        Self {
            dir: path.into(),
            logs: path.into(),
            _temp: temp,
        }
    }

    /// With its database in `dir`, and its log elsewhere.
    pub(super) fn apart(dir: PathBuf) -> Self {
        Self { dir, ..Self::new() }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// A file beside the log: never on a disk that is to be full.
    pub(super) fn log_file(&self, name: &str) -> PathBuf {
        self.logs.join(name)
    }

    pub(super) fn clock_file(&self) -> PathBuf {
        self.dir.join("clock")
    }

    pub(super) async fn jobs(&self) -> Jobs {
        self.opened().await.1
    }

    pub(super) async fn opened(&self) -> (Store, Jobs) {
        open(&self.dir, self.clock_file().exists()).await
    }

    pub(super) fn config(&self, name: &str) -> Config {
        Config {
            dir: self.dir.clone(),
            log: self.logs.join("log"),
            name: name.into(),
            queues: vec![("default".into(), 8)],
            lease_ms: 20_000,
            max_crashes: 3,
            deadline_ms: 5000,
            cron: None,
            current_thread: false,
            file_clock: self.clock_file().exists(),
            wait_for_go: false,
            push: None,
        }
    }

    pub(super) fn conn(&self) -> Connection {
        let conn = Connection::open(self.dir.join("app.sqlite3")).unwrap();
        conn.busy_timeout(30 * SECOND).unwrap();
        conn
    }

    /// Everything logged so far.
    pub(super) fn log(&self) -> Vec<Line> {
        let bytes = std::fs::read(self.logs.join("log")).unwrap_or_default();
        let text = String::from_utf8(bytes).unwrap();
        let parse = |line: &str| {
            let mut words = line.split(' ');
            Line {
                us: words.next().unwrap().parse().unwrap(),
                who: words.next().unwrap().into(),
                what: words.next().unwrap().into(),
                rest: words.map(Into::into).collect(),
            }
        };
        text.lines().map(parse).collect()
    }

    pub(super) fn logged(&self, what: &str) -> Vec<Line> {
        let mut log = self.log();
        log.retain(|line| line.what == what);
        log
    }

    pub(super) fn starts(&self, n: u64) -> Vec<Line> {
        let mut log = self.logged("start");
        log.retain(|line| line.number(0) == n);
        log
    }

    pub(super) fn wait_start(&self, n: u64, limit: Duration) -> Line {
        let starts = || self.starts(n);
        until(&format!("start of {n}"), limit, || !starts().is_empty());
        starts().remove(0)
    }

    /// Waits until every job has ended.
    pub(super) fn drained(&self, limit: Duration) {
        let conn = self.conn();
        let open = || number(&conn, "SELECT count(*) FROM _monolite_job WHERE state < 5");
        let deadline = Instant::now() + limit;
        while open() > 0 {
            if Instant::now() > deadline {
                panic!("not ended after {limit:?}: {}", dump(&conn));
            }
            std::thread::sleep(ms(20));
        }
    }

    /// A worker that is up.
    pub(super) fn worker(&self, config: &Config) -> Process {
        let process = Process::start(config);
        let name = &config.name;
        let pid_known = || self.log();
        until(&format!("{name} is up"), 30 * SECOND, || {
            let log = pid_known();
            log.iter().any(|l| l.what == "ready" && &l.who == name)
        });
        process
    }
}

/// Waits for something that is sure to come.
pub(super) fn until(what: &str, limit: Duration, mut there: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !there() {
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        std::thread::sleep(ms(10));
    }
}

pub(super) fn task(n: u64) -> Task {
    Task {
        n,
        ..Task::default()
    }
}

pub(super) fn prepare(task: &Task) -> NewJob {
    use monolite_jobs::Job;
    task.prepare().unwrap()
}

pub(super) fn number(conn: &Connection, sql: &str) -> i64 {
    conn.query_row(sql, [], |row| row.get(0)).expect(sql)
}

/// A process of ours; killed when dropped.
pub(super) struct Process {
    child: Child,
}

impl Process {
    pub(super) fn start(config: &Config) -> Self {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["child", "--exact", "--ignored", "--nocapture"])
            .env("JOBS_WORKER", serde_json::to_string(config).unwrap())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self { child }
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    pub(super) fn go(&mut self) {
        self.child.stdin.as_mut().unwrap().write_all(b"g").unwrap();
    }

    pub(super) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for its end by itself.
    pub(super) fn ended(&mut self, limit: Duration) -> ExitStatus {
        let mut status = None;
        until("the process ends", limit, || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    /// Ends it in order.
    pub(super) fn terminate(mut self, limit: Duration) {
        self.signal(Signal::TERM);
        let status = self.ended(limit);
        assert!(status.success(), "{status}");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
