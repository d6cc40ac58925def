//! Keeps the members of one handle present by renewing their lease, and removes
//! those of processes that died.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use monolite_component::{Background, Upkeep, upkeep};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::engine::{Answer, Engine};
use crate::members::{LeaseId, Slot};
use crate::{Error, Result};

/// Pause after an error that may pass, before what is due is tried again: short
/// compared with a lease, which must not run out meanwhile.
const RETRY_AFTER: Duration = Duration::from_millis(250);
/// Tries to get a lease, should other processes end it again and again.
const LEASE_TRIES_MAX: u32 = 5;

/// The lease and the members of one handle.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    pub(crate) engine: Arc<dyn Engine>,
    lease_time: Duration,
    /// The lease, while there is one. Locked while another is taken.
    lease: tokio::sync::Mutex<Option<LeaseId>>,
    /// Locked while slots are removed. Not the lease for that: a caller's
    /// future that is no longer polled would keep it from being renewed.
    removing: tokio::sync::Mutex<()>,
    held: Mutex<Held>,
    /// Notified when members or watchers come or go.
    pub(crate) changed: Notify,
}

#[derive(Debug, Default)]
pub(crate) struct Held {
    started: bool,
    pub(crate) last_slot: i64,
    /// The slots of this handle, by number.
    pub(crate) slots: HashMap<i64, Slot>,
    /// Slots that are to be removed from the file.
    pub(crate) leaving: Vec<i64>,
    /// How many watch a channel's members.
    pub(crate) watchers: usize,
}

impl Heartbeat {
    pub(crate) fn new(engine: Arc<dyn Engine>, lease_time: Duration) -> Self {
        Self {
            engine,
            lease_time,
            lease: tokio::sync::Mutex::default(),
            removing: tokio::sync::Mutex::default(),
            held: Mutex::default(),
            changed: Notify::new(),
        }
    }

    pub(crate) fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the task, the first time.
    pub(crate) fn start(self: &Arc<Self>, background: &Background) -> Result<()> {
        let mut held = self.held();
        if !held.started {
            background.spawn(Self::run(Arc::clone(self)))?;
            held.started = true;
        }
        Ok(())
    }

    /// The lease, taken if there is none.
    async fn lease(&self) -> Result<LeaseId> {
        let mut lease = self.lease.lock().await;
        if let Some(lease) = *lease {
            return Ok(lease);
        }
        let new = self.engine.lease().await?;
        *lease = Some(new);
        Ok(new)
    }

    /// Takes another lease for all slots, if `lost` is still the current one.
    async fn replace(&self, lost: LeaseId) -> Result<()> {
        let mut lease = self.lease.lock().await;
        if *lease != Some(lost) {
            return Ok(());
        }
        let new = self.engine.lease().await?;
        let slots: Vec<Slot> = self.held().slots.values().cloned().collect();
        self.engine.join(new, slots).await?;
        *lease = Some(new);
        Ok(())
    }

    /// Runs something with the lease; again with a new one if it was lost.
    pub(crate) async fn with_lease<'a>(
        &'a self,
        run: impl Fn(LeaseId) -> Answer<'a, ()> + Send + Sync,
    ) -> Result<()> {
        let mut tries = 0;
        loop {
            let lease = self.lease().await?;
            match run(lease).await {
                Err(Error::LeaseLost) if tries < LEASE_TRIES_MAX => self.replace(lease).await?,
                result => return result,
            }
            tries += 1;
        }
    }

    /// Releases the lease and all its slots.
    pub(crate) async fn release_all(&self) -> Result<()> {
        let mut lease = self.lease.lock().await;
        self.release(&mut lease).await
    }

    /// Releases the lease if there are no slots. The slots are looked at with
    /// the lease locked: a member that joins adds its slot before it asks for
    /// the lease, and then gets another one.
    async fn release_if_empty(&self) -> Result<()> {
        let mut lease = self.lease.lock().await;
        if self.held().slots.is_empty() {
            self.release(&mut lease).await?;
        }
        Ok(())
    }

    async fn release(&self, lease: &mut Option<LeaseId>) -> Result<()> {
        match lease.take() {
            Some(own) => self.engine.release(own).await,
            None => Ok(()),
        }
    }

    async fn run(heartbeat: Arc<Self>) {
        let rounds = Rounds {
            heartbeat,
            beat_at: Instant::now(),
        };
        upkeep(rounds, RETRY_AFTER).await;
    }

    /// Does what is due. Returns when more will be.
    async fn round(&self, beat_at: &mut Instant) -> Result<Option<Instant>> {
        let third = self.lease_time / 3;
        if self.held().slots.is_empty() {
            *beat_at = Instant::now() + third;
        } else if *beat_at <= Instant::now() {
            self.with_lease(|lease| self.engine.beat(lease)).await?;
            // Only now: one that failed is due again after the pause.
            *beat_at = Instant::now() + third;
        }
        // Until the next beat at most: it may wait for a caller that leaves.
        if let Ok(done) = tokio::time::timeout_at(*beat_at, self.remove_leaving()).await {
            done?;
        }
        let (present, watched) = {
            let held = self.held();
            (!held.slots.is_empty(), held.watchers > 0)
        };
        if !present {
            *beat_at = Instant::now();
            self.release_if_empty().await?;
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
        // One millisecond more: a lease has run out only after its last one.
        let expiry = expiry
            .and_then(|ms| u64::try_from(ms).ok())
            .and_then(|ms| Instant::now().checked_add(Duration::from_millis(ms + 1)));
        Ok(beat.into_iter().chain(expiry).min())
    }

    /// Removes the slots that are leaving; answers once that is committed, also
    /// if another caller does it. Dropping the future loses none of them.
    pub(crate) async fn remove_leaving(&self) -> Result<()> {
        // Locked until it is committed: a caller that finds nothing to remove
        // then knows that its own slot is gone.
        let _removing = self.removing.lock().await;
        let lease = *self.lease.lock().await;
        let leaving = Leaving::take(self);
        if let (Some(lease), false) = (lease, leaving.slots.is_empty()) {
            self.engine.leave(lease, leaving.slots.clone()).await?;
        } // Without a lease: it was released, with all its slots.
        leaving.done();
        Ok(())
    }
}

/// The task of a heartbeat.
struct Rounds {
    heartbeat: Arc<Heartbeat>,
    beat_at: Instant,
}

impl Upkeep for Rounds {
    type Error = Error;

    async fn round(&mut self) -> Result<Option<Instant>> {
        self.heartbeat.round(&mut self.beat_at).await
    }

    fn wake(&self) -> &Notify {
        &self.heartbeat.changed
    }

    fn is_final(error: &Error) -> bool {
        matches!(error, Error::Closed | Error::Forked)
    }
}

/// Slots that are being removed; they are leaving again when this is dropped
/// before [`Leaving::done`]. Removing one twice does nothing.
struct Leaving<'a> {
    heartbeat: &'a Heartbeat,
    slots: Vec<i64>,
}

impl<'a> Leaving<'a> {
    fn take(heartbeat: &'a Heartbeat) -> Self {
        let slots = std::mem::take(&mut heartbeat.held().leaving);
        Self { heartbeat, slots }
    }

    fn done(mut self) {
        self.slots.clear();
    }
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        if !self.slots.is_empty() {
            self.heartbeat.held().leaving.append(&mut self.slots);
            // The task removes them, if nobody else does.
            self.heartbeat.changed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests;
