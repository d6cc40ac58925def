//! Requests to one bucket, each with a limit of time, tried again while that
//! helps.

use std::future::Future;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::path::Path;

use super::super::error::{Result, StorageError};
use super::super::file_info::join;
use super::super::options::DestinationOptions;
use super::super::retry::{AttemptError, RetryPolicy, retry};
use super::super::url::{BucketUrl, Provider, Secrets};
use super::connect::{Store, connect};
use super::errors::RequestError;
use super::response::{self, record};

/// A bucket and a prefix in it.
#[derive(Clone)]
pub(in super::super) struct Client(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) store: Arc<dyn Store>,
    pub(super) kind: Kind,
    pub(super) name: String,
    pub(super) prefix: String,
    pub(super) secrets: Secrets,
    pub(super) retry: RetryPolicy,
    pub(super) timeout: Duration,
    pub(super) storage_class: Option<String>,
    pub(super) part_size: u64,
    pub(super) concurrency: usize,
    /// The provider answered that it does not do conditional writes.
    pub(super) unconditional: AtomicBool,
    /// For a provider that does not delete several objects at once.
    pub(super) one_by_one: Option<AmazonS3Builder>,
    pub(super) deleter: OnceLock<Arc<dyn Store>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    S3,
    Gcs,
    Azure,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Client({})", self.0.name)
    }
}

/// The slowest that a body may go, in bytes a second: large requests get this
/// much more time.
const SLOWEST: u64 = 128 * 1024;

impl Client {
    pub(in super::super) fn new(bucket: BucketUrl, options: &DestinationOptions) -> Result<Self> {
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

    pub(super) fn path(&self, key: &str) -> Result<Path> {
        let path = join(&self.0.prefix, key);
        Path::parse(&path).map_err(|_| {
            let why = "no object can have it: a part of it is empty, `.` or `..`";
            StorageError::setting(format!("the name {path:?}"), why)
        })
    }

    /// For people.
    pub(super) fn name_of(&self, key: &str) -> String {
        join(&self.0.name, key)
    }

    /// Makes one request.
    pub(super) async fn ask<T>(
        &self,
        timeout: Duration,
        request: impl Future<Output = object_store::Result<T>>,
    ) -> Result<(T, response::Recorded), RequestError> {
        self.ask_only(timeout, false, request).await
    }

    pub(super) async fn ask_only<T>(
        &self,
        timeout: Duration,
        create_only: bool,
        request: impl Future<Output = object_store::Result<T>>,
    ) -> Result<(T, response::Recorded), RequestError> {
        let (answer, recorded) = record(timeout, create_only, request).await;
        let error = match answer {
            Some(Ok(done)) => return Ok((done, recorded)),
            Some(Err(error)) => Some(error),
            None => None,
        };
        Err(RequestError { error, recorded })
    }

    pub(super) fn failure(
        &self,
        error: RequestError,
        doing: &'static str,
        key: &str,
    ) -> AttemptError {
        let inner = &self.0;
        error.failure(doing, &self.name_of(key), &inner.name, &inner.secrets)
    }

    /// Makes a small request until it goes.
    pub(super) async fn again<T, F: Future<Output = Result<T, AttemptError>>>(
        &self,
        doing: &'static str,
        key: &str,
        attempt: impl Fn() -> F,
    ) -> Result<T> {
        retry(self.0.retry, doing, || self.name_of(key), attempt).await
    }
}
