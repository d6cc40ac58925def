//! Reading files: whole, in part, and in spite of connections that break.

use std::ops::Range;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectStore, ObjectStoreExt};

use super::super::body::Body;
use super::super::error::{Result, StorageError};
use super::super::retry::{AttemptError, Tries};
use super::client::Client;
use super::response::in_one_line;

type Stream = BoxStream<'static, object_store::Result<Bytes>>;

/// Where a download is.
struct Download {
    client: Client,
    key: String,
    path: Path,
    stream: Stream,
    tag: Option<String>,
    offset: u64,
    size: u64,
    tries: Tries,
}

pub(super) async fn get(client: Client, key: &str) -> Result<Body> {
    let path = client.path(key)?;
    let begun = client.again("read", key, async || {
        let get = client.0.store.get_opts(&path, GetOptions::default());
        match client.ask(client.0.timeout, get).await {
            Ok((answer, _)) => Ok(answer),
            Err(error) => Err(client.failure(error, "read", key)),
        }
    });
    let begun = begun.await?;
    let download = Download {
        tries: Tries::new(client.0.retry),
        key: key.into(),
        path,
        tag: begun.meta.e_tag.clone(),
        offset: 0,
        size: begun.meta.size,
        stream: begun.into_stream(),
        client,
    };
    let stream = futures_util::stream::try_unfold(download, async |mut download| {
        let next = download.next().await?;
        Ok(next.map(|bytes| (bytes, download)))
    });
    Ok(Body::new(stream.boxed()))
}

pub(super) async fn head(client: &Client, key: &str) -> Result<(u64, i64)> {
    let path = client.path(key)?;
    let found = client.again("look at", key, async || {
        let found = client
            .ask(client.0.timeout, client.0.store.head(&path))
            .await;
        found.map_err(|error| client.failure(error, "look at", key))
    });
    let (found, _) = found.await?;
    Ok((found.size, found.last_modified.timestamp_millis()))
}

pub(super) async fn get_range(client: &Client, key: &str, range: Range<u64>) -> Result<Bytes> {
    let path = client.path(key)?;
    let size = range.end.saturating_sub(range.start);
    if size == 0 {
        return Ok(Bytes::new());
    }
    let timeout = client.timeout(size);
    client
        .again("read", key, async || {
            let options = GetOptions {
                range: Some(GetRange::Bounded(range.clone())),
                ..GetOptions::default()
            };
            let read = async { client.0.store.get_opts(&path, options).await?.bytes().await };
            match client.ask(timeout, read).await {
                Ok((bytes, _)) => Ok(bytes),
                // The file ends before.
                Err(error) if error.status() == 416 => Ok(Bytes::new()),
                Err(error) => Err(client.failure(error, "read", key)),
            }
        })
        .await
}

impl Download {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            let timeout = self.client.0.timeout;
            let next = tokio::time::timeout(timeout, self.stream.next()).await;
            let why = match next {
                Ok(Some(Ok(bytes))) if bytes.is_empty() => continue,
                Ok(Some(Ok(bytes))) => {
                    self.offset += bytes.len() as u64;
                    if self.offset > self.size {
                        return Err(self.changed());
                    }
                    self.tries.restart();
                    return Ok(Some(bytes));
                }
                Ok(None) if self.offset == self.size => return Ok(None),
                Ok(None) => "it ended early".into(),
                Ok(Some(Err(error))) => in_one_line(&error),
                Err(_) => "no more of it came in time".into(),
            };
            self.resume(why).await?;
        }
    }

    /// Goes on where it broke, with the same file.
    async fn resume(&mut self, mut why: String) -> Result<()> {
        // Without a tag it may be another file.
        let Some(tag) = self.tag.clone() else {
            return Err(self.gave_up(why));
        };
        loop {
            let Some(pause) = self.tries.pause() else {
                return Err(self.gave_up(why));
            };
            tokio::time::sleep(pause).await;
            let options = GetOptions {
                if_match: Some(tag.clone()),
                range: Some(GetRange::Bounded(self.offset..self.size)),
                ..GetOptions::default()
            };
            let client = &self.client;
            let get = client.0.store.get_opts(&self.path, options);
            match client.ask(client.0.timeout, get).await {
                Ok((answer, _)) if answer.meta.size == self.size => {
                    self.stream = answer.into_stream();
                    return Ok(());
                }
                Ok(_) => return Err(self.changed()),
                Err(error) if error.is_conflict() => return Err(self.changed()),
                Err(error) => match client.failure(error, "read", &self.key) {
                    AttemptError::Transient(answer) => why = answer,
                    AttemptError::Permanent(error) => return Err(error),
                },
            }
        }
    }

    fn gave_up(&self, why: String) -> StorageError {
        let why = self.client.0.secrets.redact(&why);
        self.tries
            .error("read", self.client.name_of(&self.key), why)
    }

    fn changed(&self) -> StorageError {
        let name = self.client.name_of(&self.key);
        StorageError::Changed { name }
    }
}
