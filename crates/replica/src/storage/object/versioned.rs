//! A small file that is replaced only by who knows its version.

use std::time::Duration;

use bytes::Bytes;
use object_store::{GetOptions, ObjectStore, PutMode, PutOptions, UpdateVersion};

use super::super::StorageError;
use super::super::place::{Result, Swapped, Version, Versioned};
use super::{Kind, Objects};

impl Objects {
    pub(in super::super) async fn read_versioned(
        &self,
        key: &str,
        limit: u64,
    ) -> Result<Option<Versioned>> {
        let path = self.path(key)?;
        self.again("read", key, async || {
            let read = async {
                let answer = self.0.store.get_opts(&path, GetOptions::default()).await?;
                let meta = answer.meta.clone();
                let bytes = match meta.size <= limit {
                    true => answer.bytes().await?,
                    false => Bytes::new(),
                };
                Ok((meta, bytes))
            };
            let ((meta, bytes), heard) = match self.ask(self.0.timeout, read).await {
                Ok(found) => found,
                Err(trouble) if trouble.is_not_found() => return Ok(None),
                Err(trouble) => return Err(self.failure(trouble, "read", key)),
            };
            if meta.size > limit {
                let (name, size) = (self.name_of(key), meta.size);
                return Err(StorageError::TooLarge { name, size, limit }.into());
            }
            let stored_ms = meta.last_modified.timestamp_millis();
            let age = heard.date_ms.map(|now_ms| now_ms.saturating_sub(stored_ms));
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

    pub(in super::super) async fn swap(
        &self,
        key: &str,
        bytes: Bytes,
        expected: Option<&Version>,
    ) -> Result<Swapped> {
        let path = self.path(key)?;
        let mode = match expected {
            None => PutMode::Create,
            Some(Version::Object(version)) => PutMode::Update(version.clone()),
            Some(Version::Content(_)) => return Ok(Swapped::Conflict),
        };
        self.again("write", key, async || {
            let options = PutOptions::from(mode.clone());
            let put = self.0.store.put_opts(&path, bytes.clone().into(), options);
            match self.ask(self.0.timeout, put).await {
                Ok((put, _)) => Ok(Swapped::Yes(Version::Object(UpdateVersion {
                    e_tag: put.e_tag,
                    version: put.version,
                }))),
                // A version of what is not there is no version.
                Err(trouble) if trouble.is_conflict() || trouble.is_not_found() => {
                    Ok(Swapped::Conflict)
                }
                Err(trouble) if trouble.is_unknown() => {
                    let (name, said) = (self.0.name.clone(), "501".into());
                    Err(StorageError::Unconditional { name, said }.into())
                }
                Err(trouble) => Err(self.failure(trouble, "write", key)),
            }
        })
        .await
    }

    pub(in super::super) fn never(&self) -> Option<Version> {
        let e_tag = Some("\"00000000000000000000000000000000\"".into());
        let version = None;
        let never = Version::Object(UpdateVersion { e_tag, version });
        (self.0.kind == Kind::S3).then_some(never)
    }
}
