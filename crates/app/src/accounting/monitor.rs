//! The thread that looks after what the app has open.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use monolite_platform::process::{self, Inode, Pid};
use monolite_sqlite_format::wal_path;
use monolite_volume::discover;
use monolite_volume::layout::{self, Role};
use rustix::event::{EventfdFlags, eventfd};
use tokio::sync::{oneshot, watch};

use super::elsewhere::{Named, written_in};
use super::findings::{Findings, Kind};
use super::held::{Held, NotHeld, checkpoint, connect};
use super::rescue::{self, Rescued};
use super::scan::{Part, Scanned, Scanner};
use super::sqlite_version::old_sqlite;
use super::watch::{Event, Watch};
use super::{CONFIRM_TIME, SCAN_INTERVAL};

/// Pause between two tries to take a lock that the app holds.
const LOCK_PAUSE: Duration = Duration::from_millis(3);
/// How long the lock of one database is tried for; the next scan tries again.
const LOCK_TIME_MAX: Duration = Duration::from_secs(1);
/// How long the copying of a log into its database is tried, before the app starts.
const SETTLE_TIME_MAX: Duration = Duration::from_secs(2);
/// How often an app is restarted in one run for the same database: one that deletes its own files
/// each time would never serve.
const RESTARTS_MAX: u32 = 5;
/// Programs and libraries that are looked into, at most.
const PROGRAMS_MAX: usize = 1000;
const SETTLE_PAUSE: Duration = Duration::from_millis(20);

/// What is looked after.
pub(crate) struct Options {
    /// A path without links.
    pub(crate) volume: PathBuf,
    pub(crate) app_dir: PathBuf,
    /// Databases outside of the volume that somebody accepts.
    pub(crate) is_accepted: Arc<dyn Fn(&Path) -> bool + Send + Sync>,
    /// How the app learns where its database belongs, for people.
    pub(crate) variables: String,
    /// Whether a database is restored from a replica when it is deleted.
    pub(crate) is_replicated: Arc<dyn Fn(&Path) -> bool + Send + Sync>,
    /// The database that the app is given.
    pub(crate) main: PathBuf,
    /// What variables of the environment name outside of the volume.
    pub(crate) named: Vec<Named>,
    /// Takes what is found.
    pub(crate) findings: Arc<Findings>,
}

/// The thread, as others see it; it ends when this is dropped.
pub(crate) struct Monitor {
    /// How many databases the app has open under names that are gone.
    unnamed: watch::Receiver<usize>,
    commands: Sender<Command>,
    wake: OwnedFd,
    thread: Option<JoinHandle<()>>,
}

enum Command {
    /// The app does not run: rescue what it left, and copy logs into their databases.
    Paused(oneshot::Sender<()>),
    End,
}

impl Monitor {
    /// Starts it.
    ///
    /// # Errors
    /// The kernel gives no descriptor or thread for it.
    pub(crate) fn start(options: Options) -> std::io::Result<Self> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let (commands, received) = channel();
        let (count, unnamed) = watch::channel(0);
        let mut worker = Worker {
            scanner: Scanner::new(&options.volume),
            watch: Watch::new(&options.volume)?,
            findings: options.findings.clone(),
            count,
            held: HashMap::new(),
            to_lock: BTreeMap::new(),
            suspects: BTreeMap::new(),
            unnamed: BTreeSet::new(),
            restarts: HashMap::new(),
            logs: HashMap::new(),
            began: SystemTime::now(),
            looked_into: HashSet::new(),
            pids: HashSet::new(),
            paused: true,
            options,
        };
        let woken = rustix::io::dup(&wake)?;
        let thread = std::thread::Builder::new()
            .name("monolite-files".into())
            .spawn(move || worker.run(&woken, &received))?;
        Ok(Self {
            unnamed,
            commands,
            wake,
            thread: Some(thread),
        })
    }

    /// Comes when the app has to be stopped, since it writes to files without a name.
    pub(crate) async fn pause_needed(&self) {
        let mut unnamed = self.unnamed.clone();
        if unnamed.wait_for(|count| *count > 0).await.is_err() {
            std::future::pending().await
        }
    }

    pub(crate) fn is_pause_needed(&self) -> bool {
        *self.unnamed.borrow() > 0
    }

    /// While the app does not run.
    pub(crate) async fn while_paused(&self) {
        let (done, wait) = oneshot::channel();
        self.send(Command::Paused(done));
        let _ = wait.await;
    }

    fn send(&self, command: Command) {
        let _ = self.commands.send(command);
        // Cannot fail: the counter is never near its limit.
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.send(Command::End);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Worker {
    options: Options,
    scanner: Scanner,
    watch: Watch,
    findings: Arc<Findings>,
    count: watch::Sender<usize>,
    /// Databases that are open here.
    held: HashMap<PathBuf, Held>,
    /// Those to be locked, and since when that is tried.
    to_lock: BTreeMap<PathBuf, Instant>,
    /// Databases whose files seem to have lost their names, and since when.
    suspects: BTreeMap<PathBuf, Instant>,
    /// For those it is certain.
    unnamed: BTreeSet<PathBuf>,
    /// How often the app was restarted for a database.
    restarts: HashMap<PathBuf, u32>,
    /// Logs without a name that the app has open, by the file.
    logs: HashMap<PathBuf, Vec<(Inode, File)>>,
    began: SystemTime,
    /// Programs and libraries whose SQLite was looked at, and the processes that run them.
    looked_into: HashSet<PathBuf>,
    pids: HashSet<Pid>,
    /// The app does not run.
    paused: bool,
}

impl Worker {
    fn run(&mut self, wake: &OwnedFd, commands: &Receiver<Command>) {
        let mut next = Instant::now();
        loop {
            let mut wait = next.saturating_duration_since(Instant::now());
            if !self.to_lock.is_empty() {
                wait = wait.min(LOCK_PAUSE);
            }
            for event in self.watch.wait(wake, wait) {
                match event {
                    Event::Log(database) => self.log_came(&database),
                    Event::Names => {}
                }
                next = next.min(Instant::now() + CONFIRM_TIME / 2);
            }
            self.lock_those_that_wait();
            let mut counter = [0; 8];
            let _ = rustix::io::read(wake, &mut counter);
            while let Ok(command) = commands.try_recv() {
                match command {
                    Command::Paused(done) => {
                        self.while_paused();
                        let _ = done.send(());
                    }
                    Command::End => {
                        self.give_up_all();
                        return;
                    }
                }
            }
            if Instant::now() >= next {
                self.scan();
                next = Instant::now()
                    + match self.suspects.is_empty() {
                        true => SCAN_INTERVAL,
                        false => CONFIRM_TIME,
                    };
            }
        }
    }

    fn is_data(&self, database: &Path) -> bool {
        let name = database.strip_prefix(&self.options.volume);
        name.is_ok_and(|name| layout::role(name) == Role::Data)
    }

    /// A database has a log: from its first commit on the lock is held.
    fn log_came(&mut self, database: &Path) {
        let is_locked = self.held.get(database).is_some_and(Held::is_locked);
        if is_locked || !self.is_data(database) {
            return;
        }
        // In this order: a write between the two is not missed.
        self.watch.first_write(database);
        if wal_path(database).metadata().is_ok_and(|of| of.len() > 0) {
            self.lock(database);
        }
    }

    fn lock(&mut self, database: &Path) {
        // A new connection would get the old index of this process.
        if rescue::has_old_files(database) {
            return;
        }
        match Held::lock(database) {
            Ok(held) => {
                self.held.insert(database.into(), held);
                self.to_lock.remove(database);
                self.findings.remove(Kind::NotHeld, database);
            }
            Err(NotHeld::NoLog) => {
                self.to_lock.remove(database);
            }
            Err(NotHeld::Busy) => {
                self.to_lock
                    .entry(database.into())
                    .or_insert_with(Instant::now);
            }
            Err(NotHeld::Failed(why)) => {
                self.to_lock.remove(database);
                if self.findings.add(Kind::NotHeld, database) {
                    tracing::warn!(
                        database = self.name(database),
                        why,
                        "cannot open it next to the app: if another library deletes its log, that is noticed but not prevented"
                    );
                }
            }
        }
    }

    fn lock_those_that_wait(&mut self) {
        for (database, since) in self.to_lock.clone() {
            match since.elapsed() < LOCK_TIME_MAX {
                true => self.lock(&database),
                false => drop(self.to_lock.remove(&database)),
            }
        }
    }

    fn scan(&mut self) {
        let scanned = self.scanner.scan();
        for (database, is_logged) in &scanned.databases {
            if *is_logged {
                self.log_came(database);
            }
            if !self.held.contains_key(database)
                && let Ok(held) = Held::open(database)
            {
                self.held.insert(database.clone(), held);
            }
        }
        self.forget_deleted(&scanned);
        self.suspect(&scanned);
        self.let_go_of_idle(&scanned);
        if !self.paused {
            self.old_sqlite(&scanned);
            self.elsewhere(scanned.elsewhere);
        }
    }

    /// Looks once into each program and library that the app runs, on a thread of its own: they may be
    /// large.
    fn old_sqlite(&mut self, scanned: &Scanned) {
        let own = Inode::of(Path::new("/proc/self/exe"));
        let mut new = Vec::new();
        for pid in &scanned.pids {
            if self.looked_into.len() >= PROGRAMS_MAX || !self.pids.insert(*pid) {
                continue;
            }
            for program in process::programs(*pid).unwrap_or_default() {
                if Inode::of(&program) != own && self.looked_into.insert(program.clone()) {
                    new.push(program);
                }
            }
        }
        self.pids.retain(|pid| scanned.pids.contains(pid));
        if new.is_empty() {
            return;
        }
        let findings = self.findings.clone();
        // Without that thread nothing is said of it, and all else works.
        let _ = std::thread::Builder::new()
            .name("monolite-sqlite".into())
            .spawn(move || {
                new.iter()
                    .for_each(|program| report_old(program, &findings))
            });
    }

    /// What has no name any more is certain when it is seen twice.
    fn suspect(&mut self, scanned: &Scanned) {
        let mut seen = BTreeSet::new();
        for unnamed in &scanned.unnamed {
            if unnamed.part == Part::Log
                && let (Some(inode), Ok(file)) = (unnamed.file.inode(), unnamed.file.reopen())
            {
                // Now, and not when it is certain: the app may end before.
                let logs = self.logs.entry(unnamed.database.clone()).or_default();
                if logs.iter().all(|(known, _)| *known != inode) {
                    logs.push((inode, file));
                }
            }
            seen.insert(unnamed.database.clone());
        }
        let broken = self.held.values().filter(|held| {
            // What is only open, and was replaced, is open for nothing.
            held.is_locked() && !held.is_whole()
        });
        seen.extend(broken.map(|held| held.path.clone()));
        self.suspects.retain(|path, _| seen.contains(path));
        self.logs
            .retain(|path, _| seen.contains(path) || self.unnamed.contains(path));
        for database in seen {
            let since = *self
                .suspects
                .entry(database.clone())
                .or_insert_with(Instant::now);
            if since.elapsed() < CONFIRM_TIME || self.paused || self.is_of_the_replica(&database) {
                continue;
            }
            if self.restarts.get(&database).copied().unwrap_or(0) >= RESTARTS_MAX {
                if self.findings.add(Kind::Unnamed, &database) {
                    tracing::error!(
                        database = self.name(&database),
                        "its files lose their names after each start of the app, which is not restarted for it any more: what the app commits to them is put back at its end. Find out what deletes or replaces them"
                    );
                }
                continue;
            }
            if self.unnamed.insert(database.clone()) {
                self.findings.add(Kind::Unnamed, &database);
                let process = scanned
                    .unnamed
                    .iter()
                    .find(|unnamed| unnamed.database == database)
                    .map(|unnamed| process_name(unnamed.file.pid()));
                tracing::error!(
                    database = self.name(&database),
                    process,
                    "its file, -wal or -shm was deleted, renamed or replaced while the app had it open: what the app commits has no name. Requests wait while the app is restarted; what it committed is put back"
                );
            }
        }
        self.count.send_if_modified(|count| {
            let changed = *count != self.unnamed.len();
            *count = self.unnamed.len();
            changed
        });
    }

    /// What was deleted while nobody had it open was deleted by the app, unless it is the app's own
    /// database, which one that opens it for each request has not open all the time.
    fn forget_deleted(&mut self, scanned: &Scanned) {
        // Where there is no file of that name, another may be the app's own.
        let main = &self.options.main;
        let is_deleted = |path: &PathBuf| path != main && main.exists() && !path.exists();
        let is_seen = |path: &PathBuf| {
            scanned.databases.contains_key(path)
                || scanned.unnamed.iter().any(|of| of.database == *path)
        };
        let deleted: Vec<PathBuf> = (self.held.keys())
            .filter(|path| !self.paused && is_deleted(path) && !is_seen(path))
            .cloned()
            .collect();
        if deleted.is_empty() {
            return;
        }
        let open = open_elsewhere(&deleted);
        for path in deleted.iter().filter(|path| !open.contains(*path)) {
            self.held.remove(path);
        }
    }

    /// Once nobody else has a database open, its log goes into it, and the lock is given up.
    fn let_go_of_idle(&mut self, scanned: &Scanned) {
        let idle: Vec<PathBuf> = self
            .held
            .iter()
            .filter(|(path, held)| {
                let is_seen = scanned.databases.contains_key(*path)
                    || scanned.unnamed.iter().any(|of| of.database == **path);
                !is_seen && (held.is_whole() || !held.is_locked())
            })
            .map(|(path, _)| path.clone())
            .collect();
        if idle.is_empty() {
            return;
        }
        let open = open_elsewhere(&idle);
        for path in idle {
            if !open.contains(&path)
                && let Some(held) = self.held.remove(&path)
            {
                held.give_up();
            }
        }
    }

    fn elsewhere(&mut self, open: BTreeMap<PathBuf, Pid>) {
        let mut all: BTreeMap<PathBuf, Option<Pid>> = open
            .into_iter()
            .map(|(path, pid)| (path, Some(pid)))
            .collect();
        let (dir, volume) = (&self.options.app_dir, &self.options.volume);
        for path in written_in(dir, volume, self.began) {
            all.entry(path).or_default();
        }
        for (path, pid) in all {
            if (self.options.is_accepted)(&path) || !self.findings.add(Kind::Elsewhere, &path) {
                continue;
            }
            let (database, volume) = (path.display().to_string(), volume.display());
            let process = pid.map(process_name);
            tracing::error!(
                database,
                process,
                "the app has a database that is not in the data directory {volume}: it is not replicated, not guarded, and lost with this machine. Have the app open it there ({}), or accept that with --replica-exclude '{database}'",
                self.options.variables
            );
        }
    }

    fn named(&self) {
        for what in crate::not_looked_at(&self.options.volume) {
            if self.findings.add(Kind::Elsewhere, Path::new(&what)) {
                tracing::error!("{what}");
            }
        }
        for named in &self.options.named {
            if (self.options.is_accepted)(&named.path)
                || !self.findings.add(Kind::Elsewhere, &named.path)
            {
                continue;
            }
            let (database, volume) = (
                named.path.display().to_string(),
                self.options.volume.display(),
            );
            tracing::error!(
                database,
                variable = named.variable,
                "the variable names a database that is not in the data directory {volume}: it is not replicated, not guarded, and lost with this machine. Set {} to a path in {volume}, or leave it out, or accept that with --replica-exclude '{database}'",
                named.variable
            );
        }
    }

    fn while_paused(&mut self) {
        let scanned = self.scanner.scan();
        self.suspect(&scanned);
        let broken: Vec<PathBuf> = self
            .held
            .values()
            .filter(|held| !held.is_whole())
            .map(|held| held.path.clone())
            .chain(self.logs.keys().cloned())
            .chain(self.unnamed.iter().cloned())
            .collect();
        for database in BTreeSet::from_iter(broken) {
            self.rescue(&database);
        }
        self.unnamed.clear();
        self.suspects.clear();
        self.logs.clear();
        self.count.send_replace(0);
        self.settle();
        if self.paused {
            self.named();
        }
        self.paused = false;
    }

    /// Whether it was deleted, and replication restores it with all that was committed: it knows those
    /// that were deleted on purpose. An app that opens its database for each request leaves an empty
    /// file there.
    fn is_of_the_replica(&self, database: &Path) -> bool {
        let is_there = database.metadata().is_ok_and(|of| of.len() > 0);
        !is_there && (self.options.is_replicated)(database)
    }

    fn rescue(&mut self, database: &Path) {
        let held = self.held.remove(database);
        *self.restarts.entry(database.into()).or_default() += 1;
        if self.is_of_the_replica(database) {
            self.findings.remove(Kind::Unnamed, database);
            return;
        }
        let mut done = Vec::new();
        let time = jiff::Zoned::now().strftime("%Y%m%dT%H%M%S").to_string();
        let dir = |n: usize| {
            let dir = rescue::directory(&self.options.volume, database, &time);
            dir.with_file_name(format!("{time}-{n}"))
        };
        let mut logs = self.logs.remove(database).unwrap_or_default();
        match held {
            Some(held) if !held.has_main() => done.push(rescue::main(held, &dir(0))),
            Some(mut held) if !held.has_log() => {
                if let Some((inode, log)) = held.take_log() {
                    logs.retain(|(known, _)| *known != inode);
                    done.push(rescue::log(database, &log, Some(held), &dir(0)));
                }
            }
            _ => {}
        }
        for (n, (_, log)) in logs.iter().enumerate() {
            done.push(rescue::log(database, log, None, &dir(n + 1)));
        }
        self.findings.remove(Kind::Unnamed, database);
        let name = self.name(database);
        for rescued in done {
            match rescued {
                Ok(Rescued::Nothing) => {}
                Ok(Rescued::Restored { commits }) => {
                    self.findings.rescued();
                    tracing::warn!(
                        database = name,
                        commits,
                        "what the app committed to files without a name is in the database again"
                    );
                }
                Ok(Rescued::Kept(copy)) => {
                    self.findings.add(Kind::NotRescued, database);
                    let copy = copy.display().to_string();
                    tracing::error!(
                        database = name,
                        copy,
                        "its files were replaced, and others wrote to the new ones: the database is what its name says now, and what the app had committed is in this copy. Compare the two, e.g. with `sqldiff`"
                    );
                }
                Err(error) => {
                    self.findings.add(Kind::NotRescued, database);
                    let kept = layout::rescued(&self.options.volume).display().to_string();
                    tracing::error!(
                        database = name,
                        %error,
                        kept,
                        "what the app committed to files without a name cannot be put back; what could be read is kept"
                    );
                }
            }
        }
    }

    /// Copies the logs of databases that nobody else has open into them: a start script that removes
    /// old `-wal` files removes nothing.
    fn settle(&mut self) {
        let found = discover::by_name(&self.options.volume).unwrap_or_default();
        let has_log = |path: &&PathBuf| wal_path(path).metadata().is_ok_and(|of| of.len() > 0);
        let logged: Vec<PathBuf> = found.databases.iter().filter(has_log).cloned().collect();
        let open = open_elsewhere(&logged);
        let until = Instant::now() + SETTLE_TIME_MAX;
        for database in logged {
            if !self.is_data(&database) || open.contains(&database) {
                continue;
            }
            if let Some(held) = self.held.remove(&database) {
                held.give_up();
            }
            if let Err(why) = settle(&database, until) {
                tracing::warn!(
                    database = self.name(&database),
                    why,
                    "its log could not be copied into it before the app starts: do not remove its -wal file"
                );
            }
        }
        self.give_up_all();
    }

    fn give_up_all(&mut self) {
        let all: Vec<PathBuf> = self.held.keys().cloned().collect();
        let open = open_elsewhere(&all);
        for (path, held) in std::mem::take(&mut self.held) {
            match open.contains(&path) {
                true => drop(self.held.insert(path, held)),
                false => held.give_up(),
            }
        }
    }

    /// By its path in the volume.
    fn name(&self, database: &Path) -> String {
        let name = database.strip_prefix(&self.options.volume);
        name.unwrap_or(database).display().to_string()
    }
}

/// Copies all of the log into the database. A follower reads the last commits first: that takes a
/// moment.
fn settle(database: &Path, until: Instant) -> Result<(), String> {
    if rescue::has_old_files(database) {
        return Err("its old -wal or -shm is still open".into());
    }
    loop {
        let tried = connect(database).and_then(|conn| {
            let done = checkpoint(&conn, "PASSIVE")?;
            if done {
                // The last connection deletes the log, unless it is followed.
                let on_close = rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
                conn.set_db_config(on_close, false)?;
            }
            Ok(done)
        });
        let why = match tried {
            Ok(true) => return Ok(()),
            Ok(false) => "it is read".to_owned(),
            Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::NotADatabase) => {
                return Ok(());
            }
            Err(error) => error.to_string(),
        };
        if Instant::now() >= until {
            return Err(why);
        }
        std::thread::sleep(SETTLE_PAUSE);
    }
}

/// Which of these databases other processes have open.
fn open_elsewhere(databases: &[PathBuf]) -> BTreeSet<PathBuf> {
    if databases.is_empty() {
        return BTreeSet::new();
    }
    let of = |path: &Path| {
        let name = path.file_name()?;
        Some(path.with_file_name(layout::database_of(name)))
    };
    let wanted: BTreeSet<&PathBuf> = databases.iter().collect();
    let open =
        process::open_elsewhere(|file| of(file.path()).is_some_and(|path| wanted.contains(&path)));
    let open = open.unwrap_or_default();
    open.iter().filter_map(|file| of(file.path())).collect()
}

fn report_old(program: &Path, findings: &Findings) {
    if let Ok(Some(day)) = old_sqlite(program)
        && findings.add(Kind::OldSqlite, program)
    {
        let program = program.display().to_string();
        tracing::warn!(
            program,
            "the app's SQLite is of {day}, before 3.51.3: when two connections copy the log at the same instant it can lose commits (sqlite.org/wal.html, the WAL-reset bug). Update the system's libsqlite3, or the driver that brings its own"
        );
    }
}

fn process_name(pid: Pid) -> String {
    process::Named(pid).to_string()
}
