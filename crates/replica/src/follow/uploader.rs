//! Sends one database's changes to one destination.
//!
//! # What holds at every moment
//! - The map says, page by page, what the newest file of the replica leads to;
//!   it is changed only after a file was stored.
//! - A file says the database's checksum before and after it, and each file's
//!   "before" is the "after" of the one it follows.
//! - If the process dies anywhere, [`resume::find`] finds out from the replica
//!   what was stored, and all pages are compared: nothing is assumed.
//! - Nothing is sent without the lease.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use monolite_ltx::{DatabaseChecksums, Header, Txid};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::background::Background;
use super::blocking::{lower_priority, on_own_thread};
use super::database::{Handle, Shared};
use super::encode::{self, Encoded, Sums, Writer};
use super::flusher::Flush;
use super::leaser::WritePermit;
use super::pending::Pending;
use super::resume::{self, Found, LocalRecords};
use super::sent_record::SentRecord;
use super::space::Space;
use super::state_files::StateFiles;
use super::status::{Board, Failure, Repair, Sending, State};
use crate::class::ErrorClass;
use crate::difference::Difference;
use crate::error::{Error, Result};
use crate::history::{Catalog, Policy};
use crate::map::PageMap;
use crate::storage::{FileInfo, Replica, SNAPSHOT_LEVEL};
use crate::wal::{Changes, Opened, Snapshot};
use monolite_platform::failpoint;

/// The pause between two saves of the map while there are changes. After a crash,
/// what was sent since the last save is read back from the replica.
const SAVE_MAP_EVERY: Duration = Duration::from_secs(300);
/// The pauses between tries that fail with a transient error: doubled from the
/// first to the last.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));
/// The same after a permanent error, whose cause somebody may remove.
const RETRY_PERMANENT: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));
/// The pause between two tries while another machine holds the lease.
const LEASE_HELD_PAUSE: Duration = Duration::from_secs(5);
/// The pause before the replica is read again that holds another volume's state.
const FOREIGN_PAUSE: Duration = Duration::from_secs(600);
/// After so long without success, pending pages are no longer kept in memory.
const KEEP_PAGES_MAX: Duration = Duration::from_secs(30);
/// The longest that the last read of the log before a file is made may take.
const LAST_READ_MAX: Duration = Duration::from_millis(100);
/// How long the read after a comparison may take. Others wait to compare.
const READ_WAIT_MAX: Duration = Duration::from_secs(5);

/// A file of more bytes is not kept while it cannot be sent: another one is made
/// from the database.
const KEEP_UNSENT_BYTES: usize = 256 << 10;

/// What all uploaders of a volume share.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) sync_interval: Duration,
    pub(super) snapshot_every: Duration,
    pub(super) policy: Policy,
    pub(super) maintain_every: Duration,
    pub(super) node_id: u64,
    /// A sync is over only when background work is.
    pub(super) wait_for_background: bool,
    /// Also over a state that is not an older one of this volume's.
    pub(super) take_over: bool,
}

/// The task's own.
pub(super) struct Uploader {
    pub(super) path: PathBuf,
    pub(super) replica: Replica,
    pub(super) permit: Arc<WritePermit>,
    pub(super) pending: Arc<Pending>,
    pub(super) database: Handle,
    pub(super) shared: Arc<Shared>,
    pub(super) settings: Settings,
    pub(super) board: Arc<Board>,
    pub(super) files: StateFiles,
    pub(super) flushes: mpsc::Receiver<Flush>,
    /// Why a new snapshot is wanted.
    pub(super) broken: Arc<Mutex<Option<String>>>,
}

/// What is known of the replica once it was inspected.
struct Remote {
    map: Arc<PageMap>,
    background: Background,
    sent: Option<SentRecord>,
    /// All pages are to be compared before anything else is sent.
    compare: bool,
    /// The header of a state that is not known to be ours: a compare must find
    /// nothing.
    must_equal: Option<Header>,
    /// The replica has no state to go on from: the next file holds all pages.
    empty: bool,
    snapshot_due: bool,
    /// A file is to be stored under the next name even if nothing has changed: one
    /// that the lease's last holder may have under way is refused then.
    fence: bool,
    /// The timestamp of the newest file: no later one is before it, whatever
    /// the clock does.
    newest_ms: i64,
    saved: Instant,
    /// When old files were last merged and deleted; `None`: to be done at once.
    maintained: Option<Instant>,
    dirty: bool,
    /// Files were stored since the replica was listed.
    unaudited: bool,
    /// Encoded, and maybe not stored.
    unsent: Option<Unsent>,
}

/// A file that was encoded, and maybe not stored.
struct Unsent {
    header: Header,
    body: Bytes,
    sums: Sums,
}

impl From<Encoded> for Unsent {
    fn from(encoded: Encoded) -> Self {
        Self {
            header: encoded.header,
            body: encoded.body.into(),
            sums: encoded.sums,
        }
    }
}

impl Uploader {
    /// Until the flusher is gone.
    pub(super) async fn run(mut self) {
        let mut remote: Option<Remote> = None;
        let mut waiting: Vec<Flush> = Vec::new();
        let mut next = Instant::now();
        let mut pause = RETRY.0;
        // At once: the database may have changed while nobody followed it.
        let mut due = true;
        let mut succeeded = Instant::now();
        self.recall().await;
        loop {
            if !due {
                tokio::select! {
                    flush = self.flushes.recv() => match flush {
                        Some(flush) => waiting.push(flush),
                        None => break,
                    },
                    () = self.pending.filled() => {
                        // A flush does not wait for the interval.
                        tokio::select! {
                            () = tokio::time::sleep_until(next) => {}
                            () = self.pending.full() => {}
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
            let is_audited = waiting.iter().any(|flush| flush.is_audited);
            let began = Instant::now();
            match self.upload(&mut remote, is_audited).await {
                Ok(()) => {
                    succeeded = Instant::now();
                    self.report_success(&remote).await;
                    for flush in waiting.drain(..asked) {
                        let _ = flush.done.send(());
                    }
                    pause = RETRY.0;
                    due = !self.pending.is_empty() && !waiting.is_empty();
                    next = began + self.settings.sync_interval;
                }
                Err(error) => {
                    let refused = error.is_refusal();
                    let permanent = error.class() == ErrorClass::Permanent;
                    if refused || error.is_conflict() {
                        // What the replica holds now has to be found out again.
                        remote = None;
                    }
                    self.report_failure(&error, refused);
                    if succeeded.elapsed() > KEEP_PAGES_MAX {
                        self.pending.drop_pages();
                    }
                    if permanent || error.is_held_by_another() {
                        // Waiting does not help, or nobody knows for how long: the
                        // waiting flushes fail at once.
                        waiting.drain(..asked);
                    }
                    let (first, longest) = if permanent { RETRY_PERMANENT } else { RETRY };
                    pause = pause.clamp(first, longest);
                    let pause_now = match &error {
                        Error::ForeignState { .. } | Error::Unrestorable { .. } => FOREIGN_PAUSE,
                        _ if refused => LEASE_HELD_PAUSE,
                        _ => jitter(pause),
                    };
                    pause *= 2;
                    due = true;
                    if self.pause(pause_now, &mut waiting).await.is_err() {
                        break;
                    }
                }
            }
        }
        if let Some(remote) = remote.filter(|remote| !remote.empty) {
            // The next start is quicker with it, and right without.
            let _ = self.save(remote.map).await;
        }
        // An upload that is cut off here is made again after the next start.
        let _ = tokio::fs::remove_file(self.files.snapshot()).await;
    }

    /// Waits until the next try is due, or somebody asks for a flush.
    async fn pause(&mut self, pause: Duration, waiting: &mut Vec<Flush>) -> Result<(), ()> {
        tokio::select! {
            () = tokio::time::sleep(pause) => Ok(()),
            flush = self.flushes.recv() => {
                waiting.push(flush.ok_or(())?);
                Ok(())
            }
        }
    }

    /// Sends what is pending; `is_audited`: makes sure, too, that what was sent is still
    /// there.
    async fn upload(&mut self, remote: &mut Option<Remote>, is_audited: bool) -> Result<()> {
        if remote.is_none() {
            self.board.update(|board| {
                // What is refused stays so until it is known to be allowed.
                if board.failure.is_none() {
                    board.state = State::Starting;
                }
            });
            // First, so that no other machine changes what is inspected.
            self.permit.begin().await?;
            *remote = Some(self.inspect().await?);
        }
        let Some(remote) = remote else {
            return Ok(());
        };
        self.send_unsent(remote).await?;
        let broken = self
            .broken
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(why) = broken.filter(|_| !remote.empty) {
            self.begin_again(remote, why);
        }
        if remote.compare {
            self.compare(remote).await?;
        }
        if remote.compare {
            // Not a database yet.
            return Ok(());
        }
        self.send_unsent(remote).await?;
        if !self.pending.is_empty() {
            // What was committed since the last read goes into the same file, and
            // need not wait for another interval.
            let limit = self.settings.sync_interval.min(LAST_READ_MAX);
            let _ = tokio::time::timeout(limit, self.database.read_now()).await;
        }
        let changes = self.pending.take();
        if !changes.is_none() {
            // If encoding fails they are lost, and found again by a comparison.
            remote.compare = true;
            if changes.overflowed() || changes.page_size() != remote.map.page_size() {
                self.compare(remote).await?;
            } else {
                let unsent = self.encode(remote, changes).await?;
                remote.compare = false;
                if let Some(unsent) = unsent {
                    self.send(remote, unsent).await?;
                }
            }
        }
        if is_audited && remote.unaudited {
            self.audit(remote).await?;
        }
        self.maintain(remote).await
    }

    /// Sends what was encoded, and maybe not stored.
    async fn send_unsent(&self, remote: &mut Remote) -> Result<()> {
        match remote.unsent.take() {
            Some(unsent) => self.send(remote, unsent).await,
            None => Ok(()),
        }
    }

    /// Makes sure that the replica holds a way to its newest state, and stores a new
    /// snapshot if it does not.
    async fn audit(&mut self, remote: &mut Remote) -> Result<()> {
        remote.background.audit(&self.replica).await?;
        remote.unaudited = false;
        self.close_gap(remote).await
    }

    /// As [`audit`](Self::audit), by what is known without asking.
    async fn close_gap(&mut self, remote: &mut Remote) -> Result<()> {
        match remote.background.gap(remote.map.txid()) {
            Some(why) if !remote.empty => {
                self.begin_again(remote, why);
                self.compare(remote).await?;
                self.send_unsent(remote).await
            }
            _ => Ok(()),
        }
    }

    /// Has a new snapshot made of all pages, as the next state: what is there does not
    /// lead to the newest.
    fn begin_again(&self, remote: &mut Remote, why: String) {
        self.report_repair(why);
        remote.empty = true;
        remote.compare = true;
    }

    fn report_repair(&self, why: String) {
        let repair = Repair::new(why, self.shared.clock.now_ms());
        self.board.update(|board| board.repair = Some(repair));
    }

    /// Finds out what the replica holds, and whether this volume wrote it.
    async fn inspect(&self) -> Result<Remote> {
        let before = self.load().await?;
        let catalog = Catalog::load(&self.replica).await?;
        if catalog.files().is_empty() {
            self.replica.refuse_old().await?;
        }
        let catalog = catalog.scratch_in(self.files.scratch());
        let take_over = self.settings.take_over;
        let sent = before.sent.clone();
        let download = self.files.download();
        let (replica, path) = (&self.replica, &self.path);
        let found = resume::find(replica, &catalog, before, take_over, path, &download).await?;
        let (mut stored, mut stored_ms) = (Txid(0), None);
        let (map, empty, must_equal) = match found {
            Found::Nothing { last } => {
                if last > Txid(0) {
                    let why = catalog.gap(last);
                    self.report_repair(why.unwrap_or_else(|| "its files are damaged".into()));
                }
                (empty_map(0, last), true, None)
            }
            Found::Ours(map, time_ms) => {
                (stored, stored_ms) = (map.txid(), Some(time_ms));
                let gap = catalog.gap(map.txid());
                let is_broken = gap.is_some();
                if let Some(why) = gap {
                    self.report_repair(why);
                }
                (map, is_broken, None)
            }
            Found::Foreign(map, header) => {
                let must_equal = (!self.settings.take_over).then_some(header);
                (map, false, must_equal)
            }
        };
        self.board
            .update(|board| (board.txid, board.stored_ms) = (stored, stored_ms));
        failpoint::reached("replica.looked");
        let now = Instant::now();
        Ok(Remote {
            map: Arc::new(map),
            background: Background::new(catalog),
            sent,
            compare: true,
            must_equal,
            empty,
            snapshot_due: false,
            fence: self.permit.needs_fence(),
            newest_ms: stored_ms.unwrap_or(0),
            saved: now,
            maintained: (!self.settings.wait_for_background).then_some(now),
            dirty: false,
            unaudited: false,
            unsent: None,
        })
    }

    /// Compares all pages with the map and sends those that differ; all of
    /// them if there is nothing to go on from, or if a snapshot is due.
    async fn compare(&mut self, remote: &mut Remote) -> Result<()> {
        remote.compare = true;
        self.board.update(|board| board.state = State::Comparing);
        let shared = self.shared.clone();
        let _permit = shared.comparers.acquire().await;
        let (path, pending) = (self.path.clone(), self.pending.clone());
        let snapshot = self
            .blocking(move || pending.replace_with_snapshot(Opened::new(&path)?))
            .await?;
        if snapshot.pages() == 0 {
            // Not a database yet.
            return Ok(());
        }
        let sent = if remote.empty || snapshot.page_size() != remote.map.page_size() {
            let sent = self.send_all(remote, snapshot).await;
            if sent.is_ok() {
                let txid = remote.map.txid();
                self.board.update(|board| {
                    if let Some(repair) = &mut board.repair {
                        repair.done = repair.done.or(Some(txid));
                    }
                });
            }
            sent
        } else {
            self.send_difference(remote, snapshot).await
        };
        let _ = tokio::fs::remove_file(self.files.difference()).await;
        sent?;
        // What was added to `pending` since the snapshot began may be older than
        // the snapshot. A read that begins now is not.
        let read = tokio::time::timeout(READ_WAIT_MAX, self.database.read_now());
        read.await.unwrap_or_else(|_| {
            let why = "not yet".into();
            Err(Error::NotRead { why })
        })?;
        remote.compare = false;
        remote.must_equal = None;
        Ok(())
    }

    /// Sends all pages as the replica's next state, and a file of level 0 after it that
    /// changes nothing: Litestream, should it go on here, looks for the newest state
    /// there, and nowhere else.
    async fn send_all(&self, remote: &mut Remote, snapshot: Snapshot) -> Result<()> {
        let (writer, path) = (self.writer(remote), self.files.snapshot());
        let mut map = empty_map(snapshot.page_size(), remote.map.txid());
        let (map, header, unchanged) = on_own_thread(move || {
            check_free_space(&path, &snapshot)?;
            let sums = encode::compare(&snapshot, &map)?;
            map.apply(&sums, snapshot.pages(), Txid(map.txid().0 + 1));
            lower_priority();
            let header = encode::whole(&snapshot, &map, writer, &path)?;
            let unchanged = encode::unchanged(&snapshot, &map, writer)?;
            Ok((map, header, unchanged))
        })
        .await?;
        failpoint::reached("snapshot.encoded");
        let file = self.files.snapshot();
        let stored = self.put_file(remote, SNAPSHOT_LEVEL, &header, &file).await;
        let _ = tokio::fs::remove_file(&file).await;
        stored?;
        remote.map = Arc::new(map);
        remote.empty = false;
        remote.snapshot_due = false;
        // Sent next. If it cannot be, the state is stored all the same.
        remote.unsent = Some(unchanged.into());
        Ok(())
    }

    /// Sends the pages that are not as the map says; and, if one is due, makes
    /// a snapshot and begins to send it.
    async fn send_difference(&self, remote: &mut Remote, snapshot: Snapshot) -> Result<()> {
        let (writer, map) = (self.writer(remote), remote.map.clone());
        let must_equal = remote.must_equal.map(|header| self.difference(&header));
        let database = self.path.clone();
        let whole = std::mem::take(&mut remote.snapshot_due);
        let fence = remote.fence;
        let (path, made) = (self.files.difference(), self.files.snapshot());
        let (sums, header, snapshot) = on_own_thread(move || {
            let mut sums = encode::compare(&snapshot, &map)?;
            let mut same = sums.is_empty() && snapshot.pages() == map.len();
            if same
                && fence
                && let Some(first) = map.get(1)
            {
                sums.push((1, first));
                same = false;
            } else if let Some(mut difference) = must_equal.filter(|_| !same) {
                difference.pages = sums.len().max(1);
                return Err(Error::ForeignState {
                    path: database,
                    difference,
                });
            }
            let header = match same {
                true => None,
                false => Some(encode::difference(&snapshot, &map, &sums, writer, &path)?),
            };
            let whole = whole.then(|| {
                check_free_space(&made, &snapshot)?;
                let mut map = PageMap::clone(&map);
                if let Some(header) = &header {
                    map.apply(&sums, header.commit, header.max);
                }
                lower_priority();
                encode::whole(&snapshot, &map, writer, &made)
            });
            // The log may be reset while that is sent.
            drop(snapshot);
            Ok((sums, header, whole))
        })
        .await?;
        failpoint::reached("sync.compared");
        if let Some(header) = header {
            self.put_file(remote, 0, &header, &self.files.difference())
                .await?;
            Arc::make_mut(&mut remote.map).apply(&sums, header.commit, header.max);
        }
        match snapshot {
            Some(Ok(header)) => {
                failpoint::reached("snapshot.encoded");
                remote.background.snapshot_made(Ok(()));
                self.send_snapshot(remote, header);
            }
            // Changes are sent all the same.
            Some(Err(error)) => remote.background.snapshot_made(Err(error.to_string())),
            None => {}
        }
        Ok(())
    }

    /// What is known of a state that somebody else wrote.
    fn difference(&self, theirs: &Header) -> Box<Difference> {
        let database = self.replica.database();
        // The path ends with the database's name.
        let levels = Path::new(database).components().count();
        let volume = self.path.ancestors().nth(levels).unwrap_or(&self.path);
        Box::new(Difference {
            pages: 0,
            txid: theirs.max,
            stored_ms: theirs.timestamp_ms,
            written_ms: last_written(&self.path),
            is_numbered: theirs.node_id != 0,
            volume: volume.into(),
            database: database.into(),
            destination: self.replica.destination_url().into(),
        })
    }

    /// Sends a snapshot in the background, however long that takes.
    fn send_snapshot(&self, remote: &mut Remote, header: Header) {
        let file = self.files.snapshot();
        let replica = self.replica.clone();
        remote.background.send_snapshot(async move {
            let put = replica.put_file(SNAPSHOT_LEVEL, &header, &file, Arc::new(|_| ()));
            let stored = put.await;
            let _ = tokio::fs::remove_file(&file).await;
            stored
        });
    }

    /// Stores a file of the disk.
    async fn put_file(
        &self,
        remote: &mut Remote,
        level: u8,
        header: &Header,
        file: &Path,
    ) -> Result<()> {
        self.record(remote, header).await?;
        let sent = self.on_sent(file);
        let stored = self.replica.put_file(level, header, file, sent).await;
        self.board.update(|board| board.sending = None);
        let stored = stored?;
        failpoint::reached("sync.stored");
        self.stored(remote, header, stored, None);
        Ok(())
    }

    /// Shows how much of a file is sent.
    fn on_sent(&self, file: &Path) -> Arc<dyn Fn(u64) + Send + Sync> {
        let total = std::fs::metadata(file).map_or(0, |file| file.len());
        let board = self.board.clone();
        Arc::new(move |bytes| {
            let sending = Some(Sending { bytes, total });
            board.update(|board| board.sending = sending);
        })
    }

    /// `None`: no page differs from what is stored.
    async fn encode(&self, remote: &Remote, changes: Changes) -> Result<Option<Unsent>> {
        let (writer, map) = (self.writer(remote), remote.map.clone());
        let encoded = self
            .blocking(move || encode::changes(&changes, &map, writer))
            .await?;
        Ok(encoded.map(Unsent::from))
    }

    async fn send(&self, remote: &mut Remote, unsent: Unsent) -> Result<()> {
        let result = async {
            self.record(remote, &unsent.header).await?;
            failpoint::reached("sync.sending");
            let put = self.replica.put(0, &unsent.header, unsent.body.clone());
            put.await.map_err(Error::from)
        };
        match result.await {
            Ok(stored) => {
                failpoint::reached("sync.stored");
                let (commit, max) = (unsent.header.commit, unsent.header.max);
                Arc::make_mut(&mut remote.map).apply(&unsent.sums, commit, max);
                self.stored(remote, &unsent.header, stored, Some(unsent.body));
                Ok(())
            }
            Err(error) => {
                // It may be stored all the same. So the same file is sent again
                // under its name, or all pages are compared.
                if unsent.body.len() <= KEEP_UNSENT_BYTES {
                    remote.unsent = Some(unsent);
                } else {
                    remote.compare = true;
                }
                Err(error)
            }
        }
    }

    fn stored(&self, remote: &mut Remote, header: &Header, file: FileInfo, body: Option<Bytes>) {
        (remote.dirty, remote.unaudited) = (true, true);
        remote.fence = false;
        remote.newest_ms = remote.newest_ms.max(header.timestamp_ms);
        self.board.update(|board| {
            board.sent_bytes += file.size;
            board.sent_files += 1;
            board.txid = header.max;
            board.stored_ms = Some(header.timestamp_ms);
        });
        remote.background.add(file, header.timestamp_ms, body);
    }

    /// Records on the volume what is about to be sent. Nothing is sent before it
    /// is recorded, and nothing is recorded without the lease.
    async fn record(&self, remote: &mut Remote, header: &Header) -> Result<()> {
        self.permit.hold(Duration::ZERO).await?;
        let from = (remote.map.txid(), remote.map.checksum());
        let to = match header.checksums {
            DatabaseChecksums::Reserved { post, .. } => (header.max, post),
            _ => from,
        };
        let sent = match remote.sent.take() {
            // The state there is ours, and cannot be gone on from: until the
            // new one is stored, the old one has to be remote.
            Some(before) if remote.empty => before.or(to),
            before => SentRecord::and(before, from, to),
        };
        let path = self.files.sent();
        remote.sent = Some(sent.clone());
        self.blocking(move || sent.write(&path).map_err(|e| Error::file(&path, e)))
            .await
    }

    /// Saves the map, makes snapshots, and merges and deletes old files, when they
    /// are due and something was sent.
    async fn maintain(&mut self, remote: &mut Remote) -> Result<()> {
        remote.dirty |= !remote.background.collect()?;
        self.report_advice(remote);
        if remote.background.take_finished() {
            // Merging finds out what is damaged.
            self.close_gap(remote).await?;
        }
        if !remote.dirty {
            return Ok(());
        }
        if remote.saved.elapsed() > SAVE_MAP_EVERY {
            self.save(remote.map.clone()).await?;
            remote.saved = Instant::now();
        }
        let due = |at: Instant| at.elapsed() > self.settings.maintain_every;
        if !remote.maintained.is_none_or(due) || !remote.background.is_idle() {
            return Ok(());
        }
        remote.maintained = Some(Instant::now());
        if remote.unaudited {
            self.audit(remote).await?;
        }
        let now = self.shared.clock.now_ms();
        let (every, txid) = (self.settings.snapshot_every, remote.map.txid());
        if remote.background.wants_snapshot(now, every, txid) {
            remote.snapshot_due = true;
            self.compare(remote).await?;
        }
        remote
            .background
            .maintain(&self.replica, &self.settings.policy, now);
        remote.dirty = false;
        if self.settings.wait_for_background {
            remote.background.finish().await?;
            self.report_advice(remote);
            self.close_gap(remote).await?;
        }
        Ok(())
    }

    fn writer(&self, remote: &Remote) -> Writer {
        Writer {
            node_id: self.settings.node_id,
            timestamp_ms: self.shared.clock.now_ms().max(remote.newest_ms),
        }
    }

    async fn report_success(&self, remote: &Option<Remote>) {
        self.pending.stored();
        let txid = remote.as_ref().map(|remote| remote.map.txid());
        let leased = !self.permit.is_impossible().await;
        self.board.update(|board| {
            board.state = State::Following;
            board.failure = None;
            board.leased = leased;
            board.txid = txid.unwrap_or(board.txid);
        });
    }

    fn report_advice(&self, remote: &Remote) {
        let advice = remote.background.advice();
        self.board.update(|board| board.advice = advice);
    }

    fn report_failure(&self, error: &Error, refused: bool) {
        let now = self.shared.clock.now_ms();
        self.board.update(|board| {
            board.state = if refused {
                State::Refused
            } else {
                State::Retrying
            };
            board.failure = Some(Failure::of(error, now, board.failure.as_ref()));
        });
    }

    /// What this volume's own records say is stored: remote also while the
    /// destination cannot be reached.
    async fn recall(&self) {
        let path = self.files.sent();
        let read = self.blocking(move || Ok(SentRecord::read(&path).ok().flatten()));
        if let Ok(Some(sent)) = read.await {
            self.board.update(|board| board.txid = sent.stored());
        }
    }

    async fn load(&self) -> Result<LocalRecords> {
        let path = self.files.map();
        let (sent, restored) = (self.files.sent(), self.files.restored());
        let node_id = self.settings.node_id;
        self.blocking(move || {
            Ok(LocalRecords {
                map: PageMap::load(&path).map_err(|error| Error::file(&path, error))?,
                sent: SentRecord::read(&sent).map_err(|error| Error::file(&sent, error))?,
                restored: SentRecord::read(&restored)
                    .map_err(|error| Error::file(&restored, error))?
                    .map(|restored| restored.stored()),
                node_id,
            })
        })
        .await
    }

    async fn save(&self, map: Arc<PageMap>) -> Result<()> {
        let path = self.files.map();
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

/// When a database, or its log, was last written to, in milliseconds since 1970.
fn last_written(database: &Path) -> Option<i64> {
    let modified = |path: &Path| {
        let at = std::fs::metadata(path).and_then(|found| found.modified());
        let since = at.ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
        i64::try_from(since.as_millis()).ok()
    };
    let log = monolite_sqlite_format::sibling_path(database, "-wal");
    modified(database).max(modified(&log))
}

/// A map without pages, after `last`.
fn empty_map(page_size: u32, last: Txid) -> PageMap {
    let mut map = PageMap::empty(page_size);
    map.set_txid(last);
    map
}

fn jitter(pause: Duration) -> Duration {
    pause.mul_f64(0.5 + fastrand::f64() / 2.0)
}

/// Whether a file with all pages fits.
fn check_free_space(file: &Path, snapshot: &Snapshot) -> Result<()> {
    let dir = file.parent().unwrap_or(Path::new("."));
    let space = Space::of(dir).map_err(|error| Error::file(dir, error))?;
    let needed = u64::from(snapshot.pages()) * u64::from(snapshot.page_size());
    if space.fits(needed) {
        return Ok(());
    }
    Err(Error::NoSpace {
        dir: dir.into(),
        needed,
        free: space.free,
        kept: space.kept,
    })
}
