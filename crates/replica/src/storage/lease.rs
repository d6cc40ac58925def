//! The right to write into a destination: one machine has it at a time.
//!
//! A small JSON file, `.monolite/lease`, which only conditional writes change.
//! Who takes it over raises its epoch. It lasts for its `ttl` after each
//! renewal; whoever holds it asks [`Lease::valid_for`] before each write, by a
//! clock that nobody can set, and renews it first if too little is left.

mod holder;
mod store;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Mutex as AsyncMutex;

pub use self::holder::{Holder, Node};
pub use self::store::LeaseStore;
use super::StorageError;
use super::place::{Permission, Permit, Result, Swapped, Version};

/// The folder of what is no database.
pub(super) const FOLDER: &str = ".monolite";
const KEY: &str = ".monolite/lease";
/// Bytes of a lease that are read.
const LIMIT: u64 = 16 * 1024;
/// No lease lasts longer, whatever its file says.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// A provider tells its times in whole seconds.
const TICK: Duration = Duration::from_secs(1);
/// How often one loses a race before giving up on who won it.
const RACES: usize = 4;

/// The lease, held. Dropping it leaves it to end by itself; [`Lease::release`]
/// gives it back.
pub struct Lease {
    store: LeaseStore,
    epoch: u64,
    ttl: Duration,
    /// Until when it lasts, in milliseconds of the monotonic clock; 0: lost.
    until_ms: AtomicU64,
    state: AsyncMutex<State>,
}

struct State {
    holder: Holder,
    version: Version,
    /// Who has it now.
    lost: Option<Option<Holder>>,
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lease({}, epoch {})", self.store.inner.name, self.epoch)
    }
}

impl Lease {
    fn new(store: LeaseStore, holder: Holder, version: Version, started: Duration) -> Self {
        let lease = Self {
            epoch: holder.epoch,
            ttl: holder.ttl(),
            until_ms: AtomicU64::new(0),
            store,
            state: AsyncMutex::new(State {
                holder,
                version,
                lost: None,
            }),
        };
        lease.lasts_from(started);
        lease
    }

    /// Rises by one each time the lease changes hands.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether the lease is certain to last for `duration` from now. A write
    /// may begin if it lasts for as long as the write can take.
    #[must_use]
    pub fn valid_for(&self, duration: Duration) -> bool {
        let end = self.store.inner.clock.monotonic().saturating_add(duration);
        millis(end) < self.until_ms.load(Ordering::Acquire)
    }

    fn lasts_from(&self, started: Duration) {
        let until = started.saturating_add(self.ttl);
        self.until_ms.store(millis(until), Ordering::Release);
    }

    /// Has it last for its whole time again, from now.
    ///
    /// # Errors
    /// [`StorageError::Lost`]: another has it; from then on it is never valid.
    pub async fn renew(&self) -> Result<()> {
        let mut state = self.state.lock().await;
        for _ in 0..RACES {
            if let Some(holder) = &state.lost {
                return Err(self.lost(holder.clone()));
            }
            let started = self.store.inner.clock.monotonic();
            state.holder.renewed_ms = self.store.inner.clock.now_ms();
            match self.store.swap(&state.holder, Some(&state.version)).await? {
                Swapped::Yes(version) => {
                    state.version = version;
                    self.lasts_from(started);
                    return Ok(());
                }
                Swapped::Conflict => match self.store.read().await? {
                    // An earlier try of ours, whose answer was lost.
                    Some((found, versioned)) if found.token == state.holder.token => {
                        state.version = versioned.version;
                    }
                    found => {
                        self.until_ms.store(0, Ordering::Release);
                        state.lost = Some(found.map(|(holder, _)| holder));
                    }
                },
            }
        }
        Err(self.lost(state.lost.clone().flatten()))
    }

    /// Gives it back, so that another need not wait for its end. It is not
    /// valid any more, also if this fails.
    ///
    /// # Errors
    /// The provider could not be told; the lease ends by itself.
    pub async fn release(&self) -> Result<()> {
        self.until_ms.store(0, Ordering::Release);
        let mut state = self.state.lock().await;
        if state.lost.is_some() {
            return Ok(());
        }
        // Also if a renewal ended while we waited for it.
        self.until_ms.store(0, Ordering::Release);
        state.lost = Some(None);
        let mut holder = state.holder.clone();
        holder.released = true;
        self.store.swap(&holder, Some(&state.version)).await?;
        Ok(())
    }

    async fn ensure(&self, within: Duration) -> Result<()> {
        // More than the lease lasts cannot be had: what lands late overwrites
        // nothing all the same.
        if self.valid_for(within.min(self.ttl / 2)) {
            return Ok(());
        }
        self.renew().await
    }

    fn lost(&self, holder: Option<Holder>) -> StorageError {
        StorageError::Lost {
            name: self.store.inner.name.clone(),
            holder: holder.map(Box::new),
        }
    }
}

/// Renews itself if too little of it is left.
impl Permit for Lease {
    fn permit(&self, within: Duration) -> Permission<'_> {
        Box::pin(self.ensure(within))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "lease/tests.rs"]
mod tests;
