//! The right to write the replicas: had before anything is restored or served, kept
//! while the app is in use, and asked for before a request passes.
//!
//! Two machines that overlap in a deploy are one after the other here: the second waits
//! behind its gate until the first has given the leases back, and only then reads what
//! the first stored. An idle app causes no request to a destination: the lease is
//! renewed for as long as requests come, and the first one after a pause waits for it.
//!
//! A destination that cannot be reached holds nobody up: the app serves without its
//! lease, as it does in an outage, unless a database is missing.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use monolite_gate::{Established, Precondition};
use monolite_replica::{Destination, Leases, StorageError};
use tokio::time::Instant;

use super::context::Context;
use super::error::ReplicationError;

/// The pause between two tries to take a lease that another machine has.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// Longest wait for a destination that does not answer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(3);
/// A line about a wait that goes on comes again after this time.
const REMIND_INTERVAL: Duration = Duration::from_secs(60);
/// How much of the lease must be left when a request passes: what it commits is stored
/// within this time.
const REQUEST_MARGIN: Duration = Duration::from_secs(5);
/// How often it is looked whether the leases are to be renewed.
const RENEW_INTERVAL: Duration = Duration::from_secs(2);
/// For how long after the last request the leases are renewed.
const IN_USE_TIME: Duration = Duration::from_secs(15);
/// How long requests pass without asking again, after a destination did not answer.
const OUTAGE_PAUSE: Duration = Duration::from_secs(10);

/// How a wait for the leases ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// They are all had, where there can be one.
    All,
    /// Some destination did not answer.
    NotAll,
}

/// Takes the leases of all destinations, one after the other. Waits for up to `limit`
/// (`None`: for as long as it takes) while another machine has one.
pub(super) async fn take(
    leases: &Leases,
    limit: Option<Duration>,
) -> Result<Taken, ReplicationError> {
    let began = Instant::now();
    let mut taken = Taken::All;
    for destination in leases.destinations() {
        if !take_one(leases, &destination, limit, began).await? {
            taken = Taken::NotAll;
        }
    }
    Ok(taken)
}

/// Whether the lease is had; `false` if the destination does not answer.
async fn take_one(
    leases: &Leases,
    destination: &Destination,
    limit: Option<Duration>,
    began: Instant,
) -> Result<bool, ReplicationError> {
    let to = destination.name();
    let mut said: Option<(Instant, String)> = None;
    loop {
        let answer = tokio::time::timeout(ANSWER_TIME_MAX, leases.take(destination)).await;
        let error = match answer {
            Ok(Ok(())) => {
                if said.is_some() {
                    let after_s = began.elapsed().as_secs();
                    tracing::info!(destination = to, after_s, "the lease is free, and taken");
                }
                return Ok(true);
            }
            Ok(Err(error)) => error,
            Err(_) => {
                let why = format!("it does not answer within {ANSWER_TIME_MAX:?}");
                tracing::warn!(destination = to, why, "cannot take the lease now");
                return Ok(false);
            }
        };
        match error {
            StorageError::Held {
                holder, remaining, ..
            } => {
                let waited = began.elapsed();
                if limit.is_some_and(|limit| waited >= limit) {
                    return Err(ReplicationError::Lease {
                        destination: to.into(),
                        holder: holder.to_string(),
                        waited,
                    });
                }
                let holder = holder.to_string();
                let is_news = said.as_ref().is_none_or(|(at, before)| {
                    *before != holder || at.elapsed() >= REMIND_INTERVAL
                });
                if is_news {
                    tracing::warn!(
                        destination = to,
                        holder,
                        free_in_s = remaining.as_secs(),
                        "waiting for another machine's lease; requests wait, and nothing has to be done: it is free when that machine stops, or after this time unless it is renewed"
                    );
                    said = Some((Instant::now(), holder));
                }
                let rest = limit.map_or(POLL_INTERVAL, |limit| limit.saturating_sub(waited));
                let soon = Duration::from_millis(50);
                tokio::time::sleep(POLL_INTERVAL.min(rest.max(soon)).min(remaining.max(soon)))
                    .await;
            }
            // It was lost while it was renewed: who has it is asked next.
            StorageError::Lost { .. } => tokio::time::sleep(POLL_INTERVAL).await,
            StorageError::Copied { .. } => {
                return Err(ReplicationError::Copied {
                    why: error.to_string(),
                });
            }
            // Whatever else is wrong there is reported once more, where it matters.
            error => {
                let why = error.to_string();
                tracing::warn!(destination = to, why, "cannot take the lease now");
                return Ok(false);
            }
        }
    }
}

/// Renews the leases while they are needed, and lets requests pass only under them.
pub(super) struct Tenure {
    /// Made when they are wanted first: that reads the volume.
    leases: OnceLock<Leases>,
    /// Where the work is done: the gate has other threads.
    runtime: tokio::runtime::Handle,
    /// When this was made; times are counted from here.
    epoch: Instant,
    /// When a request came last, in milliseconds.
    used_ms: AtomicU64,
    /// Until when requests pass though a destination does not answer, in milliseconds.
    outage_until_ms: AtomicU64,
    /// They are renewed whether requests come or not.
    is_starting: AtomicBool,
    /// How often leases had been lost when the databases were last up to date.
    losses: AtomicU64,
    /// One renewal at a time; the others wait for it.
    renewing: tokio::sync::Mutex<()>,
    /// Asked whether a request is in the app.
    in_use: Mutex<Option<InUse>>,
}

type InUse = Box<dyn Fn() -> bool + Send>;

impl Tenure {
    pub(super) fn new(runtime: tokio::runtime::Handle) -> Arc<Self> {
        Arc::new(Self {
            leases: OnceLock::new(),
            runtime,
            epoch: Instant::now(),
            used_ms: AtomicU64::new(0),
            outage_until_ms: AtomicU64::new(0),
            is_starting: AtomicBool::new(true),
            losses: AtomicU64::new(0),
            renewing: tokio::sync::Mutex::default(),
            in_use: Mutex::default(),
        })
    }

    /// Asked whether requests are in the app for longer.
    pub(super) fn ask(&self, in_use: impl Fn() -> bool + Send + 'static) {
        let mut asked = self.in_use.lock().unwrap_or_else(PoisonError::into_inner);
        *asked = Some(Box::new(in_use));
    }

    /// From now on the leases are renewed in any case: databases are restored.
    pub(super) fn begin(&self, context: &Context) -> Result<Leases, ReplicationError> {
        self.is_starting.store(true, Ordering::Relaxed);
        if let Some(leases) = self.leases.get() {
            return Ok(leases.clone());
        }
        let (options, follow) = (&context.options, &context.options.follow);
        let leases = Leases::new(
            &options.state,
            options.destinations.clone(),
            &follow.host,
            follow.take_over,
            &*follow.clock,
        );
        let leases = leases.map_err(ReplicationError::Follow)?;
        Ok(self.leases.get_or_init(|| leases).clone())
    }

    /// The databases are up to date since leases had been lost so often: requests pass while none is
    /// lost after that.
    pub(super) fn serve(&self, losses: u64) {
        self.losses.store(losses, Ordering::Release);
        self.used_ms.store(self.now_ms(), Ordering::Relaxed);
        self.is_starting.store(false, Ordering::Relaxed);
    }

    /// How often a lease was lost so far.
    pub(super) fn losses_now(&self) -> u64 {
        self.leases.get().map_or(0, Leases::losses)
    }

    /// Whether another machine has, or had, a lease since.
    pub(super) fn is_lost(&self) -> bool {
        self.losses_now() != self.losses.load(Ordering::Acquire)
    }

    /// Comes when another machine has, or had, a lease since.
    pub(super) async fn lost(&self) {
        let known = self.losses.load(Ordering::Acquire);
        match self.leases.get() {
            Some(leases) => leases.lost(known).await,
            None => std::future::pending().await,
        }
    }

    /// Which destination another machine has the lease of now, and who that is.
    pub(super) fn other(&self) -> Option<(String, String)> {
        let (destination, holder) = self.leases.get()?.other()?;
        Some((destination.name().into(), holder.to_string()))
    }

    /// Gives the leases back, within `limit`.
    pub(super) async fn give_back(&self, limit: Duration) {
        if let Some(leases) = self.leases.get() {
            // One that cannot be given back ends by itself.
            let _ = tokio::time::timeout(limit, leases.give_back()).await;
        }
    }

    /// Renews the leases while they are needed, for ever.
    pub(super) async fn keep(self: Arc<Self>) {
        loop {
            tokio::time::sleep(RENEW_INTERVAL).await;
            if self.is_needed() {
                // What it finds is known to all who ask.
                let _ = self.renew().await;
            }
        }
    }

    fn is_needed(&self) -> bool {
        let used_ms = self.used_ms.load(Ordering::Relaxed);
        let idle = Duration::from_millis(self.now_ms().saturating_sub(used_ms));
        let asked = self.in_use.lock().unwrap_or_else(PoisonError::into_inner);
        self.is_starting.load(Ordering::Relaxed)
            || idle < IN_USE_TIME
            || asked.as_ref().is_some_and(|in_use| in_use())
    }

    async fn renew(&self) -> bool {
        let _one = self.renewing.lock().await;
        let Some(leases) = self.leases.get() else {
            return true;
        };
        let renewed = tokio::time::timeout(ANSWER_TIME_MAX, leases.renew()).await;
        match renewed {
            Ok(Ok(())) => true,
            Ok(Err(error)) if error.is_lease() => false,
            // Nobody can take the lease there either, as far as is known.
            Ok(Err(_)) | Err(_) => {
                let until = self.now_ms() + OUTAGE_PAUSE.as_millis() as u64;
                self.outage_until_ms.store(until, Ordering::Relaxed);
                true
            }
        }
    }

    fn now_ms(&self) -> u64 {
        self.epoch.elapsed().as_millis() as u64
    }

    fn is_in_outage(&self) -> bool {
        self.now_ms() < self.outage_until_ms.load(Ordering::Relaxed)
    }
}

/// What the gate asks.
pub(super) struct Check(pub(super) Arc<Tenure>);

impl Precondition for Check {
    fn holds(&self) -> bool {
        let tenure = &self.0;
        tenure.used_ms.store(tenure.now_ms(), Ordering::Relaxed);
        let lasts = |leases: &Leases| leases.last(REQUEST_MARGIN);
        !tenure.is_lost() && (tenure.leases.get().is_none_or(lasts) || tenure.is_in_outage())
    }

    fn establish(&self) -> Established<'_> {
        let tenure = self.0.clone();
        Box::pin(async move {
            if tenure.is_lost() {
                return false;
            }
            // The connections to a destination belong to the runtime of replication.
            let runtime = tenure.runtime.clone();
            let renewed = runtime.spawn(async move { tenure.renew().await && !tenure.is_lost() });
            // Replication has ended, and with it the run.
            renewed.await.unwrap_or(false)
        })
    }
}
