//! How a volume is opened.

use std::path::{Component, Path};
#[cfg(feature = "jobs")]
use std::sync::Arc;

#[cfg(feature = "cache")]
use monolite_cache::CacheOptions;
#[cfg(feature = "jobs")]
use monolite_jobs::clock::{Clock, SystemClock};
#[cfg(feature = "pubsub")]
use monolite_pubsub::PubSubOptions;
use monolite_volume::layout::{APP, CACHE, PUBSUB};

use crate::{Error, Result};

/// The settings of one volume.
///
/// ```
/// use monolite::Options;
/// let options = Options::new().database("shop.sqlite3");
/// # let _ = options;
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct Options {
    pub(crate) database: String,
    pub(crate) store: monolite_store::Options,
    #[cfg(feature = "cache")]
    pub(crate) cache: CacheOptions,
    #[cfg(feature = "pubsub")]
    pub(crate) pubsub: PubSubOptions,
    #[cfg(feature = "jobs")]
    pub(crate) jobs_clock: Arc<dyn Clock>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            database: APP.into(),
            store: monolite_store::Options::default(),
            #[cfg(feature = "cache")]
            cache: CacheOptions::default(),
            #[cfg(feature = "pubsub")]
            pubsub: PubSubOptions::default(),
            #[cfg(feature = "jobs")]
            jobs_clock: Arc::new(SystemClock),
        }
    }
}

impl Options {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// File name of the app's database in the directory. Default `app.sqlite3`.
    pub fn database(mut self, name: impl Into<String>) -> Self {
        self.database = name.into();
        self
    }

    /// How the app's database is opened.
    pub fn store(mut self, options: monolite_store::Options) -> Self {
        self.store = options;
        self
    }

    /// The cache, in `cache.sqlite3`.
    #[cfg(feature = "cache")]
    pub fn cache(mut self, options: CacheOptions) -> Self {
        self.cache = options;
        self
    }

    /// Publish and subscribe, in `pubsub.sqlite3`.
    #[cfg(feature = "pubsub")]
    pub fn pubsub(mut self, options: PubSubOptions) -> Self {
        self.pubsub = options;
        self
    }

    /// The clock of the jobs: in tests a
    /// [`ManualClock`](monolite_jobs::clock::ManualClock), which stands still
    /// until it is advanced.
    #[cfg(feature = "jobs")]
    pub fn jobs_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.jobs_clock = clock;
        self
    }

    /// Refuses a directory that is missing, and a name that is no file's in it
    /// or another part's.
    pub(crate) fn check(&self, dir: &Path) -> Result<()> {
        if !dir.is_dir() {
            return Err(Error::MissingDirectory { dir: dir.into() });
        }
        let mut parts = Path::new(&self.database).components();
        let one_name = matches!(
            (parts.next(), parts.next()),
            (Some(Component::Normal(_)), None)
        );
        let lower = self.database.to_lowercase();
        let taken = [CACHE, PUBSUB].iter().any(|name| lower.starts_with(name));
        if !one_name || taken || self.database.ends_with('/') {
            let name = self.database.clone();
            return Err(Error::DatabaseName { name });
        }
        Ok(())
    }
}
