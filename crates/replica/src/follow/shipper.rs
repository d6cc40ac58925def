//! Sends one database's changes to one destination.
//!
//! # What holds at every moment
//! - The map says, page by page, what the newest file of the replica leads to;
//!   it is changed only after a file was stored.
//! - A file says the database's checksum before and after it, and each file's
//!   "before" is the "after" of the one it follows.
//! - If we die anywhere, [`start`](super::start::find) finds out from the replica
//!   what was stored, and all pages are compared: nothing is assumed.
//! - Nothing is sent without the lease.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use monolite_ltx::{DatabaseChecksums, Header, Txid};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::database::{Handle, Shared};
use super::encode::{self, By, Sums};
use super::inbox::Inbox;
use super::intent::Intent;
use super::keeper::Turn;
use super::restored;
use super::start::{self, Before, Found};
use super::status::{Board, State};
use super::tending::Tending;
use crate::error::{Error, Result};
use crate::history::{Catalog, Policy};
use crate::map::PageMap;
use crate::steps;
use crate::storage::{FileInfo, Replica, SNAPSHOT_LEVEL, StorageError};
use crate::wal::{Changes, Opened, Snapshot};

/// The map is saved this often while there are changes: after a crash, what
/// was sent since is read back.
const SAVE_EVERY: Duration = Duration::from_secs(300);
/// The pauses between tries that fail: doubled from the first to the last.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));
/// Between two looks whether another machine still writes.
const REFUSED_PAUSE: Duration = Duration::from_secs(5);
/// Before what the replica holds is read once more, to see whether it is what
/// this volume has.
const BEHIND_PAUSE: Duration = Duration::from_secs(600);
/// A file of more bytes is not kept while it cannot be sent: it is made anew
/// from the database.
const KEPT: usize = 256 << 10;
/// After so long without success, no pages are kept in memory either.
const PATIENCE: Duration = Duration::from_secs(30);
/// The longest that a last look at the log may take before something is sent.
const FRESHLY: Duration = Duration::from_millis(100);
/// Requests for a flush that may wait.
const FLUSHES: usize = 16;

/// What all shippers of a volume have alike.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) sync_interval: Duration,
    pub(super) snapshot_every: Duration,
    pub(super) policy: Policy,
    pub(super) tend_every: Duration,
    pub(super) node_id: u64,
    /// Also over a state that is not an older one of this volume's.
    pub(super) take_over: bool,
}

/// The task's own.
pub(super) struct Shipper {
    pub(super) path: PathBuf,
    pub(super) replica: Replica,
    pub(super) turn: Arc<Turn>,
    pub(super) inbox: Arc<Inbox>,
    pub(super) database: Handle,
    pub(super) shared: Arc<Shared>,
    pub(super) settings: Settings,
    pub(super) board: Arc<Board>,
    /// Where the map is saved, and large files are made before they are sent.
    pub(super) map_file: PathBuf,
    pub(super) flushes: mpsc::Receiver<oneshot::Sender<()>>,
}

/// A snapshot on its way. Without it, restores begin with the one before.
type Upload = JoinHandle<Result<FileInfo, StorageError>>;

/// What is known of the replica once it was looked at.
struct Known {
    map: Arc<PageMap>,
    files: Tending,
    /// All pages are to be compared before anything else is sent.
    compare: bool,
    /// A compare must find nothing: the state there is not known to be ours.
    must_equal: bool,
    /// The replica has no state to go on from.
    anew: bool,
    /// A snapshot is due.
    whole: bool,
    /// One is being sent.
    sending: Option<Upload>,
    /// The timestamp of the newest file: no later one is before it, whatever
    /// the clock does.
    newest_ms: i64,
    saved: Instant,
    /// Not since the start: what runs for a moment each hour tends as well.
    tended: Option<Instant>,
    dirty: bool,
    /// Encoded, and not stored for sure.
    unsent: Option<Unsent>,
}

/// Where large files are made.
#[derive(Clone)]
struct Files {
    difference: PathBuf,
    whole: PathBuf,
}

struct Unsent {
    header: Header,
    body: Bytes,
    sums: Sums,
}

/// Asks a shipper to send all it has.
#[derive(Clone, Debug)]
pub(super) struct Flusher(mpsc::Sender<oneshot::Sender<()>>);

impl Flusher {
    pub(super) fn new() -> (Self, mpsc::Receiver<oneshot::Sender<()>>) {
        let (sender, receiver) = mpsc::channel(FLUSHES);
        (Self(sender), receiver)
    }

    /// Returns once all that is in the inbox is stored, however long it takes.
    pub(super) async fn flush(&self) -> Result<(), ()> {
        let (done, answer) = oneshot::channel();
        self.0.send(done).await.map_err(|_| ())?;
        answer.await.map_err(|_| ())
    }
}

impl Shipper {
    /// Until the flusher is gone.
    pub(super) async fn run(mut self) {
        let mut known: Option<Known> = None;
        let mut waiting: Vec<oneshot::Sender<()>> = Vec::new();
        let mut next = Instant::now();
        let mut pause = RETRY.0;
        // At once: what happened while nobody followed.
        let mut due = true;
        let mut well = Instant::now();
        loop {
            if !due {
                tokio::select! {
                    flush = self.flushes.recv() => match flush {
                        Some(flush) => waiting.push(flush),
                        None => break,
                    },
                    () = self.inbox.filled() => {
                        // A flush does not wait for the interval.
                        tokio::select! {
                            () = tokio::time::sleep_until(next) => {}
                            () = self.inbox.full() => {}
                            flush = self.flushes.recv() => match flush {
                                Some(flush) => waiting.push(flush),
                                None => break,
                            },
                        }
                    }
                }
            }
            while let Ok(flush) = self.flushes.try_recv() {
                waiting.push(flush);
            }
            let asked = waiting.len();
            let began = Instant::now();
            match self.round(&mut known).await {
                Ok(()) => {
                    well = Instant::now();
                    self.works(&known).await;
                    for flush in waiting.drain(..asked) {
                        let _ = flush.send(());
                    }
                    pause = RETRY.0;
                    due = !self.inbox.is_empty() && !waiting.is_empty();
                    next = began + self.settings.sync_interval;
                }
                Err(error) => {
                    let refused = error.is_refusal();
                    if refused || error.is_conflict() {
                        // What is there now has to be found out anew.
                        known = None;
                    }
                    self.fails(&error, refused);
                    if well.elapsed() > PATIENCE {
                        self.inbox.give_up();
                    }
                    let rest = match &error {
                        Error::Behind { .. } | Error::Broken { .. } => BEHIND_PAUSE,
                        _ if refused => REFUSED_PAUSE,
                        _ => jitter(pause),
                    };
                    pause = (pause * 2).min(RETRY.1);
                    due = true;
                    if self.rest(rest, &mut waiting).await.is_err() {
                        break;
                    }
                }
            }
        }
        if let Some(mut known) = known {
            // The next start is quicker with it, and right without.
            let _ = self.save(known.map).await;
            known.files.end().await;
        }
    }

    /// Waits, until it is worth while to try again.
    async fn rest(
        &mut self,
        rest: Duration,
        waiting: &mut Vec<oneshot::Sender<()>>,
    ) -> Result<(), ()> {
        tokio::select! {
            () = tokio::time::sleep(rest) => Ok(()),
            flush = self.flushes.recv() => {
                waiting.push(flush.ok_or(())?);
                // Somebody waits: once more now, then by the pause again.
                Ok(())
            }
        }
    }

    /// Sends what there is.
    async fn round(&mut self, known: &mut Option<Known>) -> Result<()> {
        if known.is_none() {
            self.board.update(|board| board.state = State::Starting);
            // Before anything is believed that another machine may change.
            self.turn.begin().await?;
            *known = Some(self.look().await?);
        }
        let Some(known) = known else {
            return Ok(());
        };
        if let Some(unsent) = known.unsent.take() {
            self.send(known, unsent).await?;
        }
        if known.compare {
            self.compare(known).await?;
        }
        if known.compare {
            // Not a database yet.
            return Ok(());
        }
        if !self.inbox.is_empty() {
            // What was committed since the last look goes along, in the place of
            // waiting for another interval.
            let freshly = self.settings.sync_interval.min(FRESHLY);
            let _ = tokio::time::timeout(freshly, self.database.slide()).await;
        }
        let changes = self.inbox.take();
        if !changes.is_none() {
            // Until they are encoded, they are nowhere else.
            known.compare = true;
            if changes.overflowed() || changes.page_size() != known.map.page_size() {
                self.compare(known).await?;
            } else {
                let unsent = self.encode(known, changes).await?;
                known.compare = false;
                self.send(known, unsent).await?;
            }
        }
        self.tend(known).await
    }

    /// What the replica holds, and how that compares with what we know.
    async fn look(&self) -> Result<Known> {
        let before = self.load().await?;
        let scratch = self.map_file.parent().unwrap_or(Path::new("."));
        let catalog = Catalog::load(&self.replica).await?.scratch_in(scratch);
        let scratch = self.map_file.with_extension("read");
        let take_over = self.settings.take_over;
        let found = start::find(&self.replica, &catalog, before, take_over, &scratch).await?;
        let (map, anew, must_equal) = match found {
            Found::Nothing { last } => (none(0, last), true, false),
            Found::Ours(map) => (map, false, false),
            Found::Foreign(map) => (map, false, !self.settings.take_over),
        };
        steps::reached("replica.looked");
        let now = Instant::now();
        Ok(Known {
            map: Arc::new(map),
            files: Tending::new(catalog),
            compare: true,
            must_equal,
            anew,
            whole: false,
            sending: None,
            newest_ms: 0,
            saved: now,
            tended: None,
            dirty: true,
            unsent: None,
        })
    }

    /// Compares all pages with the map and sends those that differ; all of
    /// them if there is nothing to go on from, or if a snapshot is due.
    async fn compare(&mut self, known: &mut Known) -> Result<()> {
        known.compare = true;
        self.board.update(|board| board.state = State::Comparing);
        let shared = self.shared.clone();
        let _permit = shared.comparers.acquire().await;
        let (path, inbox) = (self.path.clone(), self.inbox.clone());
        let snapshot = self
            .blocking(move || inbox.replace(Opened::new(&path)?))
            .await?;
        if snapshot.pages() == 0 {
            // Not a database yet.
            return Ok(());
        }
        let files = Files {
            difference: self.map_file.with_extension("ltx-new"),
            whole: self.map_file.with_extension("snapshot-new"),
        };
        let sent = if known.anew || snapshot.page_size() != known.map.page_size() {
            self.send_anew(known, snapshot, &files.whole).await
        } else {
            self.send_difference(known, snapshot, &files).await
        };
        let _ = std::fs::remove_file(&files.difference);
        sent?;
        // What came into the inbox since the snapshot began may be older than
        // it: until a slide that begins now.
        self.database.slide().await.map_err(|()| Error::Closed)?;
        known.compare = false;
        known.must_equal = false;
        Ok(())
    }

    /// Sends all pages as the replica's next state.
    async fn send_anew(&self, known: &mut Known, snapshot: Snapshot, file: &Path) -> Result<()> {
        let (by, path) = (self.by(known), file.to_owned());
        let mut map = none(snapshot.page_size(), known.map.txid());
        let (map, header) = self
            .blocking(move || {
                room(&path, &snapshot)?;
                let sums = encode::compare(&snapshot, &map)?;
                map.apply(&sums, snapshot.pages(), Txid(map.txid().0 + 1));
                let header = encode::whole(&snapshot, &map, by, &path)?;
                Ok((map, header))
            })
            .await?;
        steps::reached("snapshot.encoded");
        let stored = self.put_file(known, SNAPSHOT_LEVEL, &header, file).await;
        let _ = std::fs::remove_file(file);
        stored?;
        known.map = Arc::new(map);
        known.anew = false;
        known.whole = false;
        Ok(())
    }

    /// Sends the pages that are not as the map says; and, if one is due, makes
    /// a snapshot and begins to send it.
    async fn send_difference(
        &self,
        known: &mut Known,
        snapshot: Snapshot,
        files: &Files,
    ) -> Result<()> {
        let (by, files, map) = (self.by(known), files.clone(), known.map.clone());
        let (database, must_equal) = (self.path.clone(), known.must_equal);
        let whole = known.whole && known.sending.is_none();
        // Whatever becomes of it, the next one is tried with the next day.
        known.whole = false;
        let (path, made) = (files.difference.clone(), files.whole.clone());
        let (sums, header, snapshot) = self
            .blocking(move || {
                let sums = encode::compare(&snapshot, &map)?;
                let same = sums.is_empty() && snapshot.pages() == map.len();
                if !same && must_equal {
                    return Err(Error::Behind {
                        path: database,
                        pages: sums.len(),
                    });
                }
                let header = match same {
                    true => None,
                    false => Some(encode::difference(&snapshot, &map, &sums, by, &path)?),
                };
                let whole = match whole && room(&made, &snapshot).is_ok() {
                    true => {
                        let mut map = PageMap::clone(&map);
                        if let Some(header) = &header {
                            map.apply(&sums, header.commit, header.max);
                        }
                        Some(encode::whole(&snapshot, &map, by, &made)?)
                    }
                    false => None,
                };
                // The log may be reset while that is sent.
                drop(snapshot);
                Ok((sums, header, whole))
            })
            .await?;
        steps::reached("sync.compared");
        if let Some(header) = header {
            self.put_file(known, 0, &header, &files.difference).await?;
            Arc::make_mut(&mut known.map).apply(&sums, header.commit, header.max);
        }
        if let Some(header) = snapshot {
            steps::reached("snapshot.encoded");
            known.sending = Some(self.send_snapshot(header, files.whole));
        }
        Ok(())
    }

    /// Sends a snapshot beside everything else, however long that takes.
    fn send_snapshot(&self, header: Header, file: PathBuf) -> Upload {
        let replica = self.replica.clone();
        tokio::spawn(async move {
            let put = replica.put_file(SNAPSHOT_LEVEL, &header, &file, Arc::new(|_| ()));
            let stored = put.await;
            let _ = tokio::fs::remove_file(&file).await;
            stored
        })
    }

    /// Stores a file of the disk.
    async fn put_file(
        &self,
        known: &mut Known,
        level: u8,
        header: &Header,
        file: &Path,
    ) -> Result<()> {
        self.intend(&known.map, header).await?;
        let stored = self.replica.put_file(level, header, file, Arc::new(|_| ()));
        let stored = stored.await?;
        steps::reached("sync.stored");
        self.stored(known, header, stored, None);
        Ok(())
    }

    async fn encode(&self, known: &Known, changes: Changes) -> Result<Unsent> {
        let (by, map) = (self.by(known), known.map.clone());
        let encoded = self
            .blocking(move || encode::changes(&changes, &map, by))
            .await?;
        Ok(Unsent {
            header: encoded.header,
            body: encoded.body.into(),
            sums: encoded.sums,
        })
    }

    async fn send(&mut self, known: &mut Known, unsent: Unsent) -> Result<()> {
        let result = async {
            self.intend(&known.map, &unsent.header).await?;
            steps::reached("sync.sending");
            let put = self.replica.put(0, &unsent.header, unsent.body.clone());
            put.await.map_err(Error::from)
        };
        match result.await {
            Ok(stored) => {
                steps::reached("sync.stored");
                let (commit, max) = (unsent.header.commit, unsent.header.max);
                Arc::make_mut(&mut known.map).apply(&unsent.sums, commit, max);
                self.stored(known, &unsent.header, stored, Some(unsent.body));
                Ok(())
            }
            Err(error) => {
                // It may be stored all the same: only this very file may be
                // sent under its name, or all is looked at anew.
                if unsent.body.len() <= KEPT {
                    known.unsent = Some(unsent);
                } else {
                    known.compare = true;
                }
                Err(error)
            }
        }
    }

    fn stored(&self, known: &mut Known, header: &Header, file: FileInfo, body: Option<Bytes>) {
        known.dirty = true;
        known.newest_ms = known.newest_ms.max(header.timestamp_ms);
        self.board.update(|board| {
            board.sent_bytes += file.size;
            board.sent_files += 1;
            board.txid = header.max;
            board.stored_ms = Some(header.timestamp_ms);
        });
        known.files.add(file, header.timestamp_ms, body);
    }

    /// What is to be done now and then; only after something was sent.
    async fn tend(&mut self, known: &mut Known) -> Result<()> {
        if let Some(sending) = known.sending.take_if(|sending| sending.is_finished()) {
            match sending.await {
                Ok(Ok(file)) => {
                    let time_ms = file.stored_ms;
                    known.files.add(file, time_ms, None);
                    self.advise(None);
                }
                Ok(Err(error)) => self.advise(Some(format!("a snapshot was not stored: {error}"))),
                // The runtime is going down.
                Err(_) => {}
            }
        }
        if !known.dirty {
            return Ok(());
        }
        if known.saved.elapsed() > SAVE_EVERY {
            self.save(known.map.clone()).await?;
            known.saved = Instant::now();
        }
        match known.files.look() {
            Some(Ok(_)) => self.advise(None),
            Some(Err(error)) => {
                known.dirty = true;
                self.advise(Some(format!(
                    "old files were not merged or deleted: {error}"
                )));
            }
            None => {}
        }
        let now = self.shared.clock.now_ms();
        if known
            .tended
            .is_some_and(|at| at.elapsed() <= self.settings.tend_every)
        {
            return Ok(());
        }
        let Some(age_ms) = known.files.snapshot_age_ms(now) else {
            // The last time is not over yet.
            return Ok(());
        };
        known.tended = Some(Instant::now());
        if age_ms >= millis(self.settings.snapshot_every) {
            known.whole = true;
            self.compare(known).await?;
        }
        known.files.tend(&self.replica, &self.settings.policy, now);
        known.dirty = false;
        Ok(())
    }

    fn by(&self, known: &Known) -> By {
        By {
            node_id: self.settings.node_id,
            timestamp_ms: self.shared.clock.now_ms().max(known.newest_ms),
        }
    }

    async fn works(&self, known: &Option<Known>) {
        self.inbox.stored();
        let txid = known.as_ref().map(|known| known.map.txid());
        let leased = !self.turn.is_impossible().await;
        self.board.update(|board| {
            board.state = State::Following;
            board.error = None;
            board.leased = leased;
            board.txid = txid.unwrap_or(board.txid);
        });
    }

    fn advise(&self, advice: Option<String>) {
        self.board.update(|board| board.advice = advice);
    }

    fn fails(&self, error: &Error, refused: bool) {
        self.board.update(|board| {
            board.state = if refused {
                State::Refused
            } else {
                State::Retrying
            };
            board.error = Some(error.to_string());
        });
    }

    async fn load(&self) -> Result<Before> {
        let path = self.map_file.clone();
        let (intent, restored) = (self.intent_file(), restored::file(&path));
        self.blocking(move || {
            Ok(Before {
                map: PageMap::load(&path).map_err(|error| Error::file(&path, error))?,
                intent: Intent::read(&intent).map_err(|error| Error::file(&intent, error))?,
                restored: Intent::read(&restored)
                    .map_err(|error| Error::file(&restored, error))?
                    .map(|restored| restored.to.0),
            })
        })
        .await
    }

    fn intent_file(&self) -> PathBuf {
        self.map_file.with_extension("sent")
    }

    /// Nothing is sent before it is known here that it would be, and nothing is
    /// known here that may not be sent.
    async fn intend(&self, map: &PageMap, header: &Header) -> Result<()> {
        self.turn.hold(Duration::ZERO).await?;
        let from = (map.txid(), map.checksum());
        let to = match header.checksums {
            DatabaseChecksums::Reserved { post, .. } => (header.max, post),
            _ => from,
        };
        let (path, intent) = (self.intent_file(), Intent { from, to });
        self.blocking(move || intent.write(&path).map_err(|e| Error::file(&path, e)))
            .await
    }

    async fn save(&self, map: Arc<PageMap>) -> Result<()> {
        let path = self.map_file.clone();
        self.blocking(move || map.save(&path).map_err(|error| Error::file(&path, error)))
            .await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        match tokio::task::spawn_blocking(work).await {
            Ok(result) => result,
            Err(error) => Err(Error::file(&self.path, std::io::Error::other(error))),
        }
    }
}

/// A map without pages, after `last`.
fn none(page_size: u32, last: Txid) -> PageMap {
    let mut map = PageMap::empty(page_size);
    map.set_txid(last);
    map
}

fn jitter(pause: Duration) -> Duration {
    pause.mul_f64(0.5 + fastrand::f64() / 2.0)
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Leaves a tenth of the disk to the databases, between 64 MiB and 1 GiB.
fn room(file: &Path, snapshot: &Snapshot) -> Result<()> {
    let dir = file.parent().unwrap_or(Path::new("."));
    let stat = rustix::fs::statvfs(dir).map_err(|error| Error::file(dir, error.into()))?;
    let needed = u64::from(snapshot.pages()) * u64::from(snapshot.page_size());
    let tenth = (stat.f_blocks / 10).saturating_mul(stat.f_frsize);
    let kept = tenth.clamp(64 << 20, 1 << 30);
    let free = stat
        .f_bavail
        .saturating_mul(stat.f_frsize)
        .saturating_sub(kept);
    if free >= needed {
        return Ok(());
    }
    Err(Error::NoRoom {
        dir: dir.into(),
        needed,
        free,
    })
}
