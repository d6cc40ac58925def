//! The open pages of this process: their seats, and the pulse they share.
//!
//! What is said reaches them by pub/sub, each for itself (`stream.rs`); the
//! pulse tells all of them what has changed under the page. Nothing is read
//! while nobody listens.

use std::sync::{Arc, Weak};
use std::time::Duration;

use monolite::store::{self, Watch};
use monolite::{Monolite, Result};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};

use crate::facts::{Counts, Facts, Origin};
use crate::loss::Loss;

/// Open `/live` streams; one more is answered 503.
const SEATS: usize = 1_024;
/// At most one pulse in this time.
const PULSE_EVERY: Duration = Duration::from_millis(250);

pub(crate) struct Live {
    pub(crate) app: Monolite,
    pub(crate) origin: Origin,
    /// Whether the volume may be lost, and what came of it.
    pub(crate) loss: Option<Loss>,
    /// The facts in JSON, once somebody listened.
    pulse: watch::Sender<Option<Arc<str>>>,
    stirred: Arc<Notify>,
    seats: Arc<Semaphore>,
    stop: watch::Sender<bool>,
}

/// One open stream, counted while it lives.
pub(crate) struct Seat {
    pub(crate) live: Arc<Live>,
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
    /// Starts the pulse. It ends with [`Live::stop`], with the database, or
    /// with the last handle on this.
    pub(crate) fn start(app: Monolite, origin: Origin, loss: Option<Loss>) -> Result<Arc<Self>> {
        let commits = app.db().watch()?;
        let live = Arc::new(Self {
            app,
            origin,
            loss,
            pulse: watch::Sender::new(None),
            stirred: Arc::new(Notify::new()),
            seats: Arc::new(Semaphore::new(SEATS)),
            stop: watch::Sender::new(false),
        });
        let stirred = Arc::clone(&live.stirred);
        tokio::spawn(beat(
            Arc::downgrade(&live),
            live.stop.subscribe(),
            commits,
            stirred,
        ));
        Ok(live)
    }

    /// `None` when every seat is taken.
    pub(crate) fn sit(self: &Arc<Self>) -> Option<Seat> {
        let permit = Arc::clone(&self.seats).try_acquire_owned().ok()?;
        let seat = Seat {
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

    /// Ends every stream and the pulse.
    pub(crate) fn stop(&self) {
        self.stop.send_replace(true);
    }

    pub(crate) fn facts(&self, counts: Counts) -> Facts {
        Facts::new(&self.origin, counts, self.app.db().stats(), self.readers())
    }

    async fn send_pulse(&self) -> Result<()> {
        let counts = self.app.read(Counts::read).await?;
        let json = serde_json::to_string(&self.facts(counts)).map_err(store::Error::app)?;
        self.pulse.send_replace(Some(json.into()));
        Ok(())
    }
}

/// Sends the facts after a commit, and when a page opens or closes.
async fn beat(
    live: Weak<Live>,
    mut stop: watch::Receiver<bool>,
    mut commits: Watch,
    stirred: Arc<Notify>,
) {
    loop {
        let open = tokio::select! {
            _ = stop.changed() => return,
            () = stirred.notified() => true,
            changed = commits.changed() => changed.is_ok(),
        };
        // Many commits, one pulse.
        tokio::time::sleep(PULSE_EVERY).await;
        let Some(live) = live.upgrade() else { return };
        if !open {
            return live.stop();
        }
        if live.readers() > 0
            && let Err(error) = live.send_pulse().await
        {
            tracing::debug!(%error, "no pulse");
        }
    }
}
