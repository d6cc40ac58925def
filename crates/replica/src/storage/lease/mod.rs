//! The right to write into a destination: one machine has it at a time.
//!
//! A small JSON file, `.monolite/lease`, which only conditional writes change.
//! Who takes it over raises its epoch. It lasts for its `ttl` after each
//! renewal; whoever holds it asks [`Lease::valid_for`] before each write, by a
//! clock that nobody can set, and renews it first if too little is left.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::Mutex as AsyncMutex;

use super::bucket::{ConditionalPut, Version, Versioned};
use super::context::Context;
use super::error::{Result, StorageError};
use super::holder::{Holder, Node};
use super::permit::{Permission, Permit};
use monolite_platform::failpoint;

const KEY: &str = ".monolite/lease";
/// Bytes of a lease that are read.
const LIMIT: u64 = 16 * 1024;
/// No lease lasts longer, whatever its file says.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// Providers' times have whole seconds.
const TICK: Duration = Duration::from_secs(1);
/// How many races for the lease are lost before the winner counts as its holder.
const RACES: usize = 4;

/// The lease, held. Dropping it leaves it to end by itself; [`Lease::release`]
/// gives it back.
pub struct Lease {
    store: LeaseStore,
    epoch: u64,
    ttl: Duration,
    /// Who had it before, unless that was an earlier life of this node.
    before: Option<Holder>,
    needs_fence: bool,
    /// Until when it lasts, in milliseconds of [`Clock::boottime`](crate::Clock), which goes
    /// on while the machine is suspended; 0: lost.
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
        write!(
            f,
            "Lease({}, epoch {})",
            self.store.context.name, self.epoch
        )
    }
}

impl Lease {
    fn new(
        store: LeaseStore,
        holder: Holder,
        version: Version,
        started: Duration,
        before: Option<Holder>,
    ) -> Self {
        let lease = Self {
            epoch: holder.epoch,
            ttl: holder.ttl(),
            before,
            needs_fence: holder.needs_fence(),
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

    /// Whether a request of an earlier holder, of another volume, may still arrive. A
    /// file that is stored now under the next name keeps it out.
    #[must_use]
    pub fn needs_fence(&self) -> bool {
        self.needs_fence
    }

    /// Who had it before, unless that was an earlier life of the same node.
    #[must_use]
    pub fn before(&self) -> Option<&Holder> {
        self.before.as_ref()
    }

    /// Whether the lease is certain to last for `duration` from now. A write
    /// may begin if it lasts for as long as the write can take.
    #[must_use]
    pub fn valid_for(&self, duration: Duration) -> bool {
        let end = self.store.context.clock.boottime().saturating_add(duration);
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
            let started = self.store.context.clock.boottime();
            state.holder.renewed_ms = self.store.context.clock.now_ms();
            match self
                .store
                .write(&state.holder, Some(&state.version))
                .await?
            {
                ConditionalPut::Done(version) => {
                    state.version = version;
                    self.lasts_from(started);
                    return Ok(());
                }
                ConditionalPut::Conflict => match self.store.read().await? {
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

    /// Gives it back after all is stored, so that another need not wait for its end. It
    /// is not valid any more, also if this fails.
    ///
    /// # Errors
    /// The provider could not be reached; the lease expires by itself.
    pub async fn release(&self) -> Result<()> {
        self.give_back(true).await
    }

    /// As [`release`](Self::release); requests of this holder, or of one before, may
    /// still be under way.
    ///
    /// # Errors
    /// As [`release`](Self::release).
    pub async fn release_open(&self) -> Result<()> {
        self.give_back(false).await
    }

    async fn give_back(&self, is_all_stored: bool) -> Result<()> {
        self.until_ms.store(0, Ordering::Release);
        let mut state = self.state.lock().await;
        if state.lost.is_some() {
            return Ok(());
        }
        // Also if a renewal ended while we waited for it.
        self.until_ms.store(0, Ordering::Release);
        state.lost = Some(None);
        let mut holder = state.holder.clone();
        holder.open = match is_all_stored {
            true => Vec::new(),
            false => holder.open_after(),
        };
        holder.released = true;
        self.store.write(&holder, Some(&state.version)).await?;
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
            name: self.store.context.name.clone(),
            holder: holder.map(Box::new),
        }
    }
}

/// Renews itself if too little of it is left.
impl Permit for Lease {
    fn permit(&self, within: Duration) -> Permission<'_> {
        self.ensure(within).boxed()
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The lease of one destination: who has it, and how to get it.
///
/// Keep one while waiting for a lease: it remembers since when the holder has
/// not renewed it, which needs no clock to agree with another.
#[derive(Clone)]
pub struct LeaseStore {
    context: Arc<Context>,
    seen: Arc<Mutex<Option<(Version, Duration)>>>,
    proven: Arc<AtomicBool>,
}

impl fmt::Debug for LeaseStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LeaseStore({})", self.context.name)
    }
}

impl LeaseStore {
    pub(super) fn new(context: Arc<Context>) -> Self {
        Self {
            context,
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
        let mut before = None;
        let mut open = Vec::new();
        for _ in 0..RACES {
            let found = self.read().await?;
            let (epoch, version) = match found {
                None => (1, None),
                // Our own try, whose answer was lost.
                Some((holder, found)) if holder.token == token => {
                    open.clone_from(&holder.open);
                    (holder.epoch, Some(found.version))
                }
                Some((holder, found)) => {
                    let remaining = self.remaining(&holder, &found, node);
                    if !remaining.is_zero() {
                        held = Some((holder, remaining));
                        break;
                    }
                    let epoch = holder.epoch.saturating_add(1);
                    open = holder.open_after();
                    if !holder.is(node) {
                        before = Some(holder.clone());
                    }
                    held = Some((holder, remaining));
                    (epoch, Some(found.version))
                }
            };
            failpoint::reached("lease.read");
            let now_ms = self.context.clock.now_ms();
            let mut holder = Holder::new(epoch, node, now_ms, ttl.min(LONGEST), &token);
            holder.open.clone_from(&open);
            let started = self.context.clock.boottime();
            if let ConditionalPut::Done(version) = self.write(&holder, version.as_ref()).await? {
                failpoint::reached("lease.taken");
                self.prove(&holder).await?;
                return Ok(Lease::new(self.clone(), holder, version, started, before));
            }
        }
        // Lost every race, so somebody holds it.
        let (holder, remaining) = match held {
            Some(held) => held,
            None => (self.lost_to().await?, ttl),
        };
        Err(StorageError::Held {
            name: self.context.name.clone(),
            holder: Box::new(holder),
            remaining,
        })
    }

    async fn lost_to(&self) -> Result<Holder> {
        let holder = self.holder().await?;
        Ok(holder.unwrap_or_else(|| Holder::new(0, &Node::default(), 0, Duration::ZERO, "")))
    }

    async fn read(&self) -> Result<Option<(Holder, Versioned)>> {
        let Some(found) = self.context.bucket.get_versioned(KEY, LIMIT).await? else {
            return Ok(None);
        };
        let holder = Holder::parse(&found.bytes).map_err(|why| {
            let what = format!("{}/{KEY}", self.context.name);
            let fix = "delete it, if no other machine writes there";
            StorageError::setting(what, format!("this is no lease: {why}; {fix}"))
        })?;
        Ok(Some((holder, found)))
    }

    async fn write(&self, holder: &Holder, expected: Option<&Version>) -> Result<ConditionalPut> {
        self.context
            .bucket
            .put_if(KEY, holder.to_bytes(), expected)
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
                let age = self
                    .context
                    .clock
                    .now_ms()
                    .saturating_sub(holder.renewed_ms);
                Duration::from_millis(u64::try_from(age).unwrap_or(0))
            }
        };
        let ttl = holder.ttl().min(LONGEST);
        ttl.saturating_sub(age.max(observed))
    }

    /// For how long this version has been the one that we see.
    fn observed(&self, version: &Version) -> Duration {
        let now = self.context.clock.boottime();
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
        let Some(never) = (self.context.bucket)
            .impossible_version()
            .filter(|_| !self.proven.load(Ordering::Relaxed))
        else {
            return Ok(());
        };
        for (expected, answer) in [
            (None, "it overwrote a file in spite of If-None-Match"),
            (Some(&never), "it overwrote a file in spite of If-Match"),
        ] {
            if let ConditionalPut::Done(_) = self.write(holder, expected).await? {
                let (name, answer) = (self.context.name.clone(), answer.into());
                return Err(StorageError::Unconditional { name, answer });
            }
        }
        self.proven.store(true, Ordering::Relaxed);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
