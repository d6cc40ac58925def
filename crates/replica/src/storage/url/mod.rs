//! URLs and variables, and what they come to.

mod azure;
mod bucket;
mod gcs;
mod host;
mod parts;
mod query;
mod s3;
mod secrets;
mod variables;

use std::path::PathBuf;

pub(super) use self::bucket::{BucketUrl, Provider};
use self::parts::{Parts, percent_decode};
pub(super) use self::secrets::Secrets;
use self::variables::Variables;
use super::error::{Result, StorageError};

/// What a URL and the variables say.
pub(super) enum Setting {
    Folder(PathBuf),
    Bucket(Box<BucketUrl>),
}

/// The prefix in a bucket that only variables name.
const DEFAULT_PREFIX: &str = "monolite";
const SCHEMES: [&str; 6] = ["s3", "gs", "az", "abs", "azure", "file"];

pub(super) fn from_variables(var: &dyn Fn(&str) -> Option<String>) -> Result<Option<Setting>> {
    match Variables(var).get("BUCKET_NAME") {
        Some(bucket) => {
            let parts = Parts::of_bucket(&bucket, DEFAULT_PREFIX);
            let parts = parts.map_err(|why| StorageError::setting("BUCKET_NAME", why))?;
            bucket_url(&parts, var).map(Some)
        }
        None => Ok(None),
    }
}

/// The same, as an argument of a command that is shown, without secrets.
pub(super) fn again(url: &str) -> Option<String> {
    let url = url.trim();
    match url.contains("://") {
        true => parts::again(url),
        false => Some(url.into()),
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
        scheme if SCHEMES.contains(&scheme) => bucket_url(&Parts::parse(url, scheme, rest)?, var),
        other => refuse(match query::nearest(other, &SCHEMES) {
            Some(nearest) => format!("there is no {other}://; did you mean {nearest}://?"),
            None => format!("there is no {other}://; there are s3, gs, az and file"),
        }),
    }
}

fn bucket_url(parts: &Parts, var: &dyn Fn(&str) -> Option<String>) -> Result<Setting> {
    let var = Variables(var);
    let bucket = match parts.scheme.as_str() {
        "s3" => s3::bucket(parts, &var),
        "gs" => gcs::bucket(parts, &var),
        _ => azure::bucket(parts, &var),
    }?;
    Ok(Setting::Bucket(Box::new(bucket)))
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
mod tests;
