//! A small file that is replaced only by who knows its version.

use std::time::Duration;

use bytes::Bytes;
use object_store::{GetOptions, ObjectStore, PutMode, PutOptions, UpdateVersion};

use super::super::bucket::{ConditionalPut, Version, Versioned};
use super::super::error::{Result, StorageError};
use super::client::{Client, Kind};

pub(super) async fn get_versioned(
    client: &Client,
    key: &str,
    limit: u64,
) -> Result<Option<Versioned>> {
    let path = client.path(key)?;
    client
        .again("read", key, async || {
            let read = async {
                let answer = client
                    .0
                    .store
                    .get_opts(&path, GetOptions::default())
                    .await?;
                let meta = answer.meta.clone();
                let bytes = match meta.size <= limit {
                    true => answer.bytes().await?,
                    false => Bytes::new(),
                };
                Ok((meta, bytes))
            };
            let ((meta, bytes), recorded) = match client.ask(client.0.timeout, read).await {
                Ok(found) => found,
                Err(error) if error.is_not_found() => return Ok(None),
                Err(error) => return Err(client.failure(error, "read", key)),
            };
            if meta.size > limit {
                let (name, size) = (client.name_of(key), meta.size);
                return Err(StorageError::TooLarge { name, size, limit }.into());
            }
            let stored_ms = meta.last_modified.timestamp_millis();
            let age = recorded
                .date_ms
                .map(|now_ms| now_ms.saturating_sub(stored_ms));
            Ok(Some(Versioned {
                bytes,
                version: Version::Object(UpdateVersion {
                    e_tag: meta.e_tag,
                    version: meta.version,
                }),
                age: age.map(|age| Duration::from_millis(u64::try_from(age).unwrap_or(0))),
            }))
        })
        .await
}

pub(super) async fn put_if(
    client: &Client,
    key: &str,
    bytes: Bytes,
    expected: Option<&Version>,
) -> Result<ConditionalPut> {
    let path = client.path(key)?;
    let mode = match expected {
        None => PutMode::Create,
        Some(Version::Object(version)) => PutMode::Update(version.clone()),
        Some(Version::Content(_)) => return Ok(ConditionalPut::Conflict),
    };
    client
        .again("write", key, async || {
            let options = PutOptions::from(mode.clone());
            let put = client
                .0
                .store
                .put_opts(&path, bytes.clone().into(), options);
            match client.ask(client.0.timeout, put).await {
                Ok((put, _)) => Ok(ConditionalPut::Done(Version::Object(UpdateVersion {
                    e_tag: put.e_tag,
                    version: put.version,
                }))),
                // A version of what is not there is no version.
                Err(error) if error.is_conflict() || error.is_not_found() => {
                    Ok(ConditionalPut::Conflict)
                }
                Err(error) if error.is_unknown() => {
                    let (name, answer) = (client.0.name.clone(), "501".into());
                    Err(StorageError::Unconditional { name, answer }.into())
                }
                Err(error) => Err(client.failure(error, "write", key)),
            }
        })
        .await
}

pub(super) fn impossible_version(client: &Client) -> Option<Version> {
    let e_tag = Some("\"00000000000000000000000000000000\"".into());
    let version = None;
    let never = Version::Object(UpdateVersion { e_tag, version });
    (client.0.kind == Kind::S3).then_some(never)
}
