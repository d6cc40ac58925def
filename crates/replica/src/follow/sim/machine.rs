//! One simulated machine: a volume that stays, and lives of the process on it. What is
//! decided about leases, about what the replica holds and about what may be sent is
//! decided by the code that is decided by in production; only the database, the app and
//! the order of the steps are the simulation's own.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use monolite_ltx::{DatabaseChecksums, Header, Txid};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::model::{Commit, Database, Ledger, PAGE, PAGES};
use crate::difference::Difference;
use crate::error::{Error, Result};
use crate::follow::encode::{Sums, Writer};
use crate::follow::leaser::WritePermit;
use crate::follow::leases::Leases;
use crate::follow::record_restored;
use crate::follow::resume::{self, Found, LocalRecords};
use crate::follow::sent_record::SentRecord;
use crate::follow::standing::{Standing, judge};
use crate::follow::state_files::StateFiles;
use crate::history::{Catalog, Policy, plan};
use crate::map::PageMap;
use crate::storage::sim::{SimBucket, World};
use crate::storage::{Destination, Replica, SNAPSHOT_LEVEL};
use monolite_platform::clock::Clock;

const DATABASE: &str = "app";
/// Some day, in milliseconds since 1970.
const DAY_MS: i64 = 1_772_366_400_000;
/// Longest a clean stop waits for what is not stored.
const STOP_TIME: Duration = Duration::from_secs(10);
/// What must be left of a lease when a request passes.
const REQUEST_MARGIN: Duration = Duration::from_secs(5);

/// The clock of one machine, which people set.
#[derive(Debug)]
struct SimClock {
    started: Instant,
    step_ms: AtomicI64,
    boot: AtomicU64,
}

impl Clock for SimClock {
    fn now_ms(&self) -> i64 {
        let passed = i64::try_from(self.monotonic().as_millis()).unwrap_or(0);
        DAY_MS + passed + self.step_ms.load(Ordering::Relaxed)
    }

    fn monotonic(&self) -> Duration {
        self.started.elapsed()
    }

    fn boottime(&self) -> Duration {
        self.started.elapsed()
    }

    fn boot_id(&self) -> String {
        format!("boot{}", self.boot.load(Ordering::Relaxed))
    }
}

pub(super) struct Machine {
    name: String,
    world: Arc<World>,
    ledger: Arc<Mutex<Ledger>>,
    clock: Arc<SimClock>,
    volume: Mutex<Volume>,
    life: Mutex<Option<(JoinHandle<()>, watch::Sender<bool>)>>,
    /// How often it began to serve.
    served: AtomicU64,
}

struct Volume {
    state: tempfile::TempDir,
    database: Option<Database>,
}

impl Volume {
    fn new() -> Self {
        let memory = std::path::Path::new("/dev/shm");
        let state = match memory.is_dir() {
            true => tempfile::tempdir_in(memory),
            false => tempfile::tempdir(),
        };
        Self {
            state: state.expect("a directory"),
            database: None,
        }
    }
}

impl Machine {
    pub(super) fn new(name: &str, world: &Arc<World>, ledger: &Arc<Mutex<Ledger>>) -> Arc<Self> {
        Arc::new(Self {
            name: name.into(),
            world: world.clone(),
            ledger: ledger.clone(),
            clock: Arc::new(SimClock {
                started: Instant::now(),
                step_ms: AtomicI64::new(0),
                boot: AtomicU64::new(0),
            }),
            volume: Mutex::new(Volume::new()),
            life: Mutex::default(),
            served: AtomicU64::new(0),
        })
    }

    fn volume(&self) -> MutexGuard<'_, Volume> {
        self.volume.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn life(&self) -> MutexGuard<'_, Option<(JoinHandle<()>, watch::Sender<bool>)>> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_running(&self) -> bool {
        self.life()
            .as_ref()
            .is_some_and(|(task, _)| !task.is_finished())
    }

    pub(super) fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }

    pub(super) fn start(self: &Arc<Self>) {
        if self.is_running() {
            return;
        }
        self.world.note(format_args!("{} starts", self.name));
        let (stop, stopping) = watch::channel(false);
        let machine = self.clone();
        let task = tokio::spawn(async move { Life::new(machine, stopping).run().await });
        *self.life() = Some((task, stop));
    }

    /// As kill -9.
    pub(super) async fn kill(&self) {
        self.world.note(format_args!("{} is killed", self.name));
        let life = self.life().take();
        if let Some((task, _)) = life {
            task.abort();
            let _ = task.await;
        }
    }

    /// As a power cut: the machine comes back with another boot.
    pub(super) async fn reboot(&self) {
        self.kill().await;
        self.clock.boot.fetch_add(1, Ordering::Relaxed);
    }

    /// The volume is lost, and replaced by an empty one.
    pub(super) async fn lose_volume(&self) {
        self.kill().await;
        let old = std::mem::replace(&mut *self.volume(), Volume::new());
        if let Some(database) = old.database {
            self.ledger().lost.push(database.last());
        }
    }

    pub(super) fn step_clock(&self, ms: i64) {
        self.clock.step_ms.fetch_add(ms, Ordering::Relaxed);
    }

    /// Stops cleanly, or is killed after `limit`; nothing of it runs on.
    pub(super) async fn stop(&self, limit: Duration) {
        let life = self.life().take();
        if let Some((mut task, stop)) = life {
            stop.send_replace(true);
            if timeout(limit, &mut task).await.is_err() {
                task.abort();
                let _ = task.await;
            }
        }
    }

    pub(super) fn destination(&self) -> Destination {
        Destination::simulated(SimBucket(self.world.clone()), self.clock.clone())
    }
}

/// The newest state of the replica, by all its files.
pub(super) async fn newest(replica: &Replica) -> Result<Option<(Txid, Database)>> {
    let files = replica.list_all().await?;
    if files.is_empty() {
        return Ok(None);
    }
    let name = || replica.name();
    let plan = plan(&files, None, None).map_err(|_| Error::Unrestorable { name: name() })?;
    let mut database = Database::new();
    for file in &plan.files {
        let body = replica.get_bytes(file).await?;
        let applied = database.apply(&body);
        applied.map_err(|source| Error::ltx(name(), source))?;
    }
    Ok(Some((plan.txid, database)))
}

/// What is known of the replica.
struct Remote {
    map: PageMap,
    catalog: Catalog,
    sent: Option<SentRecord>,
    empty: bool,
    must_equal: Option<Header>,
    fence: bool,
    unsent: Option<Unsent>,
    newest_ms: i64,
}

struct Unsent {
    header: Header,
    body: Bytes,
    sums: Sums,
    level: u8,
    last: Commit,
}

struct Life {
    machine: Arc<Machine>,
    stopping: watch::Receiver<bool>,
    destination: Destination,
    state: PathBuf,
    files: StateFiles,
    leases: Leases,
    permit: Arc<WritePermit>,
    replica: Replica,
}

/// Ends with its life.
struct Renewer(JoinHandle<()>);

impl Drop for Renewer {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Life {
    fn new(machine: Arc<Machine>, stopping: watch::Receiver<bool>) -> Self {
        let destination = machine.destination();
        let state = machine.volume().state.path().to_owned();
        let to = vec![destination.clone()];
        let leases = Leases::new(&state, to, &machine.name, false, &*machine.clock);
        let leases = leases.expect("a state directory");
        let permit = Arc::new(WritePermit::new(leases.all()[0].1.clone()));
        let replica = destination.replica(DATABASE).with_permit(permit.clone());
        Self {
            files: StateFiles::new(&state, destination.name(), DATABASE),
            machine,
            stopping,
            destination,
            state,
            leases,
            permit,
            replica,
        }
    }

    fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    async fn run(self) {
        while !self.is_stopping() {
            if self.leases.take(&self.destination).await.is_err() {
                sleep(Duration::from_millis(500)).await;
                continue;
            }
            let losses = self.leases.losses();
            let renewing = self.leases.clone();
            let _renewer = Renewer(tokio::spawn(async move {
                loop {
                    sleep(Duration::from_secs(2)).await;
                    let _ = renewing.renew().await;
                }
            }));
            if self.tenure(losses).await.is_err() {
                sleep(Duration::from_secs(1)).await;
            }
        }
        let is_all_stored = self
            .machine
            .volume()
            .database
            .as_ref()
            .is_none_or(|database| {
                let last = database.last();
                last == 0 || self.machine.ledger().stored.contains_key(&last)
            });
        let _ = timeout(STOP_TIME, self.leases.release(is_all_stored)).await;
    }

    /// From the lease to its loss, or to the end.
    async fn tenure(&self, losses: u64) -> Result<()> {
        self.catch_up().await?;
        if self.leases.losses() != losses {
            return Ok(());
        }
        let mut remote = None;
        // What keeps the last holder out stands before anything is served.
        match self.sync(&mut remote).await {
            Ok(()) => {}
            Err(Error::ForeignState { .. } | Error::Unrestorable { .. }) => {
                return self.refused().await;
            }
            Err(error) => return Err(error),
        }
        self.leases.is_up_to_date()?;
        self.machine.served.fetch_add(1, Ordering::Relaxed);
        self.serve(losses, &mut remote).await
    }

    /// Nothing shows that what is here has to do with the replica, and somebody has to
    /// decide: reported, and nothing is served here.
    async fn refused(&self) -> Result<()> {
        let standing = self.standing().await?;
        if standing == Standing::Unrelated {
            let last = self.last();
            self.machine.ledger().reported.push(last);
            sleep(Duration::from_secs(60)).await;
        }
        Ok(())
    }

    async fn standing(&self) -> Result<Standing> {
        let mut map = PageMap::empty(PAGE);
        map.apply(&self.database().differs(&map), PAGES, Txid(0));
        let here = async move { Ok(map) };
        let standing = judge(&self.state, &self.destination, DATABASE, here).await;
        self.note(format_args!("at {} is {standing:?}", self.last()));
        standing
    }

    fn note(&self, what: impl std::fmt::Display) {
        let name = &self.machine.name;
        self.machine.world.note(format_args!("{name} {what}"));
    }

    fn database(&self) -> Database {
        self.machine.volume().database.clone().expect("a database")
    }

    fn last(&self) -> Commit {
        self.database().last()
    }

    async fn catch_up(&self) -> Result<()> {
        let is_missing = self.machine.volume().database.is_none();
        if is_missing {
            return self.restore().await;
        }
        if !self.leases.may_be_behind(&self.destination)? {
            return Ok(());
        }
        match self.standing().await? {
            Standing::Current | Standing::Unrelated => Ok(()),
            Standing::Behind { .. } => self.restore().await,
            Standing::Diverged { .. } => {
                let last = self.last();
                self.machine.ledger().reported.push(last);
                self.restore().await
            }
        }
    }

    async fn restore(&self) -> Result<()> {
        let Some((txid, database)) = newest(&self.replica).await? else {
            let mut volume = self.machine.volume();
            volume.database.get_or_insert_with(Database::new);
            return Ok(());
        };
        let mut map = PageMap::empty(PAGE);
        map.apply(&database.differs(&map), PAGES, txid);
        self.note(format_args!("restores {txid}, commit {}", database.last()));
        self.machine.volume().database = Some(database);
        record_restored(&self.state, &self.destination, DATABASE, txid, Some(&map))
    }

    async fn serve(&self, losses: u64, remote: &mut Option<Remote>) -> Result<()> {
        let world = &self.machine.world;
        while !self.is_stopping() {
            sleep(Duration::from_millis(100 + world.below(3_000))).await;
            if self.leases.losses() != losses {
                return Ok(());
            }
            let mut may = self.leases.last(REQUEST_MARGIN);
            if !may {
                may = self.leases.renew().await.is_ok() && self.leases.last(REQUEST_MARGIN);
            }
            if self.leases.losses() != losses {
                return Ok(());
            }
            // A job of the app's own asks nobody.
            let is_job = world.below(20) == 0;
            if may || is_job {
                self.commit(is_job);
            }
            if world.below(2) == 0 {
                match self.sync(remote).await {
                    Err(Error::ForeignState { .. } | Error::Unrestorable { .. }) => {
                        return Ok(());
                    }
                    Err(error) if error.is_refusal() || error.is_conflict() => *remote = None,
                    _ => {}
                }
            }
            if world.below(15) == 0
                && let Some(remote) = remote.as_mut()
            {
                self.maintain(remote).await;
            }
        }
        let end = Instant::now() + STOP_TIME;
        while Instant::now() < end && self.sync(remote).await.is_err() {
            sleep(Duration::from_millis(200)).await;
        }
        Ok(())
    }

    fn commit(&self, is_job: bool) {
        let world = &self.machine.world;
        if !is_job && let Some(holder) = world.holder() {
            let node = format!("{:016x}", self.leases.node_id());
            if !holder.node.starts_with(&node) {
                let (name, other) = (&self.machine.name, &holder.host);
                world.broken(format!("{name} confirms while {other} has the lease"));
            }
        }
        let mut volume = self.machine.volume();
        let Some(database) = &mut volume.database else {
            return;
        };
        let commit = self.machine.ledger().commit(database.last(), world.now());
        world.note(format_args!("{} commits {commit}", self.machine.name));
        database.commit(commit);
    }

    fn writer(&self, newest_ms: i64) -> Writer {
        Writer {
            node_id: self.leases.node_id(),
            timestamp_ms: self.machine.clock.now_ms().max(newest_ms),
        }
    }

    async fn inspect(&self) -> Result<Remote> {
        self.permit.begin().await?;
        let path = self.files.map();
        let map = PageMap::load(&path).map_err(|error| Error::file(&path, error))?;
        let read = |path: PathBuf| SentRecord::read(&path).map_err(|e| Error::file(&path, e));
        let (sent, restored) = (read(self.files.sent())?, read(self.files.restored())?);
        let catalog = Catalog::load(&self.replica).await?;
        let local = LocalRecords {
            map,
            sent: sent.clone(),
            restored: restored.map(|restored| restored.stored()),
            node_id: self.leases.node_id(),
        };
        let scratch = self.files.download();
        let found = resume::find(
            &self.replica,
            &catalog,
            local,
            false,
            Path::new("app"),
            &scratch,
        )
        .await?;
        let (map, empty, must_equal, newest_ms) = match found {
            Found::Nothing { last } => {
                let mut map = PageMap::empty(PAGE);
                map.set_txid(last);
                (map, true, None, 0)
            }
            Found::Ours(map, time_ms) => (map, false, None, time_ms),
            Found::Foreign(map, header) => (map, false, Some(header), 0),
        };
        Ok(Remote {
            map,
            catalog,
            sent,
            empty,
            must_equal,
            fence: self.permit.needs_fence(),
            unsent: None,
            newest_ms,
        })
    }

    /// Stores what is committed.
    async fn sync(&self, remote: &mut Option<Remote>) -> Result<()> {
        if remote.is_none() {
            *remote = Some(self.inspect().await?);
        }
        let Some(remote) = remote else { return Ok(()) };
        if let Some(unsent) = remote.unsent.take() {
            self.send(remote, unsent).await?;
        }
        let database = self.database();
        let mut sums = database.differs(&remote.map);
        let last = database.last();
        if let Some(theirs) = remote.must_equal.as_ref().filter(|_| !sums.is_empty()) {
            return Err(Error::ForeignState {
                path: "app".into(),
                difference: difference(theirs, sums.len()),
            });
        }
        remote.must_equal = None;
        let writer = self.writer(remote.newest_ms);
        let unsent = if remote.empty {
            let mut map = remote.map.clone();
            let all = database.differs(&PageMap::empty(PAGE));
            map.apply(&all, PAGES, Txid(map.txid().0 + 1));
            let (header, body) = database.snapshot(&map, writer);
            (header, body, all, SNAPSHOT_LEVEL)
        } else {
            if sums.is_empty() && remote.fence {
                sums.extend(remote.map.get(1).map(|sum| (1, sum)));
            }
            if sums.is_empty() {
                return Ok(());
            }
            let (header, body) = database.encode(&remote.map, &sums, writer);
            (header, body, sums, 0)
        };
        let (header, body, sums, level) = unsent;
        let unsent = Unsent {
            header,
            body: body.into(),
            sums,
            level,
            last,
        };
        self.send(remote, unsent).await
    }

    async fn send(&self, remote: &mut Remote, unsent: Unsent) -> Result<()> {
        self.permit.hold(Duration::ZERO).await?;
        let from = (remote.map.txid(), remote.map.checksum());
        let to = match unsent.header.checksums {
            DatabaseChecksums::Reserved { post, .. } => (unsent.header.max, post),
            _ => from,
        };
        let sent = match remote.sent.take() {
            Some(before) if remote.empty => before.or(to),
            before => SentRecord::and(before, from, to),
        };
        let path = self.files.sent();
        remote.sent = Some(sent.clone());
        sent.write(&path)
            .map_err(|error| Error::file(&path, error))?;
        let stored = self
            .replica
            .put(unsent.level, &unsent.header, unsent.body.clone());
        match stored.await {
            Ok(file) => {
                remote.map.apply(&unsent.sums, PAGES, unsent.header.max);
                remote.empty = false;
                remote.fence = false;
                remote.newest_ms = remote.newest_ms.max(unsent.header.timestamp_ms);
                remote
                    .catalog
                    .add_with(file, unsent.header.timestamp_ms, unsent.body);
                self.note(format_args!(
                    "stored {}, commit {}",
                    unsent.header.max, unsent.last
                ));
                let now = self.machine.world.now();
                self.machine.ledger().stored.insert(unsent.last, now);
                Ok(())
            }
            Err(error) => {
                remote.unsent = Some(unsent);
                Err(error.into())
            }
        }
    }

    /// A snapshot now and then, and merges of what is old.
    async fn maintain(&self, remote: &mut Remote) {
        let database = self.database();
        let world = &self.machine.world;
        if remote.unsent.is_none()
            && database.differs(&remote.map).is_empty()
            && world.below(2) == 0
        {
            let writer = self.writer(remote.newest_ms);
            let (header, body) = database.snapshot(&remote.map, writer);
            if let Ok(file) = self.replica.put(SNAPSHOT_LEVEL, &header, body.into()).await {
                remote.catalog.add(file, header.timestamp_ms);
            }
        }
        let seconds = Duration::from_secs;
        let policy = Policy {
            every: seconds(40),
            hourly: seconds(80),
            daily: seconds(160),
            grace: seconds(20),
            short: seconds(10),
            long: seconds(40),
            ..Policy::default()
        };
        let now = self.machine.clock.now_ms();
        let _ = remote.catalog.maintain(&self.replica, &policy, now).await;
        let _ = remote.map.save(&self.files.map());
    }
}

fn difference(theirs: &Header, pages: usize) -> Box<Difference> {
    Box::new(Difference {
        pages,
        txid: theirs.max,
        stored_ms: theirs.timestamp_ms,
        written_ms: None,
        is_numbered: theirs.node_id != 0,
        volume: PathBuf::new(),
        database: "app".into(),
        destination: "sim".into(),
    })
}
