//! What the two kinds of places have in common.

use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use object_store::UpdateVersion;

use super::StorageError;
use super::body::Body;
use super::file_info::{FileInfo, Layout};
use super::folder::Folder;
use super::object::Objects;
use super::source::Source;

pub(super) type Result<T, E = StorageError> = std::result::Result<T, E>;

/// More than what a local disk takes for a rename.
pub(super) const QUICK: Duration = Duration::from_secs(1);

/// Told how many bytes are sent so far.
pub(super) type Sent = Arc<dyn Fn(u64) + Send + Sync>;

/// Asked before each try of each write, so that nobody writes who must not.
///
/// A [`Lease`](super::Lease) is one.
pub trait Permit: Send + Sync {
    /// Returns when a write may begin that takes at most `within`.
    ///
    /// # Errors
    /// It may not: the write fails with this.
    fn permit(&self, within: Duration) -> Permission<'_>;
}

/// What [`Permit::permit`] returns.
pub type Permission<'a> = Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>>;

/// A write that overwrites nothing.
#[derive(Clone)]
pub(super) struct Order {
    pub(super) key: String,
    /// Of the content.
    pub(super) timestamp_ms: i64,
    pub(super) sent: Sent,
    pub(super) permit: Option<Arc<dyn Permit>>,
}

pub(super) async fn permitted(permit: Option<&dyn Permit>, within: Duration) -> Result<()> {
    match permit {
        Some(permit) => permit.permit(within).await,
        None => Ok(()),
    }
}

/// A bucket or a folder. Keys are relative to the destination's prefix.
#[derive(Debug)]
pub(super) enum Place {
    Folder(Folder),
    Objects(Objects),
}

/// What became of a write that overwrites nothing.
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
    /// For how long it has been as it is by the provider's own clock, if it
    /// has one.
    pub(super) age: Option<Duration>,
}

/// What became of a write that replaces one version only.
#[derive(Debug)]
pub(super) enum Swapped {
    Yes(Version),
    /// There is another version, or none, or one where none was expected.
    Conflict,
}

impl Place {
    pub(super) fn layout(&self) -> Layout {
        match self {
            Self::Folder(_) => Layout::Folder,
            Self::Objects(_) => Layout::Objects,
        }
    }

    /// The names of what has children right under `folder`.
    pub(super) async fn children(&self, folder: &str) -> Result<Vec<String>> {
        match self {
            Self::Folder(place) => place.children(folder).await,
            Self::Objects(place) => place.children(folder).boxed().await,
        }
    }

    /// The files of a database, of one level or of all.
    pub(super) async fn list(&self, database: &str, level: Option<u8>) -> Result<Vec<FileInfo>> {
        let mut files = match self {
            Self::Folder(place) => place.list(database, level).await?,
            Self::Objects(place) => place.list(database, level).boxed().await?,
        };
        files.sort_unstable_by_key(|file| (file.level, file.min, file.max, file.sealed));
        Ok(files)
    }

    pub(super) async fn create(&self, order: Order, source: Source) -> Result<Created> {
        match self {
            Self::Folder(place) => place.create(order, source).await,
            Self::Objects(place) => place.create(order, source).boxed().await,
        }
    }

    /// Size and time of a file.
    pub(super) async fn stat(&self, key: &str) -> Result<(u64, i64)> {
        match self {
            Self::Folder(place) => place.stat(key).await,
            Self::Objects(place) => place.stat(key).boxed().await,
        }
    }

    pub(super) async fn open(&self, key: &str) -> Result<Body> {
        match self {
            Self::Folder(place) => place.open(key).await,
            Self::Objects(place) => place.open(key).boxed().await,
        }
    }

    /// A part of a file; shorter if the file ends before.
    pub(super) async fn read(&self, key: &str, range: Range<u64>) -> Result<Bytes> {
        match self {
            Self::Folder(place) => place.read(key, range).await,
            Self::Objects(place) => place.read(key, range).boxed().await,
        }
    }

    /// Deletes files; one that is not there is no error.
    pub(super) async fn delete(
        &self,
        keys: Vec<String>,
        permit: Option<&dyn Permit>,
    ) -> Result<()> {
        match self {
            Self::Folder(place) => {
                permitted(permit, QUICK).await?;
                place.delete(keys).await
            }
            Self::Objects(place) => place.delete(keys, permit).boxed().await,
        }
    }

    pub(super) async fn read_versioned(&self, key: &str, limit: u64) -> Result<Option<Versioned>> {
        match self {
            Self::Folder(place) => place.read_versioned(key, limit).await,
            Self::Objects(place) => place.read_versioned(key, limit).boxed().await,
        }
    }

    /// Writes a small file if its version is still the expected one; `None`:
    /// if it is not there.
    pub(super) async fn swap(
        &self,
        key: &str,
        bytes: Bytes,
        expected: Option<&Version>,
    ) -> Result<Swapped> {
        match self {
            Self::Folder(place) => place.swap(key, bytes, expected).await,
            Self::Objects(place) => place.swap(key, bytes, expected).boxed().await,
        }
    }
}

impl Place {
    /// A version that no file has, where writes might not heed versions.
    pub(super) fn never(&self) -> Option<Version> {
        match self {
            Self::Folder(_) => None,
            Self::Objects(place) => place.never(),
        }
    }
}
