//! Deleting, many at once where the provider can.

use std::sync::Arc;

use futures_util::StreamExt;
use object_store::path::Path;

use super::super::StorageError;
use super::super::place::{Permit, Result, permitted};
use super::super::retry::Failure;
use super::answer::said;
use super::connect::Store;
use super::failure::Trouble;
use super::{Kind, Objects};

/// Objects deleted with one request, where one request can.
const AT_ONCE: usize = 1000;
/// Objects deleted under one timeout, where each is a request.
const ONE_BY_ONE: usize = 50;

impl Objects {
    pub(in super::super) async fn delete(
        &self,
        keys: Vec<String>,
        permit: Option<&dyn Permit>,
    ) -> Result<()> {
        let paths: Result<Vec<_>> = keys.iter().map(|key| self.path(key)).collect();
        let at_once = match self.0.kind {
            Kind::S3 => AT_ONCE,
            Kind::Gcs | Kind::Azure => ONE_BY_ONE,
        };
        for paths in paths?.chunks(at_once) {
            self.again("delete files in", "", async || {
                permitted(permit, self.0.timeout).await?;
                match self.delete_once(self.deleter(), paths).await {
                    Err(trouble) if trouble.is_unknown() && self.single_deleter()?.is_some() => {
                        let said = "it does not delete several objects at once";
                        Err(Failure::Passing(said.into()))
                    }
                    Err(trouble) => Err(self.failure(trouble, "delete files in", "")),
                    Ok(()) => Ok(()),
                }
            })
            .await?;
        }
        Ok(())
    }

    async fn delete_once(&self, store: &Arc<dyn Store>, paths: &[Path]) -> Result<(), Trouble> {
        let paths: Vec<_> = paths.iter().cloned().map(Ok).collect();
        let timeout = self.timeout(paths.len() as u64 * 1024);
        let mut deleted = store.delete_stream(futures_util::stream::iter(paths).boxed());
        let all = async {
            while let Some(one) = deleted.next().await {
                match one {
                    Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        };
        self.ask(timeout, all).await.map(|_| ())
    }

    fn deleter(&self) -> &Arc<dyn Store> {
        self.0.deleter.get().unwrap_or(&self.0.store)
    }

    /// Deletes one object at a time from now on; `None` if it does already.
    fn single_deleter(&self) -> Result<Option<()>, Failure> {
        let builder = self.0.one_by_one.clone();
        let Some(builder) = builder.filter(|_| self.0.deleter.get().is_none()) else {
            return Ok(None);
        };
        let store = builder.build().map_err(|error| {
            let why = self.0.secrets.redact(&said(&error));
            StorageError::setting(&self.0.name, why)
        })?;
        Ok(self.0.deleter.set(Arc::new(store)).ok())
    }
}
