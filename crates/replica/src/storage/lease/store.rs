//! Who has the lease, and how to get it.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::super::StorageError;
use super::super::destination::Inner;
use super::super::place::{Result, Swapped, Version, Versioned};
use super::{Holder, KEY, LIMIT, LONGEST, Lease, Node, RACES, TICK};
use crate::steps;

/// The lease of one destination: who has it, and how to get it.
///
/// Keep one while waiting for a lease: it remembers since when the holder has
/// not renewed it, which needs no clock to agree with another.
#[derive(Clone)]
pub struct LeaseStore {
    pub(super) inner: Arc<Inner>,
    seen: Arc<Mutex<Option<(Version, Duration)>>>,
    proven: Arc<AtomicBool>,
}

impl fmt::Debug for LeaseStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LeaseStore({})", self.inner.name)
    }
}

impl LeaseStore {
    pub(in super::super) fn new(inner: Arc<Inner>) -> Self {
        Self {
            inner,
            seen: Arc::default(),
            proven: Arc::default(),
        }
    }

    /// Who has the lease, or had it last: see [`Holder::released`].
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn holder(&self) -> Result<Option<Holder>> {
        Ok(self.read().await?.map(|(holder, _)| holder))
    }

    /// Takes the lease for `node`, if nobody has it: it was never taken, was
    /// released, was not renewed for as long as it lasts, or its holder is an
    /// earlier life of the same node on the same host.
    ///
    /// # Errors
    /// [`StorageError::Held`]: another has it; the same call some time later
    /// may succeed. [`StorageError::Unconditional`]: no lease can be had here.
    pub async fn acquire(&self, node: &Node, ttl: Duration) -> Result<Lease> {
        let token = format!("{:016x}", fastrand::u64(..));
        let mut held = None;
        for _ in 0..RACES {
            let found = self.read().await?;
            let (epoch, version) = match found {
                None => (1, None),
                // Our own try, whose answer was lost.
                Some((holder, found)) if holder.token == token => {
                    (holder.epoch, Some(found.version))
                }
                Some((holder, found)) => {
                    let remaining = self.remaining(&holder, &found, node);
                    if !remaining.is_zero() {
                        held = Some((holder, remaining));
                        break;
                    }
                    let epoch = holder.epoch.saturating_add(1);
                    held = Some((holder, remaining));
                    (epoch, Some(found.version))
                }
            };
            steps::reached("lease.read");
            let now_ms = self.inner.clock.now_ms();
            let holder = Holder::new(epoch, node, now_ms, ttl.min(LONGEST), &token);
            let started = self.inner.clock.monotonic();
            if let Swapped::Yes(version) = self.swap(&holder, version.as_ref()).await? {
                steps::reached("lease.taken");
                self.prove(&holder).await?;
                return Ok(Lease::new(self.clone(), holder, version, started));
            }
        }
        // Lost every race, so somebody holds it.
        let (holder, remaining) = match held {
            Some(held) => held,
            None => (self.lost_to().await?, ttl),
        };
        Err(StorageError::Held {
            name: self.inner.name.clone(),
            holder: Box::new(holder),
            remaining,
        })
    }

    async fn lost_to(&self) -> Result<Holder> {
        let holder = self.holder().await?;
        Ok(holder.unwrap_or_else(|| Holder::new(0, &Node::default(), 0, Duration::ZERO, "")))
    }

    pub(super) async fn read(&self) -> Result<Option<(Holder, Versioned)>> {
        let Some(found) = self.inner.place.read_versioned(KEY, LIMIT).await? else {
            return Ok(None);
        };
        let holder = Holder::parse(&found.bytes).map_err(|why| {
            let what = format!("{}/{KEY}", self.inner.name);
            let mend = "delete it, if no other machine writes there";
            StorageError::setting(what, format!("this is no lease: {why}; {mend}"))
        })?;
        Ok(Some((holder, found)))
    }

    pub(super) async fn swap(
        &self,
        holder: &Holder,
        expected: Option<&Version>,
    ) -> Result<Swapped> {
        self.inner
            .place
            .swap(KEY, holder.to_bytes(), expected)
            .await
    }

    /// How long a lease lasts if nobody renews it.
    fn remaining(&self, holder: &Holder, found: &Versioned, node: &Node) -> Duration {
        let observed = self.observed(&found.version);
        if holder.released || holder.is(node) {
            return Duration::ZERO;
        }
        // The provider's clock, for another machine's may be anything.
        let age = match found.age {
            Some(age) => age.saturating_sub(TICK),
            None => {
                let age = self.inner.clock.now_ms().saturating_sub(holder.renewed_ms);
                Duration::from_millis(u64::try_from(age).unwrap_or(0))
            }
        };
        let ttl = holder.ttl().min(LONGEST);
        ttl.saturating_sub(age.max(observed))
    }

    /// For how long this version has been the one that we see.
    fn observed(&self, version: &Version) -> Duration {
        let now = self.inner.clock.monotonic();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match &*seen {
            Some((last, since)) if last == version => now.saturating_sub(*since),
            _ => {
                *seen = Some((version.clone(), now));
                Duration::ZERO
            }
        }
    }

    /// Some providers take conditions and do not heed them. Shown by two writes
    /// that must fail, of the same bytes, so that they do no harm.
    async fn prove(&self, holder: &Holder) -> Result<()> {
        let place = &self.inner.place;
        let Some(never) = place
            .never()
            .filter(|_| !self.proven.load(Ordering::Relaxed))
        else {
            return Ok(());
        };
        for (expected, said) in [
            (None, "it overwrote a file in spite of If-None-Match"),
            (Some(&never), "it overwrote a file in spite of If-Match"),
        ] {
            if let Swapped::Yes(_) = self.swap(holder, expected).await? {
                let (name, said) = (self.inner.name.clone(), said.into());
                return Err(StorageError::Unconditional { name, said });
            }
        }
        self.proven.store(true, Ordering::Relaxed);
        Ok(())
    }
}
