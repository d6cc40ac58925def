//! The files of a cache, open; and opened again when they are damaged or when
//! another process has replaced them.
//!
//! A process that has replaced files open goes on with them until it sees, now
//! and then, that the name belongs to another file.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use monolite_component::{AfterCrash, FileRules, OpenError, Opened, OwnFile, WhileInUse, file};
use monolite_store::{Combiner, FileId, Options, Store, Synchronous};
use tokio::sync::Mutex;

use super::options::CacheOptions;
use crate::blobs::Blobs;
use crate::capacity::wal_bytes;
use crate::changes::Changes;
use crate::{Error, Moment, Outcome, Result, Tables, Write};

const RULES: FileRules = FileRules {
    table_prefix: "_monolite_cache_",
    side_files: &[Blobs::SUFFIX, Changes::SUFFIX],
    after_crash: AfterCrash::Check,
    while_in_use: WhileInUse::Replace,
};
/// After this many gets, or a sixteenth as many writes, the files' name is
/// looked at.
pub(crate) const NAME_CHECK_EVERY: u64 = 256;
/// What a write counts for.
pub(crate) const WRITE_WEIGHT: u64 = NAME_CHECK_EVERY / 16;

impl OpenError for Error {
    fn is_damage(&self) -> bool {
        match self {
            Self::Sqlite(error) => file::is_damage(error),
            Self::Schema(error) => file::is_schema_damage(error),
            Self::Store(error) => file::is_store_damage(error),
            _ => false,
        }
    }
}

/// One set of files, open.
pub(crate) struct Files {
    pub(crate) store: Store,
    pub(crate) tables: Arc<Tables>,
    /// Writes to single keys; those of concurrent callers share a transaction.
    pub(crate) writes: Combiner<Arc<Write>, Result<Outcome>>,
    id: Option<FileId>,
}

/// The current files, and what opens them again.
pub(crate) struct Shared {
    pub(crate) own: OwnFile,
    pub(crate) options: CacheOptions,
    boot: String,
    /// `None` once closed.
    current: RwLock<Option<Arc<Files>>>,
    /// Locked while the files are opened again.
    reopening: Mutex<()>,
    pub(crate) rebuilds: AtomicU64,
    /// Gets and weighted writes so far.
    ops: AtomicU64,
}

/// Opens the files; blocks. `suspect`: see [`OwnFile::open`].
fn open(
    own: &OwnFile,
    options: &CacheOptions,
    suspect: Option<(FileId, String)>,
) -> Result<(Files, Opened)> {
    let opened = own.open(suspect, || attempt(own, options))?;
    let (store, tables) = opened.value;
    let tables = Arc::new(tables);
    let (writer, clock) = (Arc::clone(&tables), Arc::clone(&options.clock));
    let writes = store.combine(move |conn, writes: &[Arc<Write>]| {
        Ok(writer.apply(conn, writes, clock.now_ms())?)
    });
    let files = Files {
        id: opened.id,
        store,
        tables,
        writes,
    };
    Ok((files, opened.opened))
}

fn attempt(own: &OwnFile, options: &CacheOptions) -> Result<(Store, Tables)> {
    let bound = options.bound_bytes;
    let mut store_options = Options::new()
        .synchronous(Synchronous::Off)
        .incremental_vacuum(true)
        .foreign_keys(false)
        .journal_size_limit_bytes(wal_bytes(bound))
        .mmap_bytes(bound.min(1 << 30))
        // Most writes are combined before they come here. A second closure in a
        // transaction would need a savepoint, for which SQLite copies each page:
        // a fifth of the cost of a write.
        .batch_max(1)
        .optimize_every(None);
    if let Some(readers) = options.readers {
        store_options = store_options.readers(readers);
    }
    let store = Store::open(own.path(), store_options)?;
    let path: PathBuf = own.path().into();
    let local_bytes = options.local_bytes;
    let tables = store.write_blocking(move |conn| {
        let page: i64 = conn.query_row("PRAGMA page_size", [], |row| row.get(0))?;
        let pages = i64::try_from(wal_bytes(bound) / 8 * 5).unwrap_or(0) / page.max(512);
        conn.pragma_update(None, "wal_autocheckpoint", pages)?;
        Ok(Tables::attach(conn, &path, bound, local_bytes)?)
    })?;
    Ok((store, tables))
}

impl Shared {
    pub(crate) fn open(path: &std::path::Path, options: CacheOptions) -> Result<(Self, Opened)> {
        let own = OwnFile::new(path, RULES, &*options.clock)?;
        let (files, opened) = open(&own, &options, None)?;
        let shared = Self {
            own,
            boot: options.clock.boot_id(),
            options,
            current: RwLock::new(Some(Arc::new(files))),
            reopening: Mutex::default(),
            rebuilds: AtomicU64::new(0),
            ops: AtomicU64::new(0),
        };
        Ok((shared, opened))
    }

    /// The files as they are.
    pub(crate) fn files(&self) -> Result<Arc<Files>> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current.clone().ok_or(Error::Closed)
    }

    /// Takes the files out: every later call finds the cache closed.
    pub(crate) fn take(&self) -> Option<Arc<Files>> {
        let current = self.current.write();
        current.unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(crate) fn wall_ms(&self) -> i64 {
        self.options.clock.now_ms()
    }

    pub(crate) fn lease_ms(&self) -> i64 {
        i64::try_from(self.options.lease.as_millis()).unwrap_or(i64::MAX)
    }

    pub(crate) fn moment(&self) -> Moment<'_> {
        Moment {
            wall_ms: self.options.clock.now_ms(),
            steady_ms: self.options.clock.monotonic_ms(),
            boot: &self.boot,
        }
    }

    /// The files for an operation of this weight. Now and then it looks whether
    /// another process has replaced them, and opens the new ones.
    pub(crate) async fn current(self: &Arc<Self>, weight: u64) -> Result<Arc<Files>> {
        let files = self.files()?;
        let before = self.ops.fetch_add(weight, Ordering::Relaxed);
        if before / NAME_CHECK_EVERY != (before + weight) / NAME_CHECK_EVERY
            && files.id.is_some()
            && self.own.id() != files.id
        {
            self.reopen(&files, None).await?;
            return self.files();
        }
        Ok(files)
    }

    /// Opens the files again, once for all who meet the same error; `damage`
    /// says what is wrong with those that are open.
    pub(crate) async fn reopen(
        self: &Arc<Self>,
        old: &Arc<Files>,
        damage: Option<String>,
    ) -> Result<()> {
        let _only = self.reopening.lock().await;
        if !Arc::ptr_eq(old, &self.files()?) {
            return Ok(()); // Another task has done it.
        }
        let (done, answer) = tokio::sync::oneshot::channel();
        let shared = Arc::clone(self);
        let suspect = old.id.zip(damage);
        // It blocks: not on the runtime.
        std::thread::Builder::new()
            .name("monolite-cache-reopen".into())
            .spawn(move || {
                let _ = done.send(open(&shared.own, &shared.options, suspect));
            })
            .map_err(Error::Thread)?;
        let (opened, _) = answer.await.unwrap_or(Err(Error::Closed))?;
        self.rebuilds.fetch_add(1, Ordering::Relaxed);
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if current.is_some() {
            *current = Some(Arc::new(opened));
        }
        Ok(())
    }

    /// The result of a read, or `empty` if the files were damaged: they are
    /// replaced then.
    pub(crate) async fn or_empty<T>(
        self: &Arc<Self>,
        files: &Arc<Files>,
        result: Result<T>,
        empty: T,
    ) -> Result<T> {
        match result {
            Err(error) if error.is_damage() => {
                self.reopen(files, Some(error.to_string())).await?;
                Ok(empty)
            }
            other => other,
        }
    }
}
