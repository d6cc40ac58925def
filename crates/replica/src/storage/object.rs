//! A replica in a bucket: S3 and compatibles, Google Cloud Storage, Azure.

mod answer;
mod connect;
mod delete;
mod download;
mod failure;
mod list;
mod upload;
mod versioned;

use std::future::Future;
use std::ops::Range;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use object_store::aws::AmazonS3Builder;
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectStoreExt};

use self::answer::listen;
use self::connect::{Store, connect};
use self::failure::Trouble;
use super::StorageError;
use super::body::Body;
use super::destination::DestinationOptions;
use super::file_info::join;
use super::place::{Created, Order, Result};
use super::retry::{Failure, RetryPolicy, retry};
use super::source::Source;
use super::url::{Bucket, Provider, Secrets};

/// A bucket and a prefix in it.
#[derive(Clone)]
pub(super) struct Objects(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    kind: Kind,
    name: String,
    prefix: String,
    secrets: Secrets,
    retry: RetryPolicy,
    timeout: Duration,
    storage_class: Option<String>,
    part_size: u64,
    concurrency: usize,
    /// The provider said that it does not do conditional writes.
    unconditional: AtomicBool,
    /// For a provider that does not delete several objects at once.
    one_by_one: Option<AmazonS3Builder>,
    deleter: OnceLock<Arc<dyn Store>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    S3,
    Gcs,
    Azure,
}

impl std::fmt::Debug for Objects {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Objects({})", self.0.name)
    }
}

/// The slowest that a body may go, in bytes a second: large requests get this
/// much more time.
const SLOWEST: u64 = 128 * 1024;

impl Objects {
    pub(super) fn new(bucket: Bucket, options: &DestinationOptions) -> Result<Self> {
        let connected = connect(&bucket, options.request_timeout)?;
        Ok(Self(Arc::new(Inner {
            store: connected.store,
            kind: match bucket.provider {
                Provider::S3(_) => Kind::S3,
                Provider::Gcs(_) => Kind::Gcs,
                Provider::Azure(_) => Kind::Azure,
            },
            name: bucket.name(),
            prefix: bucket.prefix,
            secrets: bucket.secrets,
            retry: options.retry,
            timeout: options.request_timeout,
            storage_class: bucket.storage_class,
            part_size: bucket.part_size,
            concurrency: bucket.concurrency,
            unconditional: AtomicBool::new(false),
            one_by_one: connected.one_by_one,
            deleter: OnceLock::new(),
        })))
    }

    /// How long a request with a body of `size` bytes may take.
    pub(super) fn timeout(&self, size: u64) -> Duration {
        self.0.timeout + Duration::from_millis(size * 1000 / SLOWEST)
    }

    fn path(&self, key: &str) -> Result<Path> {
        let path = join(&self.0.prefix, key);
        Path::parse(&path).map_err(|_| {
            let why = "no object can have it: a part of it is empty, `.` or `..`";
            StorageError::setting(format!("the name {path:?}"), why)
        })
    }

    /// For people.
    fn name_of(&self, key: &str) -> String {
        join(&self.0.name, key)
    }

    /// Makes one request.
    async fn ask<T>(
        &self,
        timeout: Duration,
        request: impl Future<Output = object_store::Result<T>>,
    ) -> Result<(T, answer::Heard), Trouble> {
        self.ask_only(timeout, false, request).await
    }

    async fn ask_only<T>(
        &self,
        timeout: Duration,
        create_only: bool,
        request: impl Future<Output = object_store::Result<T>>,
    ) -> Result<(T, answer::Heard), Trouble> {
        let (answer, heard) = listen(timeout, create_only, request).await;
        let error = match answer {
            Some(Ok(done)) => return Ok((done, heard)),
            Some(Err(error)) => Some(error),
            None => None,
        };
        Err(Trouble { error, heard })
    }

    fn failure(&self, trouble: Trouble, doing: &'static str, key: &str) -> Failure {
        let inner = &self.0;
        trouble.failure(doing, &self.name_of(key), &inner.name, &inner.secrets)
    }

    /// Makes a small request until it goes.
    async fn again<T, F: Future<Output = Result<T, Failure>>>(
        &self,
        doing: &'static str,
        key: &str,
        attempt: impl Fn() -> F,
    ) -> Result<T> {
        retry(self.0.retry, doing, || self.name_of(key), attempt).await
    }

    pub(super) async fn create(&self, order: Order, source: Source) -> Result<Created> {
        upload::create(self, order, source).await
    }

    pub(super) async fn stat(&self, key: &str) -> Result<(u64, i64)> {
        let path = self.path(key)?;
        let found = self.again("look at", key, async || {
            let found = self.ask(self.0.timeout, self.0.store.head(&path)).await;
            found.map_err(|trouble| self.failure(trouble, "look at", key))
        });
        let (found, _) = found.await?;
        Ok((found.size, found.last_modified.timestamp_millis()))
    }

    pub(super) async fn open(&self, key: &str) -> Result<Body> {
        download::open(self.clone(), key).await
    }

    pub(super) async fn read(&self, key: &str, range: Range<u64>) -> Result<Bytes> {
        let path = self.path(key)?;
        let size = range.end.saturating_sub(range.start);
        if size == 0 {
            return Ok(Bytes::new());
        }
        let timeout = self.timeout(size);
        self.again("read", key, async || {
            let options = GetOptions {
                range: Some(GetRange::Bounded(range.clone())),
                ..GetOptions::default()
            };
            let read = async { self.0.store.get_opts(&path, options).await?.bytes().await };
            match self.ask(timeout, read).await {
                Ok((bytes, _)) => Ok(bytes),
                // The file ends before.
                Err(trouble) if trouble.status() == 416 => Ok(Bytes::new()),
                Err(trouble) => Err(self.failure(trouble, "read", key)),
            }
        })
        .await
    }
}
