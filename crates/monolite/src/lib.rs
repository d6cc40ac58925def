//! A web app's stack in one SQLite volume.
//!
//! [`Monolite::open`] takes the directory of a volume and gives a database, a
//! cache, background jobs and publish/subscribe, all of them plain SQLite
//! files in it. Two processes that open the same directory share everything.
//!
//! | part | feature | file | lost with the file |
//! |---|---|---|---|
//! | [`db`](Monolite::db) | | `app.sqlite3` | your data |
//! | `jobs` | `jobs` | `app.sqlite3`: enqueueing is part of your transactions | jobs |
//! | `cache` | `cache` | `cache.sqlite3` | nothing; it is made again |
//! | `pubsub` | `pubsub` | `pubsub.sqlite3` | messages of the last hour |
//! | `migrate` | `migrations` | `app.sqlite3` | |
//!
//! All features are on by default, and `bundled`, which brings SQLite. A part
//! whose feature is off is not compiled, and makes no file and no table.
//!
//! ```
//! # #[cfg(not(all(feature = "cache", feature = "jobs", feature = "pubsub")))] fn main() {}
//! # #[cfg(all(feature = "cache", feature = "jobs", feature = "pubsub"))]
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use monolite::{EntryOptions, Job, Monolite};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize)]
//! struct Welcome { name: String }
//! impl Job for Welcome { const KIND: &'static str = "welcome"; }
//!
//! # let dir = tempfile::tempdir()?;
//! # let data = dir.path();
//! let app = Monolite::open(data).await?;
//! app.transaction(|tx| {
//!     tx.execute_batch("CREATE TABLE user (name TEXT NOT NULL) STRICT")?;
//!     tx.execute("INSERT INTO user VALUES (?1)", ["Ada"])?;
//!     // Both with the commit, or not at all.
//!     tx.enqueue(Welcome { name: "Ada".into() })?;
//!     tx.publish("users", "Ada is here")
//! })
//! .await?;
//! app.cache().set("greeting", &"hello", &EntryOptions::new()).await?;
//! app.close().await;
//! # Ok(()) }
//! ```
//!
//! [rusqlite] is part of this crate's functions, and re-exported as
//! [`monolite::rusqlite`](rusqlite): use that one, so that both are of one
//! version. A new minor version of rusqlite is a new minor version of this crate
//! while that is below 1.0, and a new major one afterwards.
//!
//! [rusqlite]: https://docs.rs/rusqlite

mod error;
#[cfg(feature = "migrations")]
pub mod migrate;
mod options;
mod transaction;

use std::path::Path;
use std::sync::Arc;

#[cfg(feature = "cache")]
pub use monolite_cache as cache;
#[cfg(feature = "jobs")]
pub use monolite_jobs as jobs;
#[cfg(feature = "pubsub")]
pub use monolite_pubsub as pubsub;
pub use monolite_store as store;

#[cfg(feature = "cache")]
pub use monolite_cache::{Cache, CacheOptions, EntryOptions};
#[cfg(feature = "jobs")]
pub use monolite_jobs::{BatchId, Context, Failure, Job, JobId, Jobs, NewJob, Worker};
#[cfg(feature = "pubsub")]
pub use monolite_pubsub::{Event, PubSub, PubSubOptions, Subscriber};
pub use monolite_store::{Store, rusqlite};

pub use crate::error::{Error, Result};
#[cfg(feature = "migrations")]
pub use crate::migrate::{Migrate, migrate_store, migrations};
pub use crate::options::Options;
pub use crate::transaction::Transaction;

#[cfg(any(feature = "cache", feature = "pubsub"))]
use monolite_volume::layout;
use rusqlite::Connection;

/// A handle on one volume; cheap to clone.
///
/// A process that forks opens it again in the child: the handle from before
/// returns [`store::Error::Forked`].
#[derive(Debug, Clone)]
pub struct Monolite {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    db: Store,
    #[cfg(feature = "cache")]
    cache: Cache,
    #[cfg(feature = "jobs")]
    jobs: Jobs,
    #[cfg(feature = "pubsub")]
    pubsub: PubSub,
    /// Moves what is published in transactions to the pub/sub file.
    #[cfg(feature = "pubsub")]
    relay: pubsub::Relay,
}

impl Monolite {
    /// Opens the files in `dir`, making those that are missing. The directory
    /// itself must be there: where a volume was not mounted, no directory is
    /// made that would be lost with the machine.
    ///
    /// # Errors
    /// [`Error::MissingDirectory`], and those of each part.
    pub async fn open(dir: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(dir, Options::default()).await
    }

    /// As [`Monolite::open`], with settings.
    ///
    /// # Errors
    /// As [`Monolite::open`]; [`Error::DatabaseName`].
    pub async fn open_with(dir: impl AsRef<Path>, options: Options) -> Result<Self> {
        let dir = dir.as_ref().to_path_buf();
        options.check(&dir)?;
        let path = dir.join(options.database);
        let db = blocking(move || Ok(Store::open(path, options.store)?)).await?;
        #[cfg(feature = "cache")]
        let cache = {
            let path = dir.join(layout::CACHE);
            blocking(move || Ok(Cache::open(path, options.cache)?)).await?
        };
        #[cfg(feature = "jobs")]
        let jobs = Jobs::open_with_clock(&db, options.jobs_clock).await?;
        #[cfg(feature = "pubsub")]
        let (pubsub, relay) = {
            let path = dir.join(layout::PUBSUB);
            let pubsub = blocking(move || Ok(PubSub::open(path, options.pubsub)?)).await?;
            let relay = pubsub.relay(&db).await?;
            (pubsub, relay)
        };
        Ok(Self {
            inner: Arc::new(Inner {
                db,
                #[cfg(feature = "cache")]
                cache,
                #[cfg(feature = "jobs")]
                jobs,
                #[cfg(feature = "pubsub")]
                pubsub,
                #[cfg(feature = "pubsub")]
                relay,
            }),
        })
    }

    /// The app's database.
    pub fn db(&self) -> &Store {
        &self.inner.db
    }

    /// The cache.
    #[cfg(feature = "cache")]
    pub fn cache(&self) -> &Cache {
        &self.inner.cache
    }

    /// The background jobs.
    #[cfg(feature = "jobs")]
    pub fn jobs(&self) -> &Jobs {
        &self.inner.jobs
    }

    /// Publish and subscribe.
    #[cfg(feature = "pubsub")]
    pub fn pubsub(&self) -> &PubSub {
        &self.inner.pubsub
    }

    /// Runs `closure` in one write transaction on the app's database, in which
    /// it can also enqueue jobs and publish: all of it happens with the commit,
    /// or, where the closure returns an error, nothing.
    ///
    /// The error is the app's own, of any type that [`Error`] becomes by `?`:
    /// [`Error`] itself, `anyhow::Error`, `Box<dyn std::error::Error + Send +
    /// Sync>`, or an enum with `#[from]`. The closure runs once, on the writer's
    /// thread; keep it short: no network, no waiting.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let app = monolite::Monolite::open(dir.path()).await?;
    /// # app.transaction(|tx| -> monolite::Result<()> { Ok(tx.execute_batch("CREATE TABLE seat (number INTEGER PRIMARY KEY, name TEXT)")?) }).await?;
    /// async fn book(app: &monolite::Monolite, seat: i64, name: String) -> anyhow::Result<()> {
    ///     app.transaction(move |tx| {
    ///         let free = "INSERT INTO seat VALUES (?1, ?2) ON CONFLICT DO NOTHING";
    ///         if tx.execute(free, (seat, name))? == 0 {
    ///             anyhow::bail!("seat {seat} is taken"); // Rolls back.
    ///         }
    ///         Ok(())
    ///     })
    ///     .await
    /// }
    /// book(&app, 7, "Ada".into()).await?;
    /// assert_eq!(book(&app, 7, "Bob".into()).await.unwrap_err().to_string(), "seat 7 is taken");
    /// # app.close().await;
    /// # Ok(()) }
    /// ```
    ///
    /// Where the compiler cannot know the type of the error (`?` after the
    /// `await`), name it: `|tx| -> monolite::Result<_> { … }`.
    ///
    /// # Errors
    /// The closure's own, and those of [`Store::write`] in [`Error::Store`].
    /// After any of them nothing was written.
    pub async fn transaction<T, E, F>(&self, closure: F) -> Result<T, E>
    where
        F: FnOnce(&Transaction<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        #[cfg(feature = "jobs")]
        let jobs = self.inner.jobs.clone();
        transaction::write(&self.inner.db, move |conn| {
            closure(&Transaction::new(
                conn,
                #[cfg(feature = "jobs")]
                jobs.now(),
            ))
        })
        .await
    }

    /// Runs `closure` on a read-only connection to the app's database; its error
    /// is the app's own, as in [`Monolite::transaction`].
    ///
    /// Each statement sees the newest commit. For one snapshot over several
    /// statements begin a transaction with `conn.unchecked_transaction()`.
    ///
    /// # Errors
    /// The closure's own, and those of [`Store::read`] in [`Error::Store`].
    pub async fn read<T, E, F>(&self, closure: F) -> Result<T, E>
    where
        F: FnOnce(&Connection) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        let read = self.inner.db.read(move |conn| Ok(closure(conn))).await;
        read.unwrap_or_else(|error| Err(Error::Store(error).into()))
    }

    /// Applies the migration files that are not applied yet to the app's
    /// database, each in one transaction with its record. Where several
    /// processes start at once, one does it, and the others wait and find it
    /// done.
    ///
    /// It takes a connection of its own, so that writes of the app wait for
    /// each file; do it before they begin.
    ///
    /// # Errors
    /// [`Error::Migrations`]: before the first file runs, what is wrong with any
    /// of them; afterwards, what one of them met. The database is then as it was
    /// before that file.
    #[cfg(feature = "migrations")]
    pub async fn migrate(&self, migrate: impl Into<Migrate>) -> Result<Vec<migrate::Done>> {
        migrate_store(self.db(), migrate).await
    }

    /// Closes the files in order: what was answered is in them, and the `-wal`
    /// and `-shm` files are removed. Every clone is closed with it. Workers that
    /// still run are stopped, and what they run is handed back; shut them down
    /// before to give them time.
    pub async fn close(self) {
        let inner = &*self.inner;
        #[cfg(feature = "jobs")]
        inner.jobs.shutdown_workers(std::time::Duration::ZERO).await;
        // Before the app's database, which the relay holds.
        #[cfg(feature = "pubsub")]
        inner.pubsub.clone().close().await;
        #[cfg(feature = "cache")]
        inner.cache.close().await;
        inner.db.clone().close().await;
    }

    /// The last error in moving published messages to the pub/sub file, which is
    /// tried again. `None` while all is well.
    #[cfg(feature = "pubsub")]
    pub fn relay_error(&self) -> Option<Arc<pubsub::Error>> {
        self.inner.relay.error()
    }
}

/// Runs what waits for the disk and for locks, off the runtime's threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| Error::Stopped)?
}

/// The example of the README is compiled with the tests of this crate.
#[cfg(all(doctest, feature = "cache", feature = "jobs", feature = "pubsub"))]
#[doc = include_str!("../../../README.md")]
struct Readme;
