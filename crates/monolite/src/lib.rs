//! A web app's stack in one SQLite volume.
//!
//! [`Monolite::open`] takes the directory of a volume and gives a database, a
//! cache, background jobs and publish/subscribe, all of them plain SQLite
//! files in it. Two processes that open the same directory share everything.
//!
//! | part | file | lost with the file |
//! |---|---|---|
//! | [`db`](Monolite::db) | `app.sqlite3` | your data |
//! | [`jobs`](Monolite::jobs) | `app.sqlite3`: enqueueing is part of your transactions | jobs |
//! | [`cache`](Monolite::cache) | `cache.sqlite3` | nothing; it is made anew |
//! | [`pubsub`](Monolite::pubsub) | `pubsub.sqlite3` | messages of the last hour |
//!
//! ```
//! use monolite::jobs::Job;
//! use monolite::{EntryOptions, Monolite};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize)]
//! struct Welcome { name: String }
//! impl Job for Welcome { const KIND: &'static str = "welcome"; }
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! # let data = dir.path();
//! let app = Monolite::open(data).await?;
//! app.transaction(|tx| {
//!     tx.execute_batch("CREATE TABLE user (name TEXT NOT NULL) STRICT")?;
//!     tx.execute("INSERT INTO user VALUES (?1)", ["Ada"])?;
//!     // Both with the commit, or not at all.
//!     tx.enqueue(&Welcome { name: "Ada".into() })?;
//!     tx.publish("users", "Ada is here")
//! })
//! .await?;
//! app.cache().set("greeting", &"hello", &EntryOptions::new()).await?;
//! app.close().await;
//! # Ok(()) }
//! ```

mod error;
#[cfg(feature = "migrations")]
mod migrations;
mod options;
mod transaction;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub use monolite_cache as cache;
pub use monolite_jobs as jobs;
#[cfg(feature = "migrations")]
pub use monolite_migrate as migrate;
pub use monolite_pubsub as pubsub;
pub use monolite_store as store;

pub use monolite_cache::{Cache, CacheOptions, EntryOptions};
pub use monolite_jobs::{Context, Failure, Job, Jobs, NewJob, Worker};
pub use monolite_pubsub::{Event, PubSub, PubSubOptions, Subscriber};
pub use monolite_store::{Store, rusqlite};

pub use crate::error::{Error, Result};
#[cfg(feature = "migrations")]
pub use crate::migrations::{Files, Migrate, migrate_store};
pub use crate::options::Options;
pub use crate::transaction::Transaction;

/// Puts the migration files of a directory into the program: `0001_add_posts.sql`
/// and so on, named relative to the package's `Cargo.toml`. Give them to
/// [`Monolite::migrate`] or [`migrate_store`].
///
/// The compiler looks at the directory when it compiles the line with the
/// macro; a changed file has it compiled again, a new one only if `build.rs`
/// prints `cargo::rerun-if-changed=migrations`. A program built without
/// optimisation notices by itself what it misses, and says so.
///
/// ```
/// use monolite::{Monolite, migrate::files::Embedded};
///
/// const MIGRATIONS: Embedded = monolite::migrations!("tests/migrations");
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// # let data = dir.path();
/// let app = Monolite::open(data).await?;
/// let done = app.migrate(MIGRATIONS).await?;
/// assert_eq!(done[0].applied.name, "0001_add_posts");
/// app.transaction(|tx| Ok(tx.execute("INSERT INTO post (title) VALUES ('Hello')", [])?)).await?;
/// assert!(app.migrate(MIGRATIONS).await?.is_empty());
/// # app.close().await;
/// # Ok(()) }
/// ```
#[cfg(feature = "migrations")]
pub use monolite_macros::migrations;

/// A handle on one volume; cheap to clone.
///
/// A process that forks opens it anew in the child: what was opened before
/// says so ([`monolite_store::Error::Forked`]).
#[derive(Debug, Clone)]
pub struct Monolite {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    db: Store,
    cache: Cache,
    jobs: Jobs,
    pubsub: PubSub,
    /// Carries what is published in transactions over to the other file.
    relay: Arc<pubsub::Relay>,
}

impl Monolite {
    /// Opens the files in `dir`, making those that are missing. The directory
    /// itself must be there: a volume that was not mounted is not replaced by
    /// a directory that nobody keeps.
    ///
    /// # Errors
    /// [`Error::MissingDirectory`], and those of each part.
    pub async fn open(dir: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(dir, Options::default()).await
    }

    /// As [`Monolite::open`], with settings.
    ///
    /// # Errors
    /// As [`Monolite::open`]; [`Error::AppName`].
    pub async fn open_with(dir: impl AsRef<Path>, options: Options) -> Result<Self> {
        let dir = dir.as_ref().to_path_buf();
        let jobs_clock = Arc::clone(&options.clock);
        // Opening waits for the disk and for locks: not on the runtime.
        let opening = tokio::task::spawn_blocking(move || options.open(&dir));
        let (db, cache, pubsub) = opening.await.map_err(|_| Error::Stopped)??;
        let jobs = Jobs::open_with_clock(&db, jobs_clock).await?;
        let relay = Arc::new(pubsub.relay(&db).await?);
        Ok(Self {
            inner: Arc::new(Inner {
                db,
                cache,
                jobs,
                pubsub,
                relay,
            }),
        })
    }

    /// The app's database.
    pub fn db(&self) -> &Store {
        &self.inner.db
    }

    /// The cache.
    pub fn cache(&self) -> &Cache {
        &self.inner.cache
    }

    /// The background jobs.
    pub fn jobs(&self) -> &Jobs {
        &self.inner.jobs
    }

    /// Publish and subscribe.
    pub fn pubsub(&self) -> &PubSub {
        &self.inner.pubsub
    }

    /// Runs `closure` in one write transaction on the app's database, in which
    /// it can also enqueue jobs and publish: all of it happens with the commit,
    /// or nothing.
    ///
    /// # Errors
    /// As [`Store::write`].
    pub async fn transaction<T, F>(&self, closure: F) -> store::Result<T>
    where
        F: FnOnce(&Transaction<'_>) -> store::Result<T> + Send + 'static,
        T: Send + 'static,
    {
        let jobs = self.inner.jobs.clone();
        self.inner
            .db
            .write(move |conn| closure(&Transaction::new(conn, jobs.now())))
            .await
    }

    /// The same volume with other jobs: in tests, those of
    /// [`WorkerBuilder::inline`](monolite_jobs::WorkerBuilder::inline).
    #[must_use]
    pub fn with_jobs(self, jobs: Jobs) -> Self {
        Self {
            inner: Arc::new(Inner {
                db: self.inner.db.clone(),
                cache: self.inner.cache.clone(),
                jobs,
                pubsub: self.inner.pubsub.clone(),
                relay: Arc::clone(&self.inner.relay),
            }),
        }
    }

    /// Closes the files in order: what was answered is in them, and what they
    /// have beside them is cleared away. Every clone is closed with it. Workers
    /// that still run are stopped, and what they run is handed back; shut them
    /// down before to give them time.
    pub async fn close(self) {
        self.inner.jobs.shutdown_workers(Duration::ZERO).await;
        let Inner { db, cache, .. } = &*self.inner;
        // First: the relay holds the app's database.
        self.inner.pubsub.clone().close().await;
        cache.close().await;
        db.clone().close().await;
    }

    /// What went wrong last in carrying published messages over; it is tried
    /// again. `None` while all is well.
    pub fn relay_error(&self) -> Option<Arc<pubsub::Error>> {
        self.inner.relay.error()
    }
}

/// The example of the README is compiled with the tests of this crate.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
