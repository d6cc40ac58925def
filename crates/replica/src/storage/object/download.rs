//! Getting a file, in spite of connections that break.

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectStore};

use super::super::StorageError;
use super::super::body::Body;
use super::super::place::Result;
use super::super::retry::{Failure, Tries};
use super::Objects;
use super::answer::said;

type Stream = BoxStream<'static, object_store::Result<Bytes>>;

/// Where a download is.
struct Download {
    objects: Objects,
    key: String,
    path: Path,
    stream: Stream,
    tag: Option<String>,
    offset: u64,
    size: u64,
    tries: Tries,
}

pub(super) async fn open(objects: Objects, key: &str) -> Result<Body> {
    let path = objects.path(key)?;
    let begun = objects.again("read", key, async || {
        let get = objects.0.store.get_opts(&path, GetOptions::default());
        match objects.ask(objects.0.timeout, get).await {
            Ok((answer, _)) => Ok(answer),
            Err(trouble) => Err(objects.failure(trouble, "read", key)),
        }
    });
    let begun = begun.await?;
    let download = Download {
        tries: Tries::new(objects.0.retry),
        key: key.into(),
        path,
        tag: begun.meta.e_tag.clone(),
        offset: 0,
        size: begun.meta.size,
        stream: begun.into_stream(),
        objects,
    };
    let stream = futures_util::stream::try_unfold(download, async |mut download| {
        let next = download.next().await?;
        Ok(next.map(|bytes| (bytes, download)))
    });
    Ok(Body::new(stream.boxed()))
}

impl Download {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            let timeout = self.objects.0.timeout;
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
                Ok(Some(Err(error))) => said(&error),
                Err(_) => "no more of it came in time".into(),
            };
            self.resume(why).await?;
        }
    }

    /// Goes on where it broke, with the same file.
    async fn resume(&mut self, mut why: String) -> Result<()> {
        // Without a tag nothing tells whether it is the same file.
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
            let objects = &self.objects;
            let get = objects.0.store.get_opts(&self.path, options);
            match objects.ask(objects.0.timeout, get).await {
                Ok((answer, _)) if answer.meta.size == self.size => {
                    self.stream = answer.into_stream();
                    return Ok(());
                }
                Ok(_) => return Err(self.changed()),
                Err(trouble) if trouble.is_conflict() => return Err(self.changed()),
                Err(trouble) => match objects.failure(trouble, "read", &self.key) {
                    Failure::Passing(said) => why = said,
                    Failure::Lasting(error) => return Err(error),
                },
            }
        }
    }

    fn gave_up(&self, why: String) -> StorageError {
        let why = self.objects.0.secrets.redact(&why);
        self.tries
            .error("read", self.objects.name_of(&self.key), why)
    }

    fn changed(&self) -> StorageError {
        let name = self.objects.name_of(&self.key);
        StorageError::Changed { name }
    }
}
