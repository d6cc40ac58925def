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

mod compare;
mod send;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use monolite_ltx::Txid;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use self::send::Unsent;
use super::beside::Beside;
use super::database::{Handle, Shared};
use super::encode::By;
use super::inbox::Inbox;
use super::intent::Intent;
use super::keeper::Turn;
use super::restored;
use super::start::{self, Before, Found};
use super::status::{Board, Failure, State};
use crate::class::ErrorClass;
use crate::error::{Error, Result};
use crate::history::{Catalog, Policy};
use crate::map::PageMap;
use crate::steps;
use crate::storage::Replica;

/// The map is saved this often while there are changes: after a crash, what
/// was sent since is read back.
const SAVE_EVERY: Duration = Duration::from_secs(300);
/// The pauses between tries that fail with a transient error: doubled from the
/// first to the last.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));
/// The same after a permanent error, which somebody may mend from outside.
const RETRY_PERMANENT: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));
/// Between two looks whether another machine still writes.
const REFUSED_PAUSE: Duration = Duration::from_secs(5);
/// Before what the replica holds is read once more, to see whether it is what
/// this volume has.
const BEHIND_PAUSE: Duration = Duration::from_secs(600);
/// After so long without success, no pages are kept in memory either.
const PATIENCE: Duration = Duration::from_secs(30);
/// The longest that a last look at the log may take before something is sent.
const FRESHLY: Duration = Duration::from_millis(100);

/// What all shippers of a volume have alike.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) sync_interval: Duration,
    pub(super) snapshot_every: Duration,
    pub(super) policy: Policy,
    pub(super) tend_every: Duration,
    pub(super) node_id: u64,
    /// What could go on beside a sync is done before it is over.
    pub(super) finish: bool,
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

/// What is known of the replica once it was looked at.
struct Known {
    map: Arc<PageMap>,
    beside: Beside,
    intent: Option<Intent>,
    /// All pages are to be compared before anything else is sent.
    compare: bool,
    /// A compare must find nothing: the state there is not known to be ours.
    must_equal: bool,
    /// The replica has no state to go on from.
    anew: bool,
    /// A snapshot is due.
    whole: bool,
    /// The timestamp of the newest file: no later one is before it, whatever
    /// the clock does.
    newest_ms: i64,
    saved: Instant,
    /// `None`: at once, for who comes for one sync only.
    tended: Option<Instant>,
    dirty: bool,
    /// Encoded, and not stored for sure.
    unsent: Option<Unsent>,
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
        self.recall().await;
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
                    let permanent = error.class() == ErrorClass::Permanent;
                    if refused || error.is_conflict() {
                        // What is there now has to be found out anew.
                        known = None;
                    }
                    self.fails(&error, refused);
                    if well.elapsed() > PATIENCE {
                        self.inbox.give_up();
                    }
                    if permanent {
                        // Waiting does not help: who asked is told at once.
                        waiting.drain(..asked);
                    }
                    let (first, longest) = if permanent { RETRY_PERMANENT } else { RETRY };
                    pause = pause.clamp(first, longest);
                    let rest = match &error {
                        Error::Behind { .. } | Error::Broken { .. } => BEHIND_PAUSE,
                        _ if refused => REFUSED_PAUSE,
                        _ => jitter(pause),
                    };
                    pause *= 2;
                    due = true;
                    if self.rest(rest, &mut waiting).await.is_err() {
                        break;
                    }
                }
            }
        }
        if let Some(known) = known.filter(|known| !known.anew) {
            // The next start is quicker with it, and right without.
            let _ = self.save(known.map).await;
        }
        // Of what is cut short here, the next start does the rest.
        let _ = tokio::fs::remove_file(self.snapshot_file()).await;
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
        let intent = before.intent.clone();
        let found = start::find(&self.replica, &catalog, before, take_over, &scratch).await?;
        let (mut stored, mut stored_ms) = (Txid(0), None);
        let (map, anew, must_equal) = match found {
            Found::Nothing { last } => (none(0, last), true, false),
            Found::Ours(map, time_ms) => {
                (stored, stored_ms) = (map.txid(), Some(time_ms));
                (map, false, false)
            }
            Found::Foreign(map) => (map, false, !self.settings.take_over),
        };
        self.board
            .update(|board| (board.txid, board.stored_ms) = (stored, stored_ms));
        steps::reached("replica.looked");
        let now = Instant::now();
        Ok(Known {
            map: Arc::new(map),
            beside: Beside::new(catalog),
            intent,
            compare: true,
            must_equal,
            anew,
            whole: false,
            newest_ms: 0,
            saved: now,
            tended: (!self.settings.finish).then_some(now),
            dirty: false,
            unsent: None,
        })
    }

    /// What is to be done now and then; only after something was sent.
    async fn tend(&mut self, known: &mut Known) -> Result<()> {
        known.dirty |= !known.beside.look()?;
        self.advise(known);
        if !known.dirty {
            return Ok(());
        }
        if known.saved.elapsed() > SAVE_EVERY {
            self.save(known.map.clone()).await?;
            known.saved = Instant::now();
        }
        let rested = |at: Instant| at.elapsed() > self.settings.tend_every;
        if !known.tended.is_none_or(rested) || !known.beside.is_here() {
            return Ok(());
        }
        known.tended = Some(Instant::now());
        let now = self.shared.clock.now_ms();
        let (every, txid) = (self.settings.snapshot_every, known.map.txid());
        if known.beside.wants_snapshot(now, every, txid) {
            known.whole = true;
            self.compare(known).await?;
        }
        known.beside.tend(&self.replica, &self.settings.policy, now);
        known.dirty = false;
        if self.settings.finish {
            known.beside.end().await?;
            self.advise(known);
        }
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
            board.failure = None;
            board.leased = leased;
            board.txid = txid.unwrap_or(board.txid);
        });
    }

    fn advise(&self, known: &Known) {
        let advice = known.beside.advice();
        self.board.update(|board| board.advice = advice);
    }

    /// Where snapshots are made.
    fn snapshot_file(&self) -> PathBuf {
        self.map_file.with_extension("snapshot-new")
    }

    fn fails(&self, error: &Error, refused: bool) {
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

    /// What this volume's own records say is stored: known also while the
    /// destination cannot be reached.
    async fn recall(&self) {
        let path = self.intent_file();
        let read = self.blocking(move || Ok(Intent::read(&path).ok().flatten()));
        if let Ok(Some(intent)) = read.await {
            self.board.update(|board| board.txid = intent.stored());
        }
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
                    .map(|restored| restored.stored()),
            })
        })
        .await
    }

    fn intent_file(&self) -> PathBuf {
        self.map_file.with_extension("sent")
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
