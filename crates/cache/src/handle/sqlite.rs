//! The engine over one SQLite file.
//!
//! Invariants:
//! - a damaged file is no error: whoever meets it makes it anew, once, and
//!   goes on; a get that met it is a miss;
//! - two processes do not stay on different files: each looks now and then
//!   whether the file it has open is still the one of that name;
//! - what waits to be written is bounded by weight (see [`Sqlite::places`]), so
//!   that neither memory nor one transaction's WAL grows beyond its share.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use monolite_store::rusqlite::Connection;
use tokio::sync::{Mutex, Semaphore};

use super::files::{self, Rebuilt};
use super::janitor::Janitor;
use super::shared::{LOOK_EVERY, Shared};
use super::wait::either;
use crate::room::wal_bytes;
use crate::{
    CacheOptions, Change, Error, Found, Key, Lookup, Outcome, Result, Stats, Sweep, Tables, Write,
};

/// A larger value is read by a thread that may be blocked.
const INLINE_READ_MAX: usize = 256 << 10;
/// Keys of one transaction of a write to many, and bytes of their values.
const MANY_KEYS: usize = 64;
const MANY_BYTES: usize = 1 << 20;
/// Gets of one piece of a get of many.
pub(crate) const MANY_GETS: usize = 256;
/// What a write of no bytes weighs: a page and a half of WAL.
const WEIGHT_MIN: usize = 6 << 10;

pub(crate) struct Sqlite {
    pub(crate) shared: Arc<Shared>,
    pub(crate) janitor: Janitor,
    /// In KiB: as much as half of the WAL's share.
    places: Semaphore,
    places_max: u32,
}

impl Sqlite {
    pub(crate) fn open(path: PathBuf, options: CacheOptions) -> Result<Self> {
        let files = files::open(&path, &options, None)?;
        let fresh = matches!(files.rebuilt, Some(Rebuilt::Missing));
        let places = u32::try_from(wal_bytes(options.bound_bytes) >> 11).unwrap_or(u32::MAX);
        let shared = Arc::new(Shared {
            boot: options.clock.boot(),
            path: files.store.path().into(),
            options,
            current: RwLock::new(Some(Arc::new(files))),
            recovering: Mutex::default(),
            rebuilds: AtomicU64::new(0),
            ops: AtomicU64::new(0),
        });
        Ok(Self {
            janitor: Janitor::start(&shared, !fresh)?,
            shared,
            places: Semaphore::new(usize::try_from(places).unwrap_or(1)),
            places_max: places,
        })
    }

    pub(crate) fn rebuilt(&self) -> Option<Rebuilt> {
        self.shared.files().ok()?.rebuilt.clone()
    }

    /// Tells all processes, before the caller is told.
    pub(crate) fn committed(&self, tell: impl FnOnce(&Tables)) {
        if let Ok(files) = self.shared.files() {
            tell(&files.tables);
        }
    }

    /// Room for so many bytes on their way to the file.
    pub(crate) async fn place(&self, bytes: usize) -> Result<impl Drop + '_> {
        let weight = u32::try_from((bytes + WEIGHT_MIN) >> 10).unwrap_or(u32::MAX);
        let places = self.places.acquire_many(weight.min(self.places_max)).await;
        places.map_err(|_| Error::Closed)
    }

    /// Runs a closure in a write transaction; once more in a new file, should
    /// this one be damaged.
    pub(crate) async fn run<T, F>(&self, work: F) -> Result<T>
    where
        F: Fn(&Connection, &Tables) -> Result<T> + Clone + Send + 'static,
        T: Send + 'static,
    {
        let _place = self.place(0).await?;
        self.run_placed(work).await
    }

    pub(crate) async fn run_placed<T, F>(&self, work: F) -> Result<T>
    where
        F: Fn(&Connection, &Tables) -> Result<T> + Clone + Send + 'static,
        T: Send + 'static,
    {
        let mut again = true;
        loop {
            let files = self.shared.current(LOOK_EVERY / 16).await?;
            let (work, tables) = (work.clone(), Arc::clone(&files.tables));
            let done = files
                .store
                .write(move |conn| Ok(work(conn, &tables)?))
                .await;
            match done.map_err(Error::from) {
                Err(error) if again && error.is_corruption() => {
                    again = false;
                    self.shared.recover(&files, Some(error.to_string())).await?;
                }
                Err(Error::WalHeld { .. }) if again => {
                    again = false;
                    self.janitor.checkpoint_and_wait().await?;
                }
                other => return other,
            }
        }
    }

    pub(crate) async fn look(&self, key: Key) -> Result<Option<Found>> {
        let files = self.shared.current(1).await?;
        let now = self.shared.wall_ms();
        if let Some(found) = files.tables.get_near(&key, now) {
            if files.tables.hits.are_many() {
                self.janitor.fold();
            }
            return Ok(Some(found));
        }
        let tables = Arc::clone(&files.tables);
        let wanted = key.clone();
        let found = files
            .store
            .read_point(move |conn| Ok(tables.get(conn, &wanted, now, INLINE_READ_MAX)?))
            .await;
        let found = match found {
            Ok(Lookup::Large) => {
                let (tables, wanted) = (Arc::clone(&files.tables), key.clone());
                let read =
                    move |conn: &Connection| Ok(tables.get(conn, &wanted, now, usize::MAX)?);
                files.store.read(read).await
            }
            other => other,
        };
        let found = found.map_err(Error::from);
        let found = self.shared.mended(&files, found, Lookup::Miss).await?;
        if files.tables.hits.are_many() {
            self.janitor.fold();
        }
        let Lookup::Hit(found) = found else {
            return Ok(None);
        };
        if found.renew {
            // Not worth an error: the next get will try again.
            let _ = self.change(key, Change::Renew).await;
        }
        Ok(Some(found))
    }

    pub(crate) async fn change(&self, key: Key, change: Change) -> Result<Outcome> {
        let due = change.due_ms(self.shared.wall_ms());
        let write = Arc::new(Write::new(key, change));
        let _place = self.place(write.weight()).await?;
        let mut again = true;
        let outcome = loop {
            let files = self.shared.current(LOOK_EVERY / 16).await?;
            // Here already: nothing makes room for what is refused.
            files.tables.check(&write)?;
            let done = files.writes.write(Arc::clone(&write)).await;
            files.tables.committed(write.key());
            match done.map_err(Error::from) {
                Err(error) if again && error.is_corruption() => {
                    again = false;
                    self.shared.recover(&files, Some(error.to_string())).await?;
                }
                Err(Error::WalHeld { .. }) if again => {
                    again = false;
                    self.janitor.checkpoint_and_wait().await?;
                }
                other => break other?,
            }
        }?;
        if let Some(due) = due {
            self.janitor.due(due);
        }
        Ok(outcome)
    }

    pub(crate) async fn change_many(
        &self,
        writes: Vec<(Key, Change)>,
    ) -> Result<Vec<Result<Outcome>>> {
        let now = self.shared.wall_ms();
        let due = writes
            .iter()
            .filter_map(|(_, change)| change.due_ms(now))
            .min();
        let mut outcomes = Vec::with_capacity(writes.len());
        let mut writes = writes
            .into_iter()
            .map(|(key, change)| Arc::new(Write::new(key, change)))
            .peekable();
        while writes.peek().is_some() {
            let (mut piece, mut bytes) = (Vec::new(), 0);
            while piece.len() < MANY_KEYS
                && let Some(write) =
                    writes.next_if(|next| bytes == 0 || bytes + next.weight() <= MANY_BYTES)
            {
                bytes += write.weight();
                piece.push(write);
            }
            let files = self.shared.current(1).await?;
            piece
                .iter()
                .try_for_each(|write| files.tables.check(write))?;
            let _place = self.place(bytes + piece.len() * WEIGHT_MIN).await?;
            let (piece, clock) = (Arc::new(piece), Arc::clone(&self.shared.options.clock));
            let mut done = self
                .run_placed(move |conn, tables| tables.apply(conn, &piece, clock.wall_ms()))
                .await?;
            self.committed(|tables| tables.committed_many());
            outcomes.append(&mut done);
        }
        if let Some(due) = due {
            self.janitor.due(due);
        }
        Ok(outcomes)
    }

    pub(crate) async fn look_many(&self, keys: Vec<Key>) -> Result<Vec<Option<Found>>> {
        let mut all = Vec::with_capacity(keys.len());
        let mut renew = Vec::new();
        for piece in keys.chunks(MANY_GETS) {
            let files = self.shared.current(piece.len() as u64).await?;
            let (tables, now) = (Arc::clone(&files.tables), self.shared.wall_ms());
            let wanted = piece.to_vec();
            let found = files
                .store
                .read(move |conn| {
                    let get = |key| Ok(tables.get(conn, key, now, usize::MAX)?);
                    wanted.iter().map(get).collect::<Result<Vec<_>, _>>()
                })
                .await;
            let empty = vec![Lookup::Miss; piece.len()];
            let found = found.map_err(Error::from);
            let found = self.shared.mended(&files, found, empty).await?;
            for (key, found) in piece.iter().zip(found) {
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
    }

    pub(crate) async fn clear_all(&self, namespace: Option<String>) -> Result<u64> {
        let mut total = 0;
        let mut after = i64::MIN;
        loop {
            let namespace = namespace.clone();
            let (next, count) = self
                .run(move |conn, tables| tables.clear(conn, namespace.as_deref(), after, MANY_GETS))
                .await?;
            self.committed(|tables| tables.committed_many());
            total += count as u64;
            match next {
                Some(next) => after = next,
                None => return Ok(total),
            }
        }
    }

    pub(crate) async fn sweep(&self) -> Result<u64> {
        let mut sweep = Sweep::default();
        let mut total = 0;
        while !sweep.done {
            let files = self.shared.current(1).await?;
            let (tables, now) = (Arc::clone(&files.tables), self.shared.wall_ms());
            let mut next = sweep.clone();
            let looked = files
                .store
                .read(move |conn| {
                    tables.sweep_look(conn, &mut next, now)?;
                    Ok(next)
                })
                .await;
            let mut ended = Sweep::default();
            ended.done = true;
            sweep = self
                .shared
                .mended(&files, looked.map_err(Error::from), ended)
                .await?;
            if sweep.found() {
                let found = sweep.clone();
                let run = move |conn: &Connection, tables: &Tables| {
                    tables.sweep_out(conn, &mut found.clone(), now)
                };
                total += self.run(run).await? as u64;
                sweep.forget();
            }
        }
        Ok(total)
    }

    pub(crate) async fn until_unclaimed(&self, key: Key) -> Result<()> {
        let ticks = self.janitor.wait();
        let mut tick = ticks.subscribe();
        loop {
            let files = self.shared.current(1).await?;
            // Before the look: a commit from then on is not missed.
            let mut watch = files.store.watch()?;
            loop {
                let (tables, shared, wanted) = (
                    Arc::clone(&files.tables),
                    Arc::clone(&self.shared),
                    key.clone(),
                );
                let claimed = files
                    .store
                    .read_point(move |conn| Ok(tables.claimed(conn, &wanted, shared.moment())?))
                    .await;
                let claimed = claimed.map_err(Error::from);
                if self.shared.mended(&files, claimed, None).await?.is_none() {
                    return Ok(());
                }
                either(watch.changed(), tick.changed()).await;
                if !Arc::ptr_eq(&files, &self.shared.files()?) {
                    break;
                }
            }
        }
    }

    pub(crate) async fn gather(&self) -> Result<Stats> {
        let files = self.shared.current(1).await?;
        let tables = Arc::clone(&files.tables);
        let read = files
            .store
            .read(move |conn| Ok((tables.entries(conn)?, tables.live_bytes(conn)?)))
            .await;
        let read = read.map_err(Error::from);
        let (entries, live_bytes) = self.shared.mended(&files, read, (0, 0)).await?;
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
            disk_bytes: files::disk_bytes(&self.shared.path),
            bound_bytes: files.tables.bound_bytes(),
        })
    }

    pub(crate) async fn end(&self) -> Result<()> {
        let files = {
            let current = &self.shared.current;
            let mut current = current.write().unwrap_or_else(PoisonError::into_inner);
            current.take()
        };
        self.janitor.stop();
        if let Some(files) = files {
            let tables = Arc::clone(&files.tables);
            let _ = files
                .store
                .write(move |conn| Ok(tables.fold_hits(conn)?))
                .await;
            files.store.clone().close().await;
        }
        Ok(())
    }
}
