//! The engine on one SQLite file.
//!
//! Invariants:
//! - a damaged file is no error: whoever meets the damage replaces the file,
//!   once, and goes on; a get that met it is a miss;
//! - two processes do not stay on different files: each looks now and then
//!   whether the file it has open still has the name (`files.rs`);
//! - the bytes that wait to be written are bounded ([`Sqlite::admit`]), so that
//!   neither memory nor the WAL of one transaction grows beyond its share.

use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use monolite_component::{Background, OpenError, Opened, upkeep};
use rusqlite::Connection;
use tokio::sync::Semaphore;

use super::claims::{Claims, Renewal};
use super::engine::{Engine, Reply};
use super::files::{Shared, WRITE_WEIGHT};
use super::maintenance::{Maintenance, Rounds};
use super::options::CacheOptions;
use super::stats::Stats;
use crate::capacity::wal_bytes;
use crate::{
    Change, Claim, Error, Expiry, Found, Key, Lookup, Outcome, Result, Sweep, Tables, Write,
};

/// Largest value that is read on the caller's thread, in bytes.
const INLINE_READ_MAX: usize = 256 << 10;
/// Most keys of one transaction of a write to many, and bytes of their values.
const WRITE_KEYS_MAX: usize = 64;
const WRITE_BYTES_MAX: usize = 1 << 20;
/// Most keys of one read, and of one transaction of a delete by tag or namespace.
const READ_KEYS_MAX: usize = 256;
/// What a write without a value weighs, in bytes: a page and a half of WAL.
const WRITE_WEIGHT_MIN: usize = 6 << 10;
/// Pause after an error of the background tasks.
const RETRY_AFTER: std::time::Duration = std::time::Duration::from_secs(1);

pub(crate) struct Sqlite {
    shared: Arc<Shared>,
    claims: Arc<Claims>,
    maintenance: Arc<Maintenance>,
    background: Background,
    /// KiB that may wait to be written: half of the WAL's share.
    admission: Semaphore,
    admission_max: u32,
}

impl Sqlite {
    pub(crate) fn open(path: &Path, options: CacheOptions) -> Result<(Self, Opened)> {
        let admission_max = u32::try_from(wal_bytes(options.bound_bytes) >> 11).unwrap_or(u32::MAX);
        let (shared, opened) = Shared::open(path, options)?;
        let shared = Arc::new(shared);
        let engine = Self {
            claims: Arc::new(Claims::new(&shared)),
            maintenance: Arc::new(Maintenance::new(&shared, opened != Opened::Created)),
            background: Background::new("monolite-cache"),
            admission: Semaphore::new(usize::try_from(admission_max).unwrap_or(1)),
            admission_max,
            shared,
        };
        let background = &engine.background;
        background.spawn(upkeep(Renewal(Arc::clone(&engine.claims)), RETRY_AFTER))?;
        background.spawn(upkeep(Rounds(Arc::clone(&engine.maintenance)), RETRY_AFTER))?;
        Ok((engine, opened))
    }

    /// Waits until so many bytes may go to the file; they do while the answer
    /// lives.
    async fn admit(&self, bytes: usize) -> Result<impl Drop + '_> {
        let weight = u32::try_from((bytes + WRITE_WEIGHT_MIN) >> 10).unwrap_or(u32::MAX);
        let permit = self.admission.acquire_many(weight.min(self.admission_max));
        permit.await.map_err(|_| Error::Closed)
    }

    /// Makes a commit known to all processes; before its caller is answered.
    fn announce(&self, committed: impl FnOnce(&Tables)) {
        if let Ok(files) = self.shared.files() {
            committed(&files.tables);
        }
    }

    /// Runs a closure in a write transaction; once more if the file was damaged,
    /// or the WAL held.
    async fn run<T, F>(&self, work: F) -> Result<T>
    where
        F: Fn(&Connection, &Tables) -> Result<T> + Clone + Send + 'static,
        T: Send + 'static,
    {
        let _admitted = self.admit(0).await?;
        self.run_admitted(work).await
    }

    async fn run_admitted<T, F>(&self, work: F) -> Result<T>
    where
        F: Fn(&Connection, &Tables) -> Result<T> + Clone + Send + 'static,
        T: Send + 'static,
    {
        let mut again = true;
        loop {
            let files = self.shared.current(WRITE_WEIGHT).await?;
            let (work, tables) = (work.clone(), Arc::clone(&files.tables));
            let write = move |conn: &Connection| Ok(work(conn, &tables)?);
            let done = files.store.write(write).await;
            match done.map_err(Error::from) {
                Err(error) if again && error.is_damage() => {
                    again = false;
                    self.shared.reopen(&files, Some(error.to_string())).await?;
                }
                Err(Error::WalHeld { .. }) if again => {
                    again = false;
                    self.maintenance.checkpoint().await?;
                }
                other => return other,
            }
        }
    }

    /// Many hits are counted in memory: they are written into the rows.
    fn count_hits(&self, tables: &Tables) {
        if tables.hits.are_many() {
            self.maintenance.write_hits();
        }
    }

    fn expires_at(&self, at_ms: Option<i64>) {
        if let Some(at_ms) = at_ms {
            self.maintenance.expires_at(at_ms);
        }
    }

    async fn change(&self, key: Key, change: Change) -> Result<Outcome> {
        let expires_ms = change.expires_ms(self.shared.wall_ms());
        let write = Arc::new(Write::new(key, change));
        let _admitted = self.admit(write.weight()).await?;
        let mut again = true;
        let outcome = loop {
            let files = self.shared.current(WRITE_WEIGHT).await?;
            // Checked before anything is evicted for it.
            files.tables.check(&write)?;
            let done = files.writes.write(Arc::clone(&write)).await;
            files.tables.committed(write.key());
            match done.map_err(Error::from) {
                Err(error) if again && error.is_damage() => {
                    again = false;
                    self.shared.reopen(&files, Some(error.to_string())).await?;
                }
                Err(Error::WalHeld { .. }) if again => {
                    again = false;
                    self.maintenance.checkpoint().await?;
                }
                other => break other?,
            }
        }?;
        self.expires_at(expires_ms);
        Ok(outcome)
    }

    async fn change_many(&self, writes: Vec<(Key, Change)>) -> Result<Vec<Result<Outcome>>> {
        let now = self.shared.wall_ms();
        let expires_ms = writes
            .iter()
            .filter_map(|(_, change)| change.expires_ms(now))
            .min();
        let mut outcomes = Vec::with_capacity(writes.len());
        let mut writes = writes
            .into_iter()
            .map(|(key, change)| Arc::new(Write::new(key, change)))
            .peekable();
        while writes.peek().is_some() {
            let (mut part, mut bytes) = (Vec::new(), 0);
            while part.len() < WRITE_KEYS_MAX
                && let Some(write) =
                    writes.next_if(|next| bytes == 0 || bytes + next.weight() <= WRITE_BYTES_MAX)
            {
                bytes += write.weight();
                part.push(write);
            }
            let files = self.shared.current(1).await?;
            part.iter()
                .try_for_each(|write| files.tables.check(write))?;
            let _admitted = self.admit(bytes + part.len() * WRITE_WEIGHT_MIN).await?;
            let (part, clock) = (Arc::new(part), Arc::clone(&self.shared.options.clock));
            let mut done = self
                .run_admitted(move |conn, tables| tables.apply(conn, &part, clock.now_ms()))
                .await?;
            self.announce(Tables::committed_many);
            outcomes.append(&mut done);
        }
        self.expires_at(expires_ms);
        Ok(outcomes)
    }
}

impl Engine for Sqlite {
    fn get(&self, key: Key) -> Reply<'_, Option<Found>> {
        Box::pin(async move {
            let files = self.shared.current(1).await?;
            let now = self.shared.wall_ms();
            if let Some(found) = files.tables.get_local(&key, now) {
                self.count_hits(&files.tables);
                return Ok(Some(found));
            }
            let get = |max| {
                let (tables, key) = (Arc::clone(&files.tables), key.clone());
                move |conn: &Connection| Ok(tables.get(conn, &key, now, max)?)
            };
            let found = match files.store.read_point(get(INLINE_READ_MAX)).await {
                // On a thread that may be blocked.
                Ok(Lookup::Large) => files.store.read(get(usize::MAX)).await,
                other => other,
            };
            let found = found.map_err(Error::from);
            let found = self.shared.or_empty(&files, found, Lookup::Miss).await?;
            self.count_hits(&files.tables);
            let Lookup::Hit(found) = found else {
                return Ok(None);
            };
            if found.renew {
                // If it fails, the next get tries again.
                let _ = self.change(key, Change::Renew).await;
            }
            Ok(Some(found))
        })
    }

    fn get_many(&self, keys: Vec<Key>) -> Reply<'_, Vec<Option<Found>>> {
        Box::pin(async move {
            let mut all = Vec::with_capacity(keys.len());
            let mut renew = Vec::new();
            for part in keys.chunks(READ_KEYS_MAX) {
                let files = self.shared.current(part.len() as u64).await?;
                let (tables, now) = (Arc::clone(&files.tables), self.shared.wall_ms());
                let wanted = part.to_vec();
                let read = move |conn: &Connection| {
                    let get = |key| Ok(tables.get(conn, key, now, usize::MAX)?);
                    wanted.iter().map(get).collect::<Result<Vec<_>, _>>()
                };
                let found = files.store.read(read).await.map_err(Error::from);
                let empty = vec![Lookup::Miss; part.len()];
                let found = self.shared.or_empty(&files, found, empty).await?;
                for (key, found) in part.iter().zip(found) {
                    all.push(match found {
                        Lookup::Hit(found) => {
                            if found.renew {
                                renew.push((key.clone(), Change::Renew));
                            }
                            Some(found)
                        }
                        Lookup::Miss | Lookup::Large => None,
                    });
                }
            }
            if !renew.is_empty() {
                let _ = self.change_many(renew).await;
            }
            Ok(all)
        })
    }

    fn expiry(&self, key: Key) -> Reply<'_, Expiry> {
        Box::pin(async move {
            let files = self.shared.current(1).await?;
            let (tables, now) = (Arc::clone(&files.tables), self.shared.wall_ms());
            let read = move |conn: &Connection| Ok(tables.expiry(conn, &key, now)?);
            let found = files.store.read_point(read).await.map_err(Error::from);
            self.shared.or_empty(&files, found, Expiry::Missing).await
        })
    }

    fn write(&self, key: Key, change: Change) -> Reply<'_, Outcome> {
        Box::pin(self.change(key, change))
    }

    fn write_many(&self, writes: Vec<(Key, Change)>) -> Reply<'_, Vec<Result<Outcome>>> {
        Box::pin(self.change_many(writes))
    }

    fn delete_tag(&self, tag: String) -> Reply<'_, u64> {
        Box::pin(async move {
            let mut total = 0;
            loop {
                let tag = tag.clone();
                let count = self
                    .run(move |conn, tables| tables.delete_tagged(conn, &tag, READ_KEYS_MAX))
                    .await?;
                self.announce(Tables::committed_many);
                total += count as u64;
                if count < READ_KEYS_MAX {
                    return Ok(total);
                }
            }
        })
    }

    fn clear(&self, namespace: Option<String>) -> Reply<'_, u64> {
        Box::pin(async move {
            let mut total = 0;
            let mut after = i64::MIN;
            loop {
                let namespace = namespace.clone();
                let clear = move |conn: &Connection, tables: &Tables| {
                    tables.clear(conn, namespace.as_deref(), after, READ_KEYS_MAX)
                };
                let (next, count) = self.run(clear).await?;
                self.announce(Tables::committed_many);
                total += count as u64;
                match next {
                    Some(next) => after = next,
                    None => return Ok(total),
                }
            }
        })
    }

    fn remove_expired(&self) -> Reply<'_, u64> {
        Box::pin(async move {
            let mut sweep = Sweep::default();
            let mut total = 0;
            while !sweep.done {
                let files = self.shared.current(1).await?;
                let step = files.sweep_step(sweep, self.shared.wall_ms()).await;
                // A damaged file is replaced by an empty one: nothing is left.
                let over = (Sweep::ended(), 0);
                let (next, count) = self.shared.or_empty(&files, step, over).await?;
                sweep = next;
                total += count as u64;
            }
            Ok(total)
        })
    }

    fn claim(&self, key: Key, token: i64) -> Reply<'_, Claim> {
        Box::pin(async move {
            // First: it is renewed, or abandoned, from now on.
            self.claims.hold(key.clone(), token);
            let shared = Arc::clone(&self.shared);
            let claim = self
                .run(move |conn, tables| {
                    tables.claim(conn, &key, token, shared.lease_ms(), shared.moment())
                })
                .await;
            if !matches!(claim, Ok(Claim::Mine)) {
                self.claims.forget(token);
            }
            claim
        })
    }

    fn settle(&self, key: Key, token: i64, value: Change) -> Reply<'_, ()> {
        Box::pin(async move {
            let expires_ms = value.expires_ms(self.shared.wall_ms());
            let write = Arc::new(Write::new(key.clone(), value));
            let _admitted = self.admit(write.weight()).await?;
            let shared = Arc::clone(&self.shared);
            let written = key.clone();
            self.run_admitted(move |conn, tables| {
                // A set or delete of the key meanwhile has ended the claim.
                if !tables.release(conn, &key, token)? {
                    return Ok(());
                }
                for outcome in tables.apply(conn, &[&*write], shared.wall_ms())? {
                    outcome?;
                }
                Ok(())
            })
            .await?;
            self.announce(|tables| tables.committed(&written));
            self.claims.forget(token);
            self.expires_at(expires_ms);
            Ok(())
        })
    }

    fn abandon(&self, key: Key, token: i64) {
        self.claims.abandon(key, token);
    }

    fn unclaimed(&self, key: Key) -> Reply<'_, ()> {
        Box::pin(async move {
            let mut ticks = self.claims.ticks();
            loop {
                let files = self.shared.current(1).await?;
                // Before the claim is read: no later commit is missed.
                let mut watch = files.store.watch()?;
                loop {
                    let (tables, shared) = (Arc::clone(&files.tables), Arc::clone(&self.shared));
                    let wanted = key.clone();
                    let read = move |conn: &Connection| {
                        Ok(tables.claimed(conn, &wanted, shared.moment())?)
                    };
                    let claimed = files.store.read_point(read).await.map_err(Error::from);
                    if self.shared.or_empty(&files, claimed, None).await?.is_none() {
                        return Ok(());
                    }
                    // An error: it is closed, or its files are; seen below.
                    tokio::select! {
                        _ = watch.changed() => {}
                        _ = ticks.changed() => {}
                    }
                    if !Arc::ptr_eq(&files, &self.shared.files()?) {
                        break;
                    }
                }
            }
        })
    }

    fn stats(&self) -> Reply<'_, Stats> {
        Box::pin(async move {
            let files = self.shared.current(1).await?;
            let tables = Arc::clone(&files.tables);
            let read =
                move |conn: &Connection| Ok((tables.entries(conn)?, tables.live_bytes(conn)?));
            let read = files.store.read(read).await.map_err(Error::from);
            let (entries, live_bytes) = self.shared.or_empty(&files, read, (0, 0)).await?;
            let counts = &files.tables.counts;
            let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
            Ok(Stats {
                hits: get(&counts.hits),
                misses: get(&counts.misses),
                sets: get(&counts.sets),
                evictions: get(&counts.evictions),
                expirations: get(&counts.expirations),
                rebuilds: get(&self.shared.rebuilds),
                entries,
                live_bytes,
                disk_bytes: self.shared.own.disk_bytes(),
                bound_bytes: files.tables.bound_bytes(),
            })
        })
    }

    fn set_bound_bytes(&self, bytes: u64) -> Reply<'_, ()> {
        Box::pin(async move {
            self.shared.files()?.tables.set_bound_bytes(bytes)?;
            loop {
                let now = self.shared.wall_ms();
                let step = move |conn: &Connection, tables: &Tables| tables.shrink(conn, now);
                if !self.run(step).await? {
                    break;
                }
            }
            self.maintenance.checkpoint().await
        })
    }

    fn close(&self) -> Reply<'_, ()> {
        Box::pin(async move {
            let _ = self.claims.release_abandoned().await;
            let files = self.shared.take();
            self.background.stop(false);
            self.maintenance.close();
            if let Some(files) = files {
                let tables = Arc::clone(&files.tables);
                let write = move |conn: &Connection| Ok(tables.write_hits(conn)?);
                let _ = files.store.write(write).await;
                files.store.clone().close().await;
            }
            Ok(())
        })
    }
}

impl Debug for Sqlite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sqlite")
            .field("path", &self.shared.own.path())
            .finish()
    }
}
