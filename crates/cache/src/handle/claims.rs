//! The claims of this process on keys whose values it computes: renewed until
//! they are settled, and released when they are abandoned.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use monolite_component::Upkeep;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::files::Shared;
use crate::{Error, Key, Result};

/// How often a task that waits for a claim looks whether the lease has run out.
const TICK_EVERY: Duration = Duration::from_millis(250);

pub(crate) struct Claims {
    shared: Arc<Shared>,
    held: Mutex<Held>,
    wake: Notify,
    /// Raised every [`TICK_EVERY`] while anybody listens: a caller may have no
    /// runtime with a timer.
    ticks: watch::Sender<u64>,
}

#[derive(Default)]
struct Held {
    /// By token.
    claims: HashMap<i64, Key>,
    renew_at: Option<Instant>,
    abandoned: Vec<(Key, i64)>,
}

impl Claims {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        Self {
            shared: Arc::clone(shared),
            held: Mutex::default(),
            wake: Notify::new(),
            ticks: watch::channel(0).0,
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Renews the claim from now on.
    pub(crate) fn hold(&self, key: Key, token: i64) {
        self.held().claims.insert(token, key);
        self.wake.notify_one();
    }

    /// The claim has ended.
    pub(crate) fn forget(&self, token: i64) {
        self.held().claims.remove(&token);
    }

    /// Releases the claim soon, if it is still held.
    pub(crate) fn abandon(&self, key: Key, token: i64) {
        let mut held = self.held();
        if held.claims.remove(&token).is_some() {
            held.abandoned.push((key, token));
            self.wake.notify_one();
        }
    }

    /// Changes every [`TICK_EVERY`] from now on.
    pub(crate) fn ticks(&self) -> watch::Receiver<u64> {
        let ticks = self.ticks.subscribe();
        self.wake.notify_one();
        ticks
    }

    /// Releases the claims that were abandoned.
    pub(crate) async fn release_abandoned(&self) -> Result<()> {
        let abandoned = std::mem::take(&mut self.held().abandoned);
        if abandoned.is_empty() {
            return Ok(());
        }
        let files = self.shared.files()?;
        let tables = Arc::clone(&files.tables);
        let release = move |conn: &rusqlite::Connection| {
            for (key, token) in &abandoned {
                tables.release(conn, key, *token)?;
            }
            Ok(())
        };
        Ok(files.store.write(release).await?)
    }

    /// The claims, if it is time to renew them.
    fn take_due(&self, now: Instant) -> Vec<(Key, i64)> {
        let every = self.shared.options.lease / 3;
        let mut held = self.held();
        if held.claims.is_empty() {
            held.renew_at = None;
            return Vec::new();
        }
        if *held.renew_at.get_or_insert(now + every) > now {
            return Vec::new();
        }
        held.renew_at = Some(now + every);
        held.claims
            .iter()
            .map(|(token, key)| (key.clone(), *token))
            .collect()
    }

    async fn renew(&self, claims: Vec<(Key, i64)>) -> Result<()> {
        let files = self.shared.files()?;
        let (tables, shared) = (Arc::clone(&files.tables), Arc::clone(&self.shared));
        let renew = move |conn: &rusqlite::Connection| {
            Ok(tables.extend(conn, &claims, shared.lease_ms(), shared.moment())?)
        };
        Ok(files.store.write(renew).await?)
    }
}

/// The task that renews and releases.
pub(crate) struct Renewal(pub(crate) Arc<Claims>);

impl Upkeep for Renewal {
    type Error = Error;

    async fn round(&mut self) -> Result<Option<Instant>> {
        let claims = &self.0;
        claims.release_abandoned().await?;
        let now = Instant::now();
        let due = claims.take_due(now);
        if !due.is_empty() {
            claims.renew(due).await?;
        }
        let mut next = claims.held().renew_at;
        if claims.ticks.receiver_count() > 0 {
            claims.ticks.send_modify(|count| *count += 1);
            let tick = now + TICK_EVERY;
            next = Some(next.map_or(tick, |next| next.min(tick)));
        }
        Ok(next)
    }

    fn wake(&self) -> &Notify {
        &self.0.wake
    }

    fn is_final(error: &Error) -> bool {
        matches!(error, Error::Closed)
    }
}
