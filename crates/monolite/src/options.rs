//! How a volume is opened.

use std::path::{Component, Path};
use std::sync::Arc;

use monolite_cache::{Cache, CacheOptions};
use monolite_jobs::clock::{Clock, SystemClock};
use monolite_pubsub::{PubSub, PubSubOptions};
use monolite_store::Store;

use crate::{Error, Result};

/// The settings of one volume.
///
/// ```
/// use monolite::{CacheOptions, Options};
/// let options = Options {
///     app: "shop.sqlite3".into(),
///     cache: CacheOptions::new().bound_bytes(512 << 20),
///     ..Options::default()
/// };
/// # let _ = options;
/// ```
#[derive(Debug, Clone)]
pub struct Options {
    /// Name of the app's database in the directory. Default `app.sqlite3`.
    pub app: String,
    /// How it is opened.
    pub db: monolite_store::Options,
    /// The cache, in `cache.sqlite3`.
    pub cache: CacheOptions,
    /// Publish and subscribe, in `pubsub.sqlite3`.
    pub pubsub: PubSubOptions,
    /// What time it is for the jobs.
    pub clock: Arc<dyn Clock>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            app: "app.sqlite3".into(),
            db: monolite_store::Options::default(),
            cache: CacheOptions::default(),
            pubsub: PubSubOptions::default(),
            clock: Arc::new(SystemClock),
        }
    }
}

const CACHE: &str = "cache.sqlite3";
const PUBSUB: &str = "pubsub.sqlite3";

impl Options {
    /// Opens the files. Blocks this thread.
    pub(crate) fn open(self, dir: &Path) -> Result<(Store, Cache, PubSub)> {
        if !dir.is_dir() {
            return Err(Error::MissingDirectory { dir: dir.into() });
        }
        let mut parts = Path::new(&self.app).components();
        let one_name = matches!(
            (parts.next(), parts.next()),
            (Some(Component::Normal(_)), None)
        );
        let lower = self.app.to_lowercase();
        let taken = [CACHE, PUBSUB].iter().any(|name| lower.starts_with(name));
        if !one_name || taken || self.app.ends_with('/') {
            return Err(Error::AppName { name: self.app });
        }
        let db = Store::open(dir.join(self.app), self.db)?;
        let cache = Cache::open(dir.join(CACHE), self.cache)?;
        let pubsub = PubSub::open(dir.join(PUBSUB), self.pubsub)?;
        Ok((db, cache, pubsub))
    }
}
