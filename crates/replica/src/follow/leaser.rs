//! Takes and renews the lease of one destination, for all databases that are
//! sent there.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::storage::{
    Destination, Holder, Lease, LeaseStore, Node, Permission, Permit, StorageError,
};

/// How long a lease lasts without renewal. Another machine waits that long
/// before it takes over from one that died.
const TTL: Duration = Duration::from_secs(30);
/// What must be left of a lease when a write begins, beyond the time of the write.
const MARGIN: Duration = Duration::from_secs(2);

/// How long a refusal is remembered before the destination is asked again, for all
/// databases together.
const REFUSAL_LASTS: Duration = Duration::from_secs(3);

/// Renews only when something is to be sent, so that an idle volume causes no
/// request. Another machine may then take the lease; we find out before the
/// next write.
pub(super) struct Leaser {
    name: String,
    store: LeaseStore,
    node: Node,
    held: Mutex<Held>,
    /// How often the lease was taken. What was known of the replicas before the
    /// last time may be outdated.
    taken: AtomicU64,
}

enum Held {
    Not,
    Lease(Box<Lease>),
    /// The provider has no conditional writes: it is written without a lease.
    Impossible,
    /// Given back at the end: no later write gets one.
    Released,
    Refused {
        since: Instant,
        name: String,
        holder: Box<Holder>,
        remaining: Duration,
    },
}

impl Leaser {
    pub(super) fn new(destination: &Destination, node: Node) -> Self {
        Self {
            name: destination.name().into(),
            store: destination.lease(),
            node,
            held: Mutex::new(Held::Not),
            taken: AtomicU64::new(0),
        }
    }

    /// Returns with the right to write for as long as `within`, and which
    /// holding of the lease that is.
    ///
    /// # Errors
    /// Another machine has it, or the destination cannot be reached.
    pub(super) async fn hold(&self, within: Duration) -> Result<u64, StorageError> {
        let mut held = self.held.lock().await;
        match &*held {
            Held::Impossible => return Ok(self.taken.load(Ordering::Relaxed)),
            Held::Lease(lease) => {
                let lasts = lease.valid_for((within + MARGIN).min(TTL / 2));
                let renewed = if lasts { Ok(()) } else { lease.renew().await };
                if matches!(renewed, Err(StorageError::Lost { .. })) {
                    *held = Held::Not;
                }
                return renewed.map(|()| self.taken.load(Ordering::Relaxed));
            }
            Held::Refused {
                since,
                name,
                holder,
                remaining,
            } if since.elapsed() < REFUSAL_LASTS => {
                return Err(StorageError::Held {
                    name: name.clone(),
                    holder: holder.clone(),
                    remaining: remaining.saturating_sub(since.elapsed()),
                });
            }
            Held::Released => {
                return Err(StorageError::Lost {
                    name: self.name.clone(),
                    holder: None,
                });
            }
            Held::Refused { .. } | Held::Not => {}
        }
        *held = match self.store.acquire(&self.node, TTL).await {
            Ok(lease) => Held::Lease(Box::new(lease)),
            Err(StorageError::Unconditional { .. }) => Held::Impossible,
            Err(StorageError::Held {
                name,
                holder,
                remaining,
            }) => {
                *held = Held::Refused {
                    since: Instant::now(),
                    name: name.clone(),
                    holder: holder.clone(),
                    remaining,
                };
                return Err(StorageError::Held {
                    name,
                    holder,
                    remaining,
                });
            }
            Err(error) => return Err(error),
        };
        Ok(self.taken.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Whether nothing keeps another machine from writing there.
    pub(super) async fn is_impossible(&self) -> bool {
        matches!(*self.held.lock().await, Held::Impossible)
    }

    /// Gives the lease back, for good.
    pub(super) async fn release(&self) {
        let held = std::mem::replace(&mut *self.held.lock().await, Held::Released);
        if let Held::Lease(lease) = held {
            // It ends by itself otherwise.
            let _ = lease.release().await;
        }
    }
}

/// One replica's permit: valid for the holding of the lease under which the
/// replica was inspected, and no other.
pub(super) struct WritePermit {
    leaser: Arc<Leaser>,
    holding: AtomicU64,
}

impl WritePermit {
    pub(super) fn new(leaser: Arc<Leaser>) -> Self {
        Self {
            leaser,
            holding: AtomicU64::new(0),
        }
    }

    /// Takes the lease. What is inspected from now on stays valid while it is held.
    ///
    /// # Errors
    /// Another machine has the lease, or the destination cannot be reached.
    pub(super) async fn begin(&self) -> Result<(), StorageError> {
        let holding = self.leaser.hold(Duration::ZERO).await?;
        self.holding.store(holding, Ordering::Relaxed);
        Ok(())
    }

    pub(super) async fn hold(&self, within: Duration) -> Result<(), StorageError> {
        let holding = self.leaser.hold(within).await?;
        if holding == self.holding.load(Ordering::Relaxed) {
            return Ok(());
        }
        // Somebody may have written here in between.
        Err(StorageError::Lost {
            name: self.leaser.name.clone(),
            holder: None,
        })
    }

    pub(super) async fn is_impossible(&self) -> bool {
        self.leaser.is_impossible().await
    }
}

/// Each try of each write asks.
impl Permit for WritePermit {
    fn permit(&self, within: Duration) -> Permission<'_> {
        Box::pin(self.hold(within))
    }
}
