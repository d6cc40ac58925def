//! URLs and variables, and what they come to.

mod azure;
mod gcs;
mod host;
mod parts;
mod query;
mod s3;
mod secrets;
mod variables;

use std::path::PathBuf;

use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;

use self::parts::{Parts, percent_decode};
use self::query::Query;
pub(super) use self::secrets::Secrets;
use self::variables::Variables;
use super::StorageError;
use super::place::Result;

/// What a URL and the variables say.
pub(super) enum Setting {
    Folder(PathBuf),
    Objects(Box<Bucket>),
}

/// A bucket, and how to reach it.
pub(super) struct Bucket {
    pub(super) scheme: &'static str,
    pub(super) bucket: String,
    pub(super) prefix: String,
    pub(super) provider: Provider,
    pub(super) secrets: Secrets,
    pub(super) http: Http,
    pub(super) storage_class: Option<String>,
    /// Bytes of a part of a large file.
    pub(super) part_size: u64,
    /// Parts that are under way at once.
    pub(super) concurrency: usize,
}

pub(super) enum Provider {
    S3(Box<AmazonS3Builder>),
    Gcs(Box<GoogleCloudStorageBuilder>),
    Azure(Box<MicrosoftAzureBuilder>),
}

/// How requests are made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Http {
    pub(super) plain: bool,
    pub(super) skip_verify: bool,
    /// Tigris answers from the nearest region unless it is told not to.
    pub(super) tigris: bool,
}

/// The prefix in a bucket that only variables name.
const DEFAULT_PREFIX: &str = "monolite";
const PART_SIZE: u64 = 8 << 20;
/// What S3 demands of all parts but the last, and what is sane.
const PART_SIZES: std::ops::RangeInclusive<u64> = 5 << 20..=1 << 30;
const CONCURRENCY: usize = 2;
const SCHEMES: [&str; 6] = ["s3", "gs", "az", "abs", "azure", "file"];

impl Bucket {
    fn new(scheme: &'static str, bucket: &str, prefix: String, provider: Provider) -> Self {
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

    fn take_sizes(&mut self, query: &Query<'_>) -> Result<()> {
        self.storage_class = query.get("storage-class").map(str::to_owned);
        if let Some(size) = query.number("part-size", PART_SIZES)? {
            self.part_size = size;
        }
        if let Some(parts) = query.number("concurrency", 1..=64)? {
            self.concurrency = usize::try_from(parts).unwrap_or(CONCURRENCY);
        }
        Ok(())
    }

    pub(super) fn name(&self) -> String {
        let name = format!("{}://{}", self.scheme, self.bucket);
        super::file_info::join(&name, &self.prefix)
    }
}

pub(super) fn from_variables(var: &dyn Fn(&str) -> Option<String>) -> Result<Option<Setting>> {
    match Variables(var).get("BUCKET_NAME") {
        Some(bucket) => {
            let parts = Parts::of_bucket(&bucket, DEFAULT_PREFIX);
            let parts = parts.map_err(|why| StorageError::setting("BUCKET_NAME", why))?;
            objects(&parts, var).map(Some)
        }
        None => Ok(None),
    }
}

pub(super) fn parse(url: &str, var: &dyn Fn(&str) -> Option<String>) -> Result<Setting> {
    let url = url.trim();
    let Some((scheme, rest)) = url.split_once("://") else {
        return folder(url);
    };
    let refuse = |why: String| Err(StorageError::setting(parts::shown(url), why));
    match scheme.to_ascii_lowercase().as_str() {
        "file" => file(url, rest),
        "http" | "https" => refuse(
            "this is an endpoint; write s3://BUCKET/PREFIX?endpoint=… with it, or set \
             AWS_ENDPOINT_URL_S3"
                .into(),
        ),
        scheme if SCHEMES.contains(&scheme) => objects(&Parts::parse(url, scheme, rest)?, var),
        other => refuse(match query::nearest(other, &SCHEMES) {
            Some(near) => format!("there is no {other}://; did you mean {near}://?"),
            None => format!("there is no {other}://; there are s3, gs, az and file"),
        }),
    }
}

fn objects(parts: &Parts, var: &dyn Fn(&str) -> Option<String>) -> Result<Setting> {
    let var = Variables(var);
    let bucket = match parts.scheme.as_str() {
        "s3" => s3::bucket(parts, &var),
        "gs" => gcs::bucket(parts, &var),
        _ => azure::bucket(parts, &var),
    }?;
    Ok(Setting::Objects(Box::new(bucket)))
}

/// A plain path.
fn folder(path: &str) -> Result<Setting> {
    let refuse = |why: &str| Err(StorageError::setting(format!("{path:?}"), why));
    let scheme = path.split(':').next().filter(|_| path.contains(':'));
    if path.is_empty() {
        return refuse("give a folder, or a URL as s3://BUCKET/PREFIX");
    }
    if scheme.is_some_and(|scheme| SCHEMES.contains(&scheme)) {
        return refuse("a URL has two slashes after its scheme: s3://BUCKET/PREFIX");
    }
    if path.starts_with('~') {
        return refuse("`~` stands for nothing here; write the whole path");
    }
    if path.contains('\0') {
        return refuse("a path has no NUL in it");
    }
    Ok(Setting::Folder(path.into()))
}

fn file(url: &str, rest: &str) -> Result<Setting> {
    let refuse = |why: &str| Err(StorageError::setting(parts::shown(url), why));
    if rest.contains(['?', '#']) {
        return refuse("a file URL has neither a query nor a fragment; write ? as %3F, # as %23");
    }
    let path = match rest.find('/') {
        Some(at) if ["", "localhost"].contains(&&rest[..at]) => &rest[at..],
        _ => return refuse("a file URL has three slashes: file:///PATH"),
    };
    match percent_decode(path) {
        Some(path) => folder(&path),
        None => refuse("its percent signs are wrong; write % as %25"),
    }
}

#[cfg(test)]
#[path = "url/tests.rs"]
mod tests;

#[cfg(test)]
#[path = "url/wrong_tests.rs"]
mod wrong_tests;
