//! What a request asks for, read off its head.

use std::fmt;

use hyper::{Method, Uri, header::HeaderMap};

/// An operation of S3, by its name there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum Operation {
    GetObject,
    HeadObject,
    PutObject,
    CopyObject,
    DeleteObject,
    DeleteObjects,
    ListObjects,
    CreateMultipartUpload,
    UploadPart,
    CompleteMultipartUpload,
    AbortMultipartUpload,
    Other,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What a request asks for.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) operation: Operation,
    pub(super) method: String,
    /// Of a listing, the prefix.
    pub(super) key: String,
    pub(super) query: String,
    pub(super) range: Option<String>,
}

impl Asked {
    /// Paths are `/bucket/key`.
    pub(super) fn read(method: &Method, uri: &Uri, headers: &HeaderMap) -> Self {
        let path = uri.path().trim_start_matches('/');
        let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
        let query = uri.query().unwrap_or("");
        let parameter = |name: &str| {
            let mut pairs = query.split('&');
            pairs.find_map(|pair| {
                let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                (key == name).then(|| decoded(value))
            })
        };
        let has = |name| parameter(name).is_some();
        let copies = headers.contains_key("x-amz-copy-source");
        let operation = match (method.as_str(), key.is_empty()) {
            ("GET", true) if !bucket.is_empty() && !has("location") && !has("uploads") => {
                Operation::ListObjects
            }
            ("POST", true) if has("delete") => Operation::DeleteObjects,
            ("GET", false) => Operation::GetObject,
            ("HEAD", false) => Operation::HeadObject,
            ("PUT", false) if has("partNumber") => Operation::UploadPart,
            ("PUT", false) if copies => Operation::CopyObject,
            ("PUT", false) => Operation::PutObject,
            ("POST", false) if has("uploads") => Operation::CreateMultipartUpload,
            ("POST", false) if has("uploadId") => Operation::CompleteMultipartUpload,
            ("DELETE", false) if has("uploadId") => Operation::AbortMultipartUpload,
            ("DELETE", false) => Operation::DeleteObject,
            _ => Operation::Other,
        };
        let key = match operation {
            Operation::ListObjects => parameter("prefix").unwrap_or_default(),
            _ => decoded(key),
        };
        let range = headers.get("range").and_then(|range| range.to_str().ok());
        Self {
            operation,
            method: method.as_str().to_owned(),
            key,
            query: query.to_owned(),
            range: range.map(str::to_owned),
        }
    }
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        let byte = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        (rest, _) = match (first, byte) {
            (b'%', Some(byte)) => (after.get(2..).unwrap_or_default(), bytes.push(byte)),
            (first, _) => (after, bytes.push(*first)),
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
