//! From settings to a client.

use std::sync::Arc;
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::list::PaginatedListStore;
use object_store::multipart::MultipartStore;
use object_store::{ClientOptions, ObjectStore, RetryConfig};
use reqwest::header::{HeaderMap, HeaderValue};

use super::super::error::{Result, StorageError};
use super::super::url::{BucketUrl, Provider};
use super::response::{RecordingConnector, in_one_line};

/// All that is asked of a bucket.
pub(super) trait Store: ObjectStore + PaginatedListStore + MultipartStore {}
impl<T: ObjectStore + PaginatedListStore + MultipartStore> Store for T {}

/// A client, and how to make one more that deletes one object at a time.
pub(super) struct Connected {
    pub(super) store: Arc<dyn Store>,
    pub(super) one_by_one: Option<AmazonS3Builder>,
}

pub(super) fn connect(bucket: &BucketUrl, timeout: Duration) -> Result<Connected> {
    // Whoever is first in the process decides; another's choice is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();

    let http = &bucket.http;
    let options = ClientOptions::new()
        .with_allow_http(http.plain)
        .with_allow_invalid_certificates(http.skip_verify)
        // A small container may have none, and needs none without TLS.
        .with_no_system_certificates(http.plain)
        .with_connect_timeout(timeout.min(Duration::from_secs(5)))
        // We time requests ourselves: their size decides.
        .with_timeout_disabled();
    let options = match http.tigris {
        true => options.with_default_headers(consistent()),
        false => options,
    };
    // We try again ourselves: we know what may be done twice.
    let retry = RetryConfig {
        max_retries: 0,
        retry_timeout: Duration::ZERO,
        ..RetryConfig::default()
    };

    let mut one_by_one = None;
    let store: object_store::Result<Arc<dyn Store>> = match &bucket.provider {
        Provider::S3(builder) => {
            let builder = builder
                .as_ref()
                .clone()
                .with_client_options(options)
                .with_retry(retry)
                .with_http_connector(RecordingConnector);
            one_by_one = Some(builder.clone().with_disable_bulk_delete(true));
            builder.build().map(|store| Arc::new(store) as _)
        }
        Provider::Gcs(builder) => builder
            .as_ref()
            .clone()
            .with_client_options(options)
            .with_retry(retry)
            .with_http_connector(RecordingConnector)
            .build()
            .map(|store| Arc::new(store) as _),
        Provider::Azure(builder) => builder
            .as_ref()
            .clone()
            .with_client_options(options)
            .with_retry(retry)
            .with_http_connector(RecordingConnector)
            .build()
            .map(|store| Arc::new(store) as _),
    };
    let store = store.map_err(|error| refused(bucket, &error))?;
    Ok(Connected { store, one_by_one })
}

/// Has Tigris answer from where the last write is.
fn consistent() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("x-tigris-consistent", HeaderValue::from_static("true"));
    headers
}

fn refused(bucket: &BucketUrl, error: &object_store::Error) -> StorageError {
    let answer = bucket.secrets.redact(&in_one_line(error));
    let why = match answer.contains("CA certificates") {
        true => "this machine has no CA certificates; install the package ca-certificates".into(),
        false => answer,
    };
    StorageError::setting(bucket.name(), why)
}
