//! Keeps the lease of one destination, for all databases that are sent there.

use std::time::Duration;

use tokio::sync::Mutex;

use crate::storage::{Destination, Lease, LeaseStore, Node, Permission, Permit, StorageError};

/// How long a lease lasts without renewal. Another machine waits that long
/// before it takes over from one that died.
const TTL: Duration = Duration::from_secs(30);
/// What a lease must have left for anything to begin, beyond what it takes.
const MARGIN: Duration = Duration::from_secs(2);

/// Renews only when something is to be sent, so that an idle volume causes no
/// request. Another machine may then take the lease; we find out before the
/// next write.
pub(super) struct Keeper {
    store: LeaseStore,
    node: Node,
    held: Mutex<Held>,
}

enum Held {
    Not,
    Lease(Lease),
    /// The provider cannot do it; said once, and done without.
    Impossible,
}

impl Keeper {
    pub(super) fn new(destination: &Destination, node: Node) -> Self {
        Self {
            store: destination.lease(),
            node,
            held: Mutex::new(Held::Not),
        }
    }

    /// Returns with the right to write for as long as `within`.
    ///
    /// # Errors
    /// Another machine has it, or the destination cannot be reached.
    pub(super) async fn hold(&self, within: Duration) -> Result<(), StorageError> {
        let mut held = self.held.lock().await;
        if let Held::Lease(lease) = &*held {
            let lasts = lease.valid_for((within + MARGIN).min(TTL / 2));
            let renewed = if lasts { Ok(()) } else { lease.renew().await };
            if matches!(renewed, Err(StorageError::Lost { .. })) {
                *held = Held::Not;
            }
            return renewed;
        }
        if matches!(*held, Held::Impossible) {
            return Ok(());
        }
        match self.store.acquire(&self.node, TTL).await {
            Ok(lease) => *held = Held::Lease(lease),
            Err(StorageError::Unconditional { .. }) => *held = Held::Impossible,
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Whether nothing keeps another machine from writing there.
    pub(super) async fn is_impossible(&self) -> bool {
        matches!(*self.held.lock().await, Held::Impossible)
    }

    /// Gives the lease back.
    pub(super) async fn release(&self) {
        let held = std::mem::replace(&mut *self.held.lock().await, Held::Not);
        if let Held::Lease(lease) = held {
            // It ends by itself otherwise.
            let _ = lease.release().await;
        }
    }
}

/// Each try of each write asks.
impl Permit for Keeper {
    fn permit(&self, within: Duration) -> Permission<'_> {
        Box::pin(self.hold(within))
    }
}
