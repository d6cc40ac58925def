//! A bucket as its URL and the variables describe it.

use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;

use super::query::Query;
use super::secrets::Secrets;
use crate::storage::error::Result;
use crate::storage::file_info::join;

/// A bucket, and how to reach it.
pub(in super::super) struct BucketUrl {
    pub(in super::super) scheme: &'static str,
    pub(in super::super) bucket: String,
    pub(in super::super) prefix: String,
    pub(in super::super) provider: Provider,
    pub(in super::super) secrets: Secrets,
    pub(in super::super) http: Http,
    pub(in super::super) storage_class: Option<String>,
    /// Bytes of a part of a large file.
    pub(in super::super) part_size: u64,
    /// Parts that are under way at once.
    pub(in super::super) concurrency: usize,
}

pub(in super::super) enum Provider {
    S3(Box<AmazonS3Builder>),
    Gcs(Box<GoogleCloudStorageBuilder>),
    Azure(Box<MicrosoftAzureBuilder>),
}

/// How requests are made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in super::super) struct Http {
    pub(in super::super) plain: bool,
    pub(in super::super) skip_verify: bool,
    /// Whether it is Tigris, which answers from the nearest region unless a header
    /// forbids that.
    pub(in super::super) tigris: bool,
}

const PART_SIZE: u64 = 8 << 20;
/// What S3 demands of all parts but the last, and what is sane.
const PART_SIZES: std::ops::RangeInclusive<u64> = 5 << 20..=1 << 30;
const CONCURRENCY: usize = 2;
impl BucketUrl {
    pub(super) fn new(
        scheme: &'static str,
        bucket: &str,
        prefix: String,
        provider: Provider,
    ) -> Self {
        Self {
            scheme,
            bucket: bucket.into(),
            prefix,
            provider,
            secrets: Secrets::default(),
            http: Http::default(),
            storage_class: None,
            part_size: PART_SIZE,
            concurrency: CONCURRENCY,
        }
    }

    pub(super) fn take_sizes(&mut self, query: &Query<'_>) -> Result<()> {
        self.storage_class = query.get("storage-class").map(str::to_owned);
        if let Some(size) = query.number("part-size", PART_SIZES)? {
            self.part_size = size;
        }
        if let Some(parts) = query.number("concurrency", 1..=64)? {
            self.concurrency = usize::try_from(parts).unwrap_or(CONCURRENCY);
        }
        Ok(())
    }

    pub(in super::super) fn name(&self) -> String {
        let name = format!("{}://{}", self.scheme, self.bucket);
        join(&name, &self.prefix)
    }
}
