//! Takes and renews the lease of one destination, for all databases that are
//! sent there.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex, watch};
use tokio::time::Instant;

use crate::storage::{
    Destination, Holder, Lease, LeaseStore, Node, Permission, Permit, StorageError,
};

/// How long a lease lasts without renewal. Another machine waits that long
/// before it takes over from one that died.
pub(super) const TTL: Duration = Duration::from_secs(30);
/// What must be left of a lease when a write begins, beyond the time of the write.
const MARGIN: Duration = Duration::from_secs(2);

/// How long a refusal is remembered before the destination is asked again, for all
/// databases together.
const REFUSAL_LASTS: Duration = Duration::from_secs(3);

/// Renews only when it is asked for the right to write, so that an idle volume
/// causes no request. Another machine may then take the lease; we find out before
/// the next write.
pub(super) struct Leaser {
    name: String,
    store: LeaseStore,
    node: Node,
    /// The number of the volume that this one is a copy of, unless it may go on in
    /// the place of its original.
    copied_from: Option<u64>,
    held: Mutex<Held>,
    /// The lease that is in `held`, for those who must not wait.
    current: StdMutex<Option<Arc<Lease>>>,
    /// How often the lease was taken. What was known of the replicas before the
    /// last time may be outdated.
    taken: AtomicU64,
    /// The last holding that began while a request of another machine may have been
    /// under way.
    inherited: AtomicU64,
    /// Who has the lease instead of us.
    other: StdMutex<Option<Holder>>,
    /// How often it was found, on the way to a write, that another machine has or
    /// had the lease since this one wrote last.
    lost: watch::Sender<u64>,
}

enum Held {
    Not,
    Lease(Arc<Lease>),
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
    pub(super) fn new(destination: &Destination, node: Node, copied_from: Option<u64>) -> Self {
        Self {
            name: destination.name().into(),
            store: destination.lease(),
            node,
            copied_from,
            held: Mutex::new(Held::Not),
            current: StdMutex::default(),
            taken: AtomicU64::new(0),
            inherited: AtomicU64::new(0),
            other: StdMutex::default(),
            lost: watch::Sender::new(0),
        }
    }

    /// Returns with the right to write for as long as `within`, and which
    /// holding of the lease that is.
    ///
    /// # Errors
    /// Another machine has it, or the destination cannot be reached.
    pub(super) async fn hold(&self, within: Duration) -> Result<u64, StorageError> {
        self.hold_or_ask(within, Some(REFUSAL_LASTS)).await
    }

    /// As [`hold`](Self::hold), for one who has written nothing yet and waits for the
    /// lease: a refusal is not remembered, and no loss.
    pub(super) async fn take(&self) -> Result<u64, StorageError> {
        self.hold_or_ask(Duration::ZERO, None).await
    }

    async fn hold_or_ask(
        &self,
        within: Duration,
        remember: Option<Duration>,
    ) -> Result<u64, StorageError> {
        let mut held = self.held.lock().await;
        match &*held {
            Held::Impossible => return Ok(self.taken.load(Ordering::Relaxed)),
            Held::Lease(lease) => {
                let lasts = lease.valid_for((within + MARGIN).min(TTL / 2));
                let renewed = if lasts { Ok(()) } else { lease.renew().await };
                if let Err(StorageError::Lost { holder, .. }) = &renewed {
                    self.set_current(None);
                    self.set_other(holder.as_deref());
                    if holder.is_some() {
                        self.lost.send_modify(|lost| *lost += 1);
                    }
                    *held = Held::Not;
                }
                return renewed.map(|()| self.taken.load(Ordering::Relaxed));
            }
            Held::Refused {
                since,
                name,
                holder,
                remaining,
            } if remember.is_some_and(|time| since.elapsed() < time) => {
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
        self.refuse_a_copy().await?;
        *held = match self.store.acquire(&self.node, TTL).await {
            Ok(lease) => {
                let lease = Arc::new(lease);
                if remember.is_some() && lease.before().is_some() {
                    self.lost.send_modify(|lost| *lost += 1);
                }
                self.set_current(Some(lease.clone()));
                Held::Lease(lease)
            }
            Err(StorageError::Unconditional { .. }) => Held::Impossible,
            Err(StorageError::Held {
                name,
                holder,
                remaining,
            }) => {
                self.set_other(Some(&holder));
                if remember.is_some() && !matches!(*held, Held::Refused { .. }) {
                    self.lost.send_modify(|lost| *lost += 1);
                }
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
        self.set_other(None);
        let holding = self.taken.fetch_add(1, Ordering::Relaxed) + 1;
        if let Held::Lease(lease) = &*held
            && lease.needs_fence()
        {
            self.inherited.store(holding, Ordering::Relaxed);
        }
        Ok(holding)
    }

    /// The original and its copy must not both write one replica, also one after the
    /// other: each would take the other's rows for its own.
    async fn refuse_a_copy(&self) -> Result<(), StorageError> {
        let Some(original) = self.copied_from else {
            return Ok(());
        };
        match self.store.holder().await? {
            Some(holder) if holder.node.starts_with(&format!("{original:016x}")) => {
                Err(StorageError::Copied {
                    name: self.name.clone(),
                    holder: Box::new(holder),
                })
            }
            _ => Ok(()),
        }
    }

    fn set_current(&self, lease: Option<Arc<Lease>>) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        *current = lease;
    }

    fn set_other(&self, holder: Option<&Holder>) {
        // A lease that nobody has was removed or given back: it can be taken.
        let other = holder.filter(|holder| !holder.released).cloned();
        *self.other.lock().unwrap_or_else(PoisonError::into_inner) = other;
    }

    /// Whether the lease is certain to last for `duration`; `None`: it was not had
    /// so far, or there can be none.
    pub(super) fn lasts(&self, duration: Duration) -> Option<bool> {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        Some(current.as_ref()?.valid_for(duration))
    }

    /// The epoch of the lease, while it is had.
    pub(super) fn epoch(&self) -> Option<u64> {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.as_ref().map(|lease| lease.epoch())
    }

    /// Who had the lease before us.
    pub(super) fn before(&self) -> Option<Holder> {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.as_ref()?.before().cloned()
    }

    /// As [`WritePermit::needs_fence`], of the holding of now.
    pub(super) fn has_inherited(&self) -> bool {
        self.is_inherited(self.taken.load(Ordering::Relaxed))
    }

    /// Who has the lease instead of us.
    pub(super) fn other(&self) -> Option<Holder> {
        let other = self.other.lock();
        other.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How often the lease was lost to another machine, whenever that changes.
    pub(super) fn lost(&self) -> watch::Receiver<u64> {
        self.lost.subscribe()
    }

    /// Whether this holding began while a request of another machine may have been
    /// under way.
    fn is_inherited(&self, holding: u64) -> bool {
        self.inherited.load(Ordering::Relaxed) == holding && holding > 0
    }

    /// Whether nothing keeps another machine from writing there.
    pub(super) async fn is_impossible(&self) -> bool {
        matches!(*self.held.lock().await, Held::Impossible)
    }

    /// Gives the lease back, for good.
    pub(super) async fn release(&self, is_all_stored: bool) {
        self.give_back_as(Held::Released, is_all_stored).await;
    }

    /// Gives the lease back before all is stored; it can be taken again.
    pub(super) async fn give_back(&self) {
        self.give_back_as(Held::Not, false).await;
    }

    async fn give_back_as(&self, then: Held, is_all_stored: bool) {
        let held = std::mem::replace(&mut *self.held.lock().await, then);
        self.set_current(None);
        if let Held::Lease(lease) = held {
            // It ends by itself otherwise.
            let _ = match is_all_stored {
                true => lease.release().await,
                false => lease.release_open().await,
            };
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

    /// Whether a file of the lease's last holder may still arrive: it is kept out by
    /// one of ours under the name that it would have.
    pub(super) fn needs_fence(&self) -> bool {
        let holding = self.holding.load(Ordering::Relaxed);
        self.leaser.is_inherited(holding)
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
