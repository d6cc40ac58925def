//! The leases of all destinations of a volume, for one who wants them before
//! anything is read or written: the app must not serve, and nothing be restored,
//! while another machine may still write the replica.
//!
//! Invariant: who serves the volume holds every lease that could be had, from
//! before the replica is read until after the last file is stored.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{join_all, select_all};

use super::leaser::{Leaser, TTL};
use super::node::Identity;
use crate::error::{Error, Result};
use crate::storage::{Destination, Holder, Node, StorageError};
use monolite_platform::clock::Clock;
use monolite_platform::durable;
use monolite_volume::layout::replica::EPOCHS;

/// The leases of all destinations of one volume. A cheap handle.
#[derive(Clone)]
pub struct Leases(Arc<Inner>);

struct Inner {
    state: PathBuf,
    host: String,
    take_over: bool,
    identity: Identity,
    all: Vec<(Destination, Arc<Leaser>)>,
}

impl std::fmt::Debug for Leases {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Leases({} destinations)", self.0.all.len())
    }
}

impl Leases {
    /// How long a lease lasts that is not renewed.
    pub const TTL: Duration = TTL;

    /// Those of `destinations`, for the volume with the state directory `state`;
    /// none is taken yet. `host` is this machine's name, as shown on another one.
    /// With `take_over` a copy of a volume goes on in the place of its original.
    ///
    /// # Errors
    /// The state directory cannot be read or written.
    pub fn new(
        state: &Path,
        destinations: Vec<Destination>,
        host: &str,
        take_over: bool,
        clock: &dyn Clock,
    ) -> Result<Self> {
        let identity = Identity::of(state, host)?;
        let boot: String = clock.boot_id().chars().take(BOOT_CHARS).collect();
        let node = Node {
            // A copy of the volume has the same number, and another machine another
            // boot: neither may take this one for its own earlier life.
            node: format!("{:016x}-{boot}-{}", identity.id, identity.directory),
            host: host.into(),
            pid: Some(std::process::id()),
        };
        let copied_from = identity.copied_from.filter(|_| !take_over);
        let leaser = |to: &Destination| Arc::new(Leaser::new(to, node.clone(), copied_from));
        let all = destinations
            .into_iter()
            .map(|destination| {
                let leaser = leaser(&destination);
                (destination, leaser)
            })
            .collect();
        Ok(Self(Arc::new(Inner {
            state: state.into(),
            host: host.into(),
            take_over,
            identity,
            all,
        })))
    }

    /// The volume's number, which is in each file that it writes.
    pub(super) fn node_id(&self) -> u64 {
        self.0.identity.id
    }

    pub(super) fn all(&self) -> &[(Destination, Arc<Leaser>)] {
        &self.0.all
    }

    /// The destinations in the order in which every machine takes their leases, so
    /// that no two of them wait for each other.
    #[must_use]
    pub fn destinations(&self) -> Vec<Destination> {
        let mut all: Vec<_> = self.0.all.iter().map(|(to, _)| to.clone()).collect();
        all.sort_by(|a, b| a.name().cmp(b.name()));
        all
    }

    /// Tries once to take the lease of `destination`, or renews it if too little is
    /// left of it. That there can be none is no error.
    ///
    /// # Errors
    /// [`StorageError::Held`]: another machine has it. [`StorageError::Copied`]: this
    /// volume is a copy of the one that writes there. Else the destination cannot be
    /// reached.
    pub async fn take(&self, destination: &Destination) -> Result<(), StorageError> {
        let is_it = |(to, _): &&(Destination, Arc<Leaser>)| to.name() == destination.name();
        match self.0.all.iter().find(is_it) {
            Some((_, leaser)) => leaser.take().await.map(drop),
            None => Ok(()),
        }
    }

    /// Whether another machine may have written to `destination` since this volume
    /// was last known to be up to date with it ([`is_up_to_date`](Self::is_up_to_date)):
    /// the lease was held by anybody else, or this is not known. Not without a lease.
    ///
    /// # Errors
    /// The state directory cannot be read.
    pub fn may_be_behind(&self, destination: &Destination) -> Result<bool> {
        let Some(epoch) = self.epoch(destination.name()) else {
            return Ok(false);
        };
        let known = self.epochs()?.get(destination.name()).copied();
        // Each taking raises it by one: the same one, or the next.
        Ok(!known.is_some_and(|known| known == epoch || known.checked_add(1) == Some(epoch)))
    }

    /// Writes down that the databases of this volume are up to date with every
    /// destination whose lease is held.
    ///
    /// # Errors
    /// The state directory cannot be read or written.
    pub fn is_up_to_date(&self) -> Result<()> {
        let mut epochs = self.epochs()?;
        for (to, _) in &self.0.all {
            if let Some(epoch) = self.epoch(to.name()) {
                epochs.insert(to.name().into(), epoch);
            }
        }
        let lines = epochs.iter().filter(|(name, _)| !name.contains('\n'));
        let text: String = lines
            .map(|(name, epoch)| format!("{epoch}\t{name}\n"))
            .collect();
        let path = self.0.state.join(EPOCHS);
        durable::write(&path, text.as_bytes()).map_err(|error| Error::file(&path, error))
    }

    fn epoch(&self, destination: &str) -> Option<u64> {
        let mut all = self.0.all.iter();
        let (_, leaser) = all.find(|(to, _)| to.name() == destination)?;
        leaser.epoch()
    }

    /// What [`is_up_to_date`](Self::is_up_to_date) wrote last, by destination.
    fn epochs(&self) -> Result<BTreeMap<String, u64>> {
        let path = self.0.state.join(EPOCHS);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
            Err(error) => return Err(Error::file(&path, error)),
        };
        // A line that is damaged is as one that is missing: all is looked at again.
        let text = String::from_utf8_lossy(&bytes);
        let lines = text.lines().filter_map(|line| line.split_once('\t'));
        Ok(lines
            .filter_map(|(epoch, name)| Some((name.into(), epoch.parse().ok()?)))
            .collect())
    }

    /// To be called once no destination refused: a copy of a volume is a volume of
    /// its own from now on.
    ///
    /// # Errors
    /// The state directory cannot be written.
    pub fn settle(&self) -> Result<()> {
        let Inner {
            state,
            host,
            take_over,
            identity,
            ..
        } = &*self.0;
        identity.settle(state, host, *take_over)
    }

    /// Whether every lease that was had is certain to last for `duration`.
    #[must_use]
    pub fn last(&self, duration: Duration) -> bool {
        let mut all = self.0.all.iter();
        all.all(|(_, leaser)| leaser.lasts(duration) != Some(false))
    }

    /// Renews each lease that was had and of which less than half is left; at the
    /// same time.
    ///
    /// # Errors
    /// Another machine has one, before any other error.
    pub async fn renew(&self) -> Result<(), StorageError> {
        let stale = self
            .0
            .all
            .iter()
            .filter(|(_, leaser)| leaser.lasts(TTL / 2) == Some(false));
        let renewed = join_all(stale.map(|(_, leaser)| leaser.hold(TTL / 2))).await;
        let mut errors: Vec<StorageError> = renewed.into_iter().filter_map(Result::err).collect();
        errors.sort_by_key(|error| !error.is_lease());
        match errors.into_iter().next() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Who has a lease that this volume was refused or has lost, if anybody.
    #[must_use]
    pub fn other(&self) -> Option<(Destination, Holder)> {
        let mut all = self.0.all.iter();
        all.find_map(|(to, leaser)| Some((to.clone(), leaser.other()?)))
    }

    /// Who had the lease of `destination` before this volume, unless it was this one.
    #[must_use]
    pub fn before(&self, destination: &Destination) -> Option<Holder> {
        let mut all = self.0.all.iter();
        let (_, leaser) = all.find(|(to, _)| to.name() == destination.name())?;
        leaser.before()
    }

    /// How often it was found, on the way to a write, that another machine has or had
    /// one of the leases since this volume wrote last: what it wrote is not on this
    /// volume.
    #[must_use]
    pub fn losses(&self) -> u64 {
        let all = self.0.all.iter();
        all.map(|(_, leaser)| *leaser.lost().borrow()).sum()
    }

    /// Comes when [`losses`](Self::losses) is no longer `known`.
    pub async fn lost(&self, known: u64) {
        let mut all: Vec<_> = (self.0.all.iter())
            .map(|(_, leaser)| leaser.lost())
            .collect();
        loop {
            all.iter_mut().for_each(|lost| lost.mark_unchanged());
            if self.losses() != known {
                return;
            }
            let changes = all.iter_mut().map(|lost| Box::pin(lost.changed()));
            match self.0.all.is_empty() {
                true => std::future::pending().await,
                false => drop(select_all(changes).await),
            }
        }
    }

    /// Whether a request of a lease's last holder may still be under way, because it
    /// did not give the lease back: what is stored next keeps it out.
    #[must_use]
    pub fn needs_fence(&self) -> bool {
        self.0.all.iter().any(|(_, leaser)| leaser.has_inherited())
    }

    /// Gives all of them back; they can be taken again.
    pub async fn give_back(&self) {
        join_all(self.0.all.iter().map(|(_, leaser)| leaser.give_back())).await;
    }

    /// Gives all of them back, for good. `is_all_stored`: no request of this volume is
    /// under way, and what its databases hold is stored.
    pub async fn release(&self, is_all_stored: bool) {
        let all = self.0.all.iter();
        join_all(all.map(|(_, leaser)| leaser.release(is_all_stored))).await;
    }
}

/// Characters of the boot's id that are part of the holder's name in a lease.
const BOOT_CHARS: usize = 8;
