//! Keeps the members of one handle present, and takes out those of processes
//! that are gone.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::engine::{Answer, Engine};
use crate::members::Place;
use crate::{Error, PubSub, Result};

/// Pause after an error that may pass, before what is due is tried again: short
/// beside a lease, which must not run out meanwhile.
const PAUSE: Duration = Duration::from_millis(250);
/// Tries to get a lease, should others take it back again and again.
const TRIES: u32 = 5;

/// Keeps the members of one handle present.
#[derive(Debug)]
pub(crate) struct Keeper {
    pub(crate) engine: Arc<dyn Engine>,
    lease_time: Duration,
    /// The lease, while there is one; held while another is taken.
    lease: tokio::sync::Mutex<Option<i64>>,
    /// Held while places are taken out. Not the lease for that: a caller's
    /// future that is polled no more would keep it from being renewed.
    taking_out: tokio::sync::Mutex<()>,
    held: Mutex<Held>,
    pub(crate) changed: Notify,
}

#[derive(Debug, Default)]
pub(crate) struct Held {
    started: bool,
    pub(crate) next_place: i64,
    pub(crate) places: HashMap<i64, Place>,
    /// Places to be taken out.
    pub(crate) leaving: Vec<i64>,
    pub(crate) watchers: usize,
}

impl Keeper {
    pub(crate) fn new(engine: Arc<dyn Engine>, lease_time: Duration) -> Self {
        Self {
            engine,
            lease_time,
            lease: tokio::sync::Mutex::default(),
            taking_out: tokio::sync::Mutex::default(),
            held: Mutex::default(),
            changed: Notify::new(),
        }
    }

    pub(crate) fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the task, the first time.
    pub(crate) fn start(self: &Arc<Self>, pubsub: &PubSub) -> Result<()> {
        pubsub.inner().check()?;
        let mut held = self.held();
        if !held.started {
            pubsub.inner().background.spawn(Arc::clone(self).run())?;
            held.started = true;
        }
        Ok(())
    }

    /// The lease, taken if there is none.
    async fn lease(&self) -> Result<i64> {
        let mut lease = self.lease.lock().await;
        if let Some(lease) = *lease {
            return Ok(lease);
        }
        let new = self.engine.lease().await?;
        *lease = Some(new);
        Ok(new)
    }

    /// Takes another lease for all that are here, if `lost` is still ours.
    async fn replace(&self, lost: i64) -> Result<()> {
        let mut lease = self.lease.lock().await;
        if *lease != Some(lost) {
            return Ok(());
        }
        let new = self.engine.lease().await?;
        let places: Vec<Place> = self.held().places.values().cloned().collect();
        self.engine.join(new, places).await?;
        *lease = Some(new);
        Ok(())
    }

    /// Does something with the lease, with another one where it was lost.
    pub(crate) async fn with_lease<'a>(
        &'a self,
        run: impl Fn(i64) -> Answer<'a, ()> + Send + Sync,
    ) -> Result<()> {
        let mut tries = 0;
        loop {
            let lease = self.lease().await?;
            match run(lease).await {
                Err(Error::LeaseLost(lost)) if tries < TRIES => self.replace(lost).await?,
                result => return result,
            }
            tries += 1;
        }
    }

    /// Gives the lease and all its places back; unless `anyhow`, only if nobody
    /// is here. Looked at with the lease held: whoever joins is among the
    /// places before it asks for the lease, and then gets another one.
    pub(crate) async fn release(&self, anyhow: bool) -> Result<()> {
        let mut lease = self.lease.lock().await;
        if !anyhow && !self.held().places.is_empty() {
            return Ok(());
        }
        if let Some(own) = lease.take() {
            self.engine.release(own).await?;
        }
        Ok(())
    }

    async fn run(self: Arc<Self>) {
        let mut beat_at = Instant::now();
        loop {
            match self.round(&mut beat_at).await {
                Ok(None) => self.changed.notified().await,
                Ok(Some(at)) => {
                    tokio::select! {
                        () = self.changed.notified() => {}
                        () = tokio::time::sleep_until(at) => {}
                    }
                }
                Err(Error::Closed | Error::Forked) => return,
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// Does what is due; returns when there is more to do.
    async fn round(&self, beat_at: &mut Instant) -> Result<Option<Instant>> {
        let third = self.lease_time / 3;
        if self.held().places.is_empty() {
            *beat_at = Instant::now() + third;
        } else if *beat_at <= Instant::now() {
            self.with_lease(|lease| self.engine.beat(lease)).await?;
            // Not before: one that failed is due again after the pause.
            *beat_at = Instant::now() + third;
        }
        // No longer than until the next beat: it waits for callers that leave.
        if let Ok(done) = tokio::time::timeout_at(*beat_at, self.take_out()).await {
            done?;
        }
        let (present, watched) = {
            let held = self.held();
            (!held.places.is_empty(), held.watchers > 0)
        };
        if !present {
            *beat_at = Instant::now();
            self.release(false).await?;
        }
        if !present && !watched {
            return Ok(None);
        }
        let beat = present.then_some(*beat_at);
        let expiry = match self.engine.next_expiry_ms().await? {
            Some(0) => {
                self.engine.reap().await?;
                self.engine.next_expiry_ms().await?
            }
            other => other,
        };
        // A millisecond more: it has run out only after its last one.
        let expiry = expiry
            .and_then(|ms| u64::try_from(ms).ok())
            .and_then(|ms| Instant::now().checked_add(Duration::from_millis(ms + 1)));
        Ok(beat.into_iter().chain(expiry).min())
    }

    /// Takes out all who are to leave; answers once that is committed, also
    /// where another caller does it. Dropping the future loses none of them.
    pub(crate) async fn take_out(&self) -> Result<()> {
        // Until it is committed: whoever finds nothing to take out then knows
        // that its own is out.
        let _taking_out = self.taking_out.lock().await;
        let lease = *self.lease.lock().await;
        let leaving = Leaving::take(self);
        if let (Some(lease), false) = (lease, leaving.places.is_empty()) {
            self.engine.leave(lease, leaving.places.clone()).await?;
        } // No lease: it was given back, with all its places.
        leaving.done();
        Ok(())
    }
}

/// Places on their way out; put back when dropped before [`Leaving::done`].
/// To take one out twice does nothing.
struct Leaving<'a> {
    keeper: &'a Keeper,
    places: Vec<i64>,
}

impl<'a> Leaving<'a> {
    fn take(keeper: &'a Keeper) -> Self {
        let places = std::mem::take(&mut keeper.held().leaving);
        Self { keeper, places }
    }

    fn done(mut self) {
        self.places.clear();
    }
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        if !self.places.is_empty() {
            self.keeper.held().leaving.append(&mut self.places);
            // The task does it, if nobody else.
            self.keeper.changed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests;
