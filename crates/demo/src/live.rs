//! The live hub: one follower of the file, fanned out to every open page.
//!
//! A commit by any process wakes the follower; it reads the comments after
//! the last it has seen and hands them to the streams. Nothing is done while
//! nobody listens.

use std::sync::{Arc, Weak};
use std::time::Duration;

use monolite_store::{Error, Result, Store, Watch};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, broadcast, watch};

use crate::comment::{self, Comment};
use crate::facts::{Counts, Facts, Origin};
use crate::moment::Moment;

/// Open `/live` streams; one more is answered 503.
const SEATS: usize = 1_024;
/// Comments a slow stream may fall behind before it reads from the file.
const BACKLOG: usize = 256;
/// Comments read from the file at a time.
pub(crate) const BATCH: usize = 100;
/// At most one pulse in this time.
const PULSE_EVERY: Duration = Duration::from_millis(250);
/// Wait after a failed read.
const RETRY: Duration = Duration::from_secs(1);

/// A comment on its way to the pages, already in JSON.
#[derive(Debug, Clone)]
pub(crate) struct Arrival {
    pub(crate) id: i64,
    pub(crate) json: Arc<str>,
}

impl Arrival {
    fn new(comment: Comment, now: Moment) -> Result<Self> {
        let id = comment.id;
        let wire = comment.wire(now).map_err(Error::app)?;
        let json = serde_json::to_string(&wire).map_err(Error::app)?;
        Ok(Self {
            id,
            json: json.into(),
        })
    }

    /// The next comments after `after`, at most [`BATCH`].
    pub(crate) fn read(
        conn: &monolite_store::rusqlite::Connection,
        after: i64,
    ) -> Result<Vec<Self>> {
        let now = Moment::now();
        comment::all_after(conn, after, BATCH as i64)?
            .into_iter()
            .map(|comment| Self::new(comment, now))
            .collect()
    }
}

pub(crate) struct Live {
    pub(crate) store: Store,
    pub(crate) origin: Origin,
    arrivals: broadcast::Sender<Arrival>,
    /// The facts in JSON, once somebody listened.
    pulse: watch::Sender<Option<Arc<str>>>,
    stirred: Arc<Notify>,
    seats: Arc<Semaphore>,
    stop: watch::Sender<bool>,
}

/// One open stream, counted while it lives.
pub(crate) struct Seat {
    pub(crate) live: Arc<Live>,
    pub(crate) arrivals: broadcast::Receiver<Arrival>,
    pub(crate) pulse: watch::Receiver<Option<Arc<str>>>,
    pub(crate) stop: watch::Receiver<bool>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.live.stirred.notify_one();
    }
}

impl Live {
    /// Starts following the file. The followers end with [`Live::stop`], with
    /// the store, or with the last handle on this.
    pub(crate) async fn start(store: Store, origin: Origin) -> Result<Arc<Self>> {
        // The watch first: what is committed after the read wakes it.
        let watch = store.watch()?;
        let newest = store.read(comment::newest).await?;
        let live = Arc::new(Self {
            store,
            origin,
            arrivals: broadcast::Sender::new(BACKLOG),
            pulse: watch::Sender::new(None),
            stirred: Arc::new(Notify::new()),
            seats: Arc::new(Semaphore::new(SEATS)),
            stop: watch::Sender::new(false),
        });
        let weak = Arc::downgrade(&live);
        tokio::spawn(follow(weak.clone(), live.stop.subscribe(), watch, newest));
        let stirred = Arc::clone(&live.stirred);
        tokio::spawn(beat(weak, live.stop.subscribe(), stirred));
        Ok(live)
    }

    /// `None` when every seat is taken.
    pub(crate) fn sit(self: &Arc<Self>) -> Option<Seat> {
        let permit = Arc::clone(&self.seats).try_acquire_owned().ok()?;
        let seat = Seat {
            arrivals: self.arrivals.subscribe(),
            pulse: self.pulse.subscribe(),
            stop: self.stop.subscribe(),
            live: Arc::clone(self),
            _permit: permit,
        };
        self.stirred.notify_one();
        Some(seat)
    }

    /// Pages open now, in this process.
    pub(crate) fn readers(&self) -> usize {
        SEATS - self.seats.available_permits()
    }

    /// Ends every stream and both followers.
    pub(crate) fn stop(&self) {
        self.stop.send_replace(true);
    }

    pub(crate) fn facts(&self, counts: Counts) -> Facts {
        Facts::new(&self.origin, counts, self.store.stats(), self.readers())
    }

    /// Hands on what came after `last`; returns the new `last`.
    async fn hand_on(&self, mut last: i64) -> Result<i64> {
        if self.arrivals.receiver_count() == 0 {
            let newest = self.store.read(comment::newest).await?;
            // Whoever sits down from here on reads up to `newest` by itself.
            if self.arrivals.receiver_count() == 0 {
                return Ok(newest);
            }
        }
        loop {
            let arrivals = self
                .store
                .read(move |conn| Arrival::read(conn, last))
                .await?;
            let more = arrivals.len() == BATCH;
            for arrival in arrivals {
                last = arrival.id;
                // An error says that nobody listens any more.
                let _ = self.arrivals.send(arrival);
            }
            if !more {
                return Ok(last);
            }
        }
    }

    async fn send_pulse(&self) -> Result<()> {
        let counts = self.store.read(Counts::read).await?;
        let json = serde_json::to_string(&self.facts(counts)).map_err(Error::app)?;
        self.pulse.send_replace(Some(json.into()));
        Ok(())
    }
}

/// Wakes with each commit.
async fn follow(
    live: Weak<Live>,
    mut stop: watch::Receiver<bool>,
    mut watch: Watch,
    mut last: i64,
) {
    loop {
        tokio::select! {
            _ = stop.changed() => return,
            changed = watch.changed() => if changed.is_err() { break },
        }
        let Some(live) = live.upgrade() else { return };
        live.stirred.notify_one();
        loop {
            match live.hand_on(last).await {
                Ok(newest) => {
                    last = newest;
                    break;
                }
                Err(Error::Closed) => return live.stop(),
                Err(error) => {
                    tracing::warn!(%error, "cannot read new comments; trying again");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }
    if let Some(live) = live.upgrade() {
        live.stop();
    }
}

/// Sends the facts after a commit, and when a page opens or closes.
async fn beat(live: Weak<Live>, mut stop: watch::Receiver<bool>, stirred: Arc<Notify>) {
    loop {
        tokio::select! {
            _ = stop.changed() => return,
            () = stirred.notified() => {}
        }
        // Many commits, one pulse.
        tokio::time::sleep(PULSE_EVERY).await;
        let Some(live) = live.upgrade() else { return };
        if live.readers() > 0
            && let Err(error) = live.send_pulse().await
        {
            tracing::debug!(%error, "no pulse");
        }
    }
}
