//! What is asked of the store that holds replicas: a bucket or a folder.

use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use object_store::UpdateVersion;

use super::body::Body;
use super::error::Result;
use super::file_info::{FileInfo, Layout};
use super::permit::Permit;
use super::upload_body::UploadBody;

/// Called with the number of bytes sent so far.
pub(super) type OnProgress = Arc<dyn Fn(u64) + Send + Sync>;

/// What the methods of [`Bucket`] return.
pub(super) type Reply<'a, T> = BoxFuture<'a, Result<T>>;

/// A bucket or a folder. Keys are relative to the destination's prefix.
pub(super) trait Bucket: Debug + Send + Sync {
    /// How the folders of levels are named.
    fn layout(&self) -> Layout;

    /// What is right under `folder`.
    fn entries<'a>(&'a self, folder: &'a str) -> Reply<'a, Entries>;

    /// The files of a database, of one level or of all, in any order.
    fn list<'a>(&'a self, database: &'a str, level: Option<u8>) -> Reply<'a, Vec<FileInfo>>;

    /// Stores a file that has no name there yet; overwrites nothing.
    fn put(&self, put: Put, body: UploadBody) -> Reply<'_, Created>;

    /// Size in bytes and time in milliseconds since 1970 of a file.
    fn head<'a>(&'a self, key: &'a str) -> Reply<'a, (u64, i64)>;

    /// A file's content.
    fn get<'a>(&'a self, key: &'a str) -> Reply<'a, Body>;

    /// A part of a file; shorter if the file ends before.
    fn get_range<'a>(&'a self, key: &'a str, range: Range<u64>) -> Reply<'a, Bytes>;

    /// Deletes files; one that is not there is no error.
    fn delete<'a>(&'a self, keys: Vec<String>, permit: Option<&'a dyn Permit>) -> Reply<'a, ()>;

    /// A file of at most `limit` bytes, with its version; `None`: there is none.
    fn get_versioned<'a>(&'a self, key: &'a str, limit: u64) -> Reply<'a, Option<Versioned>>;

    /// Writes a small file if its version is still the expected one; with
    /// `None`, if it is not there.
    fn put_if<'a>(
        &'a self,
        key: &'a str,
        bytes: Bytes,
        expected: Option<&'a Version>,
    ) -> Reply<'a, ConditionalPut>;

    /// A version that no file has, for a store that may ignore conditions.
    fn impossible_version(&self) -> Option<Version> {
        None
    }
}

/// What is right under a folder.
#[derive(Debug, Default)]
pub(super) struct Entries {
    /// The names of the folders.
    pub(super) folders: Vec<String>,
    /// The name of a file that is not hidden, if there is one.
    pub(super) file: Option<String>,
}

impl Entries {
    pub(super) fn add_file(&mut self, name: &str) {
        if self.file.is_none() && !name.is_empty() && !name.starts_with('.') {
            self.file = Some(name.into());
        }
    }
}

/// A write that overwrites nothing.
#[derive(Clone)]
pub(super) struct Put {
    pub(super) key: String,
    /// Of the content, in milliseconds since 1970.
    pub(super) timestamp_ms: i64,
    pub(super) on_progress: OnProgress,
    pub(super) permit: Option<Arc<dyn Permit>>,
}

/// The result of a write that overwrites nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Created {
    Yes,
    /// Something with this name was there, maybe from a try whose answer was
    /// lost.
    Exists,
}

/// Tells one content of a file from another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Version {
    Object(UpdateVersion),
    Content(Bytes),
}

/// A small file with its version.
#[derive(Debug)]
pub(super) struct Versioned {
    pub(super) bytes: Bytes,
    pub(super) version: Version,
    /// For how long it has been unchanged by the provider's own clock, if it
    /// has one.
    pub(super) age: Option<Duration>,
}

/// The result of a write that replaces one version only.
#[derive(Debug)]
pub(super) enum ConditionalPut {
    /// Written; this is its version now.
    Done(Version),
    /// There is another version, or none, or one where none was expected.
    Conflict,
}
