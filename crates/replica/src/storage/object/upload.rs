//! Sending a file: at once, or in parts if it is large.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, TryStreamExt};
use object_store::multipart::PartId;
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, MultipartId, ObjectStore, PutMode, PutMultipartOptions, PutOptions,
};

use super::super::bucket::{Created, OnProgress, Put};
use super::super::error::{Result, StorageError};
use super::super::permit::{Permit, permitted};
use super::super::retry::AttemptError;
use super::super::upload_body::UploadBody;
use super::client::{Client, Kind};
use super::download;

/// A body that is larger than this many parts is sent in parts.
const PARTS_MIN: u64 = 2;
/// Fewer than the 10,000 that S3 allows.
const PARTS_MAX: u64 = 9_000;
/// A provider may need this many request timeouts to put many parts together.
const COMPLETE_TIMES: u32 = 6;

pub(super) async fn put(client: &Client, put: Put, body: UploadBody) -> Result<Created> {
    let upload = Upload {
        client,
        key: &put.key,
        path: client.path(&put.key)?,
        attributes: attributes(client, put.timestamp_ms),
        permit: put.permit.as_deref(),
    };
    let size = body.size();
    if size > PARTS_MIN * client.0.part_size {
        return upload.in_parts(body, &put.on_progress).await;
    }
    let (_, bytes) = next(body, size).await?;
    let created = upload.at_once(bytes).await?;
    (put.on_progress)(size);
    Ok(created)
}

/// Litestream's, which restores by it.
fn attributes(client: &Client, timestamp_ms: i64) -> Attributes {
    let mut attributes = Attributes::new();
    if let Ok(timestamp) = jiff::Timestamp::from_millisecond(timestamp_ms) {
        // Azure's names have no hyphens.
        let name = match client.0.kind {
            Kind::Azure => "litestreamtimestamp",
            Kind::S3 | Kind::Gcs => "litestream-timestamp",
        };
        let value = timestamp.to_string();
        attributes.insert(Attribute::Metadata(name.into()), value.into());
    }
    if let Some(class) = &client.0.storage_class {
        attributes.insert(Attribute::StorageClass, class.clone().into());
    }
    attributes
}

/// Reads the next bytes where reading may block.
async fn next(mut body: UploadBody, size: u64) -> Result<(UploadBody, Bytes)> {
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    let read = move || body.next(size).map(|bytes| (body, bytes));
    match tokio::task::spawn_blocking(read).await {
        Ok(done) => done,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(error) => Err(StorageError::io("read", "the body".as_ref())(error.into())),
    }
}

struct Upload<'a> {
    client: &'a Client,
    key: &'a str,
    path: Path,
    attributes: Attributes,
    permit: Option<&'a dyn Permit>,
}

impl Upload<'_> {
    async fn at_once(&self, bytes: Bytes) -> Result<Created> {
        let client = self.client;
        let timeout = client.timeout(bytes.len() as u64);
        let put = async || {
            permitted(self.permit, timeout).await?;
            let mode = match self.may_create().await? {
                Some(mode) => mode,
                None => return Ok(Created::Exists),
            };
            let options = PutOptions {
                mode: mode.clone(),
                attributes: self.attributes.clone(),
                ..PutOptions::default()
            };
            let store = &client.0.store;
            let put = store.put_opts(&self.path, bytes.clone().into(), options);
            match client.ask(timeout, put).await {
                Ok(_) => Ok(Created::Yes),
                Err(error) if error.is_conflict() => Ok(Created::Exists),
                Err(error) if error.is_unknown() => self.without_conditions(),
                Err(error) => Err(client.failure(error, "write", self.key)),
            }
        };
        client.again("write", self.key, put).await
    }

    /// How to write and overwrite nothing; `None` if there is something. Where
    /// the provider cannot see to it, it is looked at first, and the lease
    /// keeps other machines away meanwhile.
    async fn may_create(&self) -> Result<Option<PutMode>, AttemptError> {
        if !self.client.0.unconditional.load(Ordering::Relaxed) {
            return Ok(Some(PutMode::Create));
        }
        Ok((!self.exists().await?).then_some(PutMode::Overwrite))
    }

    async fn exists(&self) -> Result<bool> {
        match download::head(self.client, self.key).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The provider does not know conditions: does without from now on.
    fn without_conditions<T>(&self) -> Result<T, AttemptError> {
        let inner = &self.client.0;
        let answer = "it has no conditional writes".to_owned();
        if inner.unconditional.swap(true, Ordering::Relaxed) {
            let (doing, name) = ("write", self.client.name_of(self.key));
            return Err(StorageError::Refused {
                doing,
                name,
                answer,
            }
            .into());
        }
        Err(AttemptError::Transient(answer))
    }

    async fn in_parts(&self, body: UploadBody, on_progress: &OnProgress) -> Result<Created> {
        // Looked at first to spare the work; the end is what counts.
        if self.exists().await? {
            return Ok(Created::Exists);
        }
        let id = self.begin().await?;
        let done = match self.parts(&id, body, on_progress).await {
            Ok(parts) => self.complete(&id, parts).await,
            Err(error) => Err(error),
        };
        if !matches!(done, Ok(Created::Yes)) {
            // What is left is paid for until the bucket's own rules clear it.
            let abort = self.client.0.store.abort_multipart(&self.path, &id);
            let _ = self.client.ask(self.client.0.timeout, abort).await;
        }
        done
    }

    async fn begin(&self) -> Result<MultipartId> {
        let client = self.client;
        let begin = async || {
            let options = PutMultipartOptions {
                attributes: self.attributes.clone(),
                ..PutMultipartOptions::default()
            };
            let store = &client.0.store;
            let begin = store.create_multipart_opts(&self.path, options);
            match client.ask(client.0.timeout, begin).await {
                Ok((id, _)) => Ok(id),
                Err(error) => Err(client.failure(error, "write", self.key)),
            }
        };
        client.again("write", self.key, begin).await
    }

    /// Sends all parts, a few at a time: those are what is in memory.
    async fn parts(
        &self,
        id: &MultipartId,
        body: UploadBody,
        on_progress: &OnProgress,
    ) -> Result<Vec<PartId>> {
        let inner = &self.client.0;
        let least = body.size().div_ceil(PARTS_MAX).next_multiple_of(1 << 20);
        let size = inner.part_size.max(least);
        let count = usize::try_from(body.size().div_ceil(size)).unwrap_or(usize::MAX);
        let total = AtomicU64::new(0);
        let (mut body, total) = (body, &total);
        let mut under_way = FuturesUnordered::new();
        let mut parts = Vec::new();
        for number in 0..count {
            if under_way.len() >= inner.concurrency {
                parts.extend(under_way.try_next().await?);
            }
            let (rest, bytes) = next(body, size).await?;
            body = rest;
            let send = async move {
                let length = bytes.len() as u64;
                let part = self.part(id, number, bytes).await?;
                on_progress(total.fetch_add(length, Ordering::Relaxed) + length);
                Ok::<_, StorageError>((number, part))
            };
            under_way.push(send.boxed());
        }
        while let Some(part) = under_way.try_next().await? {
            parts.push(part);
        }
        parts.sort_unstable_by_key(|(number, _)| *number);
        Ok(parts.into_iter().map(|(_, part)| part).collect())
    }

    async fn part(&self, id: &MultipartId, number: usize, bytes: Bytes) -> Result<PartId> {
        let client = self.client;
        let timeout = client.timeout(bytes.len() as u64);
        let put = async || {
            let bytes = bytes.clone().into();
            let put = client.0.store.put_part(&self.path, id, number, bytes);
            match client.ask(timeout, put).await {
                Ok((part, _)) => Ok(part),
                Err(error) => Err(client.failure(error, "write", self.key)),
            }
        };
        client.again("write", self.key, put).await
    }

    async fn complete(&self, id: &MultipartId, parts: Vec<PartId>) -> Result<Created> {
        let client = self.client;
        let timeout = client.0.timeout * COMPLETE_TIMES;
        let complete = async || {
            permitted(self.permit, timeout).await?;
            let unconditional = client.0.unconditional.load(Ordering::Relaxed);
            // Azure signs all headers, and Google has no condition here.
            let create_only = client.0.kind == Kind::S3 && !unconditional;
            if !create_only && self.exists().await? {
                return Ok(Created::Exists);
            }
            let store = &client.0.store;
            let complete = store.complete_multipart(&self.path, id, parts.clone());
            match client.ask_only(timeout, create_only, complete).await {
                Ok(_) => Ok(Created::Yes),
                Err(error) if error.is_conflict() => Ok(Created::Exists),
                Err(error) if error.is_unknown() => self.without_conditions(),
                // It is over: by a try whose answer was lost, if the file is there.
                Err(error) if error.is_not_found() && self.exists().await? => Ok(Created::Exists),
                Err(error) => Err(client.failure(error, "write", self.key)),
            }
        };
        client.again("write", self.key, complete).await
    }
}
