//! Deleting, many at once where the provider can.

use std::sync::Arc;

use futures_util::StreamExt;
use object_store::path::Path;

use super::super::error::{Result, StorageError};
use super::super::permit::{Permit, permitted};
use super::super::retry::AttemptError;
use super::client::{Client, Kind};
use super::connect::Store;
use super::errors::RequestError;
use super::response::in_one_line;

/// Objects deleted with one request, where one request can.
const AT_ONCE: usize = 1000;
/// Objects deleted under one timeout, where each is a request.
const ONE_BY_ONE: usize = 50;

pub(super) async fn delete(
    client: &Client,
    keys: Vec<String>,
    permit: Option<&dyn Permit>,
) -> Result<()> {
    let paths: Result<Vec<_>> = keys.iter().map(|key| client.path(key)).collect();
    let at_once = match client.0.kind {
        Kind::S3 => AT_ONCE,
        Kind::Gcs | Kind::Azure => ONE_BY_ONE,
    };
    for paths in paths?.chunks(at_once) {
        client
            .again("delete files in", "", async || {
                permitted(permit, client.0.timeout).await?;
                match delete_once(client, deleter(client), paths).await {
                    Err(error) if error.is_unknown() && single_deleter(client)?.is_some() => {
                        let answer = "it does not delete several objects at once";
                        Err(AttemptError::Transient(answer.into()))
                    }
                    Err(error) => Err(client.failure(error, "delete files in", "")),
                    Ok(()) => Ok(()),
                }
            })
            .await?;
    }
    Ok(())
}

async fn delete_once(
    client: &Client,
    store: &Arc<dyn Store>,
    paths: &[Path],
) -> Result<(), RequestError> {
    let paths: Vec<_> = paths.iter().cloned().map(Ok).collect();
    let timeout = client.timeout(paths.len() as u64 * 1024);
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
    client.ask(timeout, all).await.map(|_| ())
}

fn deleter(client: &Client) -> &Arc<dyn Store> {
    client.0.deleter.get().unwrap_or(&client.0.store)
}

/// Deletes one object at a time from now on; `None` if it does already.
fn single_deleter(client: &Client) -> Result<Option<()>, AttemptError> {
    let builder = client.0.one_by_one.clone();
    let Some(builder) = builder.filter(|_| client.0.deleter.get().is_none()) else {
        return Ok(None);
    };
    let store = builder.build().map_err(|error| {
        let why = client.0.secrets.redact(&in_one_line(&error));
        StorageError::setting(&client.0.name, why)
    })?;
    Ok(client.0.deleter.set(Arc::new(store)).ok())
}
